"""What each block of an integer file does to the answers alone, everything else in floats.

The file is cut at every activation that is a layer's output, and each part is given what the float
model gives there, rounded as the file rounds it. So no part sees an error of those before it, and
what it makes wrong is its own, whatever the file as a whole answers. That error is then added to
the block's layers in the float model, which takes it on to the answers.

An error in the answers is told in what the last layer says before probabilities are made of it, as
far as these can be undone: of two probabilities near 1, one may be a hundred times as sure.
"""

from collections.abc import Sequence
from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from converters.quantizable import Block, blocks
from edge.diagnosis.blame import Blocks
from edge.diagnosis.keras_layers import ANSWER, WEIGHTED, Activations
from edge.diagnosis.layers import Layer
from edge.diagnosis.probe import FileProbe
from edge.runtime.output import Activation, OutputSpec

Array = NDArray[np.float32]

LEAST: Final = 1e-30  # of a probability whose logarithm is taken; float32 goes on to 1e-38
LEAST_SIGMOID: Final = 1e-7  # float32 has no number between 1 - 6e-8 and 1


def cut_into_blocks(layers: Sequence[Layer], held: Sequence[str]) -> tuple[Block, ...]:
    """Return the blocks of layers that a file holds, as ``converters`` cuts its operators.

    Args:
        layers: Every layer in the order of execution; what has a kernel begins a block.
        held: The names of those that have a tensor in the file. A block without any has its errors
            in the next one, whose tensor is the first that shows them.
    """
    known = frozenset(held)
    cuts = blocks((layer.kind in WEIGHTED, layer.name, (layer.name,)) for layer in layers)
    kept = [
        Block(block.name, tuple(name for name in block.members if name in known)) for block in cuts
    ]
    return tuple(block for block in kept if block.members)


class BlockSums:
    """Sums over images from which the error follows that each block of a file makes alone.

    Attributes:
        blocks: The blocks in the order of execution; members are names of layers.
        images: How many images were added.
    """

    def __init__(self, probe: FileProbe, names: Sequence[str], output: OutputSpec | None) -> None:
        """Cut the file.

        Args:
            probe: The file.
            names: The names of its layers to cut at.
            output: What the answers mean; None where they are features for a head.

        Raises:
            ModelLoadError: The interpreter does not take the file that is cut.
        """
        self._names = tuple(names)
        self.blocks = cut_into_blocks(probe.keras.layers, self._names)
        self.images = 0
        self._parts = probe.parts if self._names == probe.names else probe.cut(self._names)
        self._own = probe.keras.own(self._names, rounded=False)
        self._activations = probe.keras.activations(self._names)
        self._injected = probe.keras.injected(self._names)
        # Rounding moves the logarithm of a small probability far, and the answer not at all.
        steps = {item.layer.name: item.tensor.step for item in probe.matches}
        self._outputs = [
            None if probe.keras.output in block.members and steps[probe.keras.output] else output
            for block in self.blocks
        ]
        self._rows = [block.members for block in self.blocks]
        self._errors = np.zeros(len(self.blocks))
        self._signals = np.zeros(len(self.blocks))
        self._pixels: list[NDArray[np.uint8]] = []

    def add(self, pixels: NDArray[np.uint8]) -> None:
        """Add one image, the pixels (height, width, 3)."""
        errors, signals = self._energies(pixels, self._rows, self._outputs)
        self._errors += errors
        self._signals += signals
        self._pixels.append(pixels)
        self.images += 1

    def result(self) -> Blocks:
        """Return the errors, with those of the layers of the block whose own is the largest."""
        alone = _ratios(self._errors, self._signals)
        most = max(range(len(alone)), key=lambda number: alone[number] or 0.0, default=None)
        within = {} if most is None else self._within(most)
        return Blocks(blocks=self.blocks, alone=alone, within=within, images=self.images)

    def _within(self, number: int) -> dict[str, float | None]:
        """The errors of the layers of the block in that place, over the images once more."""
        members = self.blocks[number].members
        rows, outputs = [(name,) for name in members], [self._outputs[number]] * len(members)
        energies = np.array([self._energies(pixels, rows, outputs) for pixels in self._pixels])
        return dict(zip(members, _ratios(*energies.sum(axis=0)), strict=True))

    def _energies(
        self,
        pixels: NDArray[np.uint8],
        rows: Sequence[tuple[str, ...]],
        outputs: Sequence[OutputSpec | None],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The energy of the error in the answers that each row of layers makes, and the answers'.

        Args:
            pixels: The pixels of an image, (height, width, 3).
            rows: The names of the layers whose errors are added together.
            outputs: What the answers of each row are taken for; see ``said``.
        """
        batch = pixels[np.newaxis]
        reference: Activations = self._activations(batch)
        given, made = self._parts(pixels, reference)
        own = self._own(batch, given)
        errors = {name: made[name] - own[name] for name in self._names}
        chosen = np.array([[name in row for name in self._names] for row in rows])
        answers = self._injected(batch, errors, chosen)
        sound = [said(reference[ANSWER].reshape(-1), output) for output in outputs]
        wrong = [said(a.reshape(-1), output) for a, output in zip(answers, outputs, strict=True)]
        return (
            np.array([np.square(a - b).sum() for a, b in zip(wrong, sound, strict=True)]),
            np.array([np.square(b).sum() for b in sound]),
        )


def _ratios(errors: NDArray[np.float64], signals: NDArray[np.float64]) -> tuple[float | None, ...]:
    return tuple(
        sqrt(error / signal) if signal > 0 and np.isfinite(error) else None
        for error, signal in zip(errors, signals, strict=True)
    )


def said(answer: Array, output: OutputSpec | None, floor: float = 0.0) -> NDArray[np.float64]:
    """Return what an answer (classes,) says of each class: logarithms less their mean.

    Args:
        answer: What the model gives.
        output: What it means; None for values that are taken as they are, such as features.
        floor: The least probability that is told from others.
    """
    values = answer.astype(np.float64)
    if output is None:
        return values
    apart = output.multi_label or values.size == 1
    if output.activation is Activation.NONE and apart:
        least = max(floor, LEAST_SIGMOID)
        values = np.clip(values, least, 1 - least)
        return np.log(values / (1 - values))
    if output.activation is Activation.NONE:
        values = np.log(np.maximum(values, max(floor, LEAST)))
    return values if apart else values - values.mean()
