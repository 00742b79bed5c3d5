"""One file, layer by layer, against the Keras model."""

from collections.abc import Callable, Sequence
from math import inf, isfinite, log10, sqrt
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.diagnosis.file_layers import OnnxLayers, TfliteLayers
from edge.diagnosis.keras_layers import Activations, KerasLayers
from edge.diagnosis.layers import LayerTensor, match
from edge.diagnosis.result import LayerError, traits
from edge.runtime.spec import Variant


class FileProbe:
    """Collects a file's layer errors, image by image.

    Attributes:
        variant: The variant that the file is.
        keras: The model that the file is held against.
        matches: The layers that have a tensor in the file.
        names: Their names.
        parts: Runs each part of the file on what it is given; see ``cut``.
        unmatched: The names of the other layers of the Keras model.
    """

    def __init__(
        self,
        variant: Variant,
        path: Path,
        models: tuple[KerasLayers, KerasLayers],
        pixels: NDArray[np.uint8],
    ) -> None:
        """Open the file.

        Args:
            variant: The variant that the file is.
            path: The path of the file.
            models: The Keras model as it is and with its scaling folded. The file was made of the
                one that takes what the file's input stands for.
            pixels: The pixels of any image, (height, width, 3).

        Raises:
            EngineUnavailable: The interpreter is not installed.
            ModelLoadError: The file does not load.
        """
        self.variant = variant
        self._file = TfliteLayers(path) if variant.format == "tflite" else OnnxLayers(path, pixels)
        plain, folded = models
        same = self._file.zero_point is not None and self._file.zero_point == folded.zero_point
        self.keras = keras = folded if same else plain
        self.matches = match(keras.layers, self._file.tensors, keras.output)
        self._tensors = tuple(item.tensor.name for item in self.matches)
        self._sums = [LayerSums(item, variant.precision) for item in self.matches]
        self.names = tuple(item.layer.name for item in self.matches)
        self.unmatched = tuple(
            layer.name for layer in keras.layers if layer.name not in set(self.names)
        )
        self.parts = self.cut(self.names)
        self._own = keras.own(self.names, rounded=False)
        rounds = traits(variant.precision).rounds_kernels
        self._rounded = keras.own(self.names, rounded=True) if rounds else None

    def add(self, pixels: NDArray[np.uint8], reference: Activations) -> None:
        """Add one image.

        Args:
            pixels: The pixels of the image, (height, width, 3).
            reference: The outputs of the Keras model's layers, by name.
        """
        values = self._file.run(pixels, self._tensors)
        file = {item.layer.name: item.as_keras(values[item.tensor.name]) for item in self.matches}
        given, made = self.parts(pixels, reference)
        batch = pixels[np.newaxis]
        own = self._own(batch, given)
        rounded = None if self._rounded is None else self._rounded(batch, given)
        for sums, name in zip(self._sums, self.names, strict=True):
            sums.add(
                reference[name],
                file[name],
                own[name],
                None if rounded is None else rounded[name],
                made[name],
            )

    def cut(
        self, names: Sequence[str]
    ) -> Callable[[NDArray[np.uint8], Activations], tuple[Activations, Activations]]:
        """Return what runs each part of the file, from layers to the next, on what it is given.

        It takes pixels (height, width, 3) and the layers' outputs. It gives what the file holds of
        these, rounded, and what each part makes of it.

        Args:
            names: The names of the layers to cut at.

        Raises:
            ModelLoadError: The interpreter does not take the file that is cut.
        """
        places = [item for item in self.matches if item.layer.name in names]
        parts = self._file.cut(tuple(dict.fromkeys(item.tensor.name for item in places)))

        def run(pixels: NDArray[np.uint8], given: Activations) -> tuple[Activations, Activations]:
            values = {m.tensor.name: m.as_file(given[m.layer.name]) for m in places}
            held, made = (
                {m.layer.name: m.as_keras(found[m.tensor.name]) for m in places}
                for found in parts.run(pixels, values)
            )
            return held, made

        return run

    def errors(self) -> tuple[LayerError, ...]:
        """Return the errors of the layers in the order of execution."""
        return tuple(sums.result() for sums in self._sums)


Array = NDArray[np.float32]

LEVELS: Final = 255  # steps of an 8-bit range
# A range is calibrated on other images, so a sound one may be wider than what is seen here; twice
# as wide costs one bit.
WIDER: Final = 2.0


NARROW: Final = 8  # steps; a channel that spans fewer is rounded to three bits


class Channels:
    """The range of each channel of an activation, channels last, over all images."""

    def __init__(self) -> None:
        self._ends: tuple[Array, Array] | None = None

    def add(self, values: Array) -> None:
        """Add the values of one image, (1, ..., channels)."""
        rows = values.reshape(-1, values.shape[-1])
        low, high = rows.min(axis=0), rows.max(axis=0)
        if self._ends is not None:
            low, high = np.minimum(low, self._ends[0]), np.maximum(high, self._ends[1])
        self._ends = low, high

    @property
    def count(self) -> int:
        """How many channels there are; 0 before the first image."""
        return 0 if self._ends is None else len(self._ends[0])

    def narrower(self, width: float) -> int:
        """Return how many channels span less than that; one that never varies is not counted."""
        if self._ends is None:
            return 0
        spans = self._ends[1] - self._ends[0]
        return int(np.count_nonzero((spans > 0) & (spans < width)))


class LayerSums:
    """Sums over images from which the errors of one layer of one file follow.

    Memory does not grow with the images.
    """

    def __init__(self, match: LayerTensor, precision: str) -> None:
        self.match = match
        self._traits = traits(precision)
        self._signal = self._accumulated = self._alone = self._own = self._rounding = 0.0
        self._rounded_elements = 0
        self._channels = Channels()
        self._finite = True
        self._file, self._float = [inf, -inf], [inf, -inf]  # least and greatest value

    def add(
        self, reference: Array, file: Array, own: Array, rounded: Array | None, made: Array
    ) -> None:
        """Add one image.

        Args:
            reference: The layer in the Keras model.
            file: The layer in the file.
            own: What the Keras layer makes of the Keras model's values, rounded as in the file.
            rounded: The same with rounded kernels; None where weights are not rounded.
            made: What the file's layer makes of those values.
        """
        self._finite = self._finite and bool(np.isfinite(file).all())
        self._signal += _energy(reference)
        self._accumulated += _energy(reference - file)
        self._own += _energy(own)
        self._alone += _energy(own - made)
        if rounded is not None:
            self._rounding += _energy(own - rounded)
        self._rounded_elements += int(np.count_nonzero(own))  # zero is a quantized value
        if self.match.tensor.step is not None:
            self._channels.add(reference)
        for bounds, values in ((self._file, file), (self._float, reference)):
            bounds[:] = [min(bounds[0], values.min()), max(bounds[1], values.max())]

    def result(self) -> LayerError:
        """Return the errors over all images."""
        accumulated = _ratio(self._accumulated, self._signal)
        return LayerError(
            layer=self.match.layer.name,
            kind=self.match.layer.kind,
            tensor=self.match.tensor.name,
            step=self.match.tensor.step,
            accumulated=accumulated,
            sqnr_db=-20 * log10(accumulated) if accumulated else None,
            alone=_ratio(self._alone, self._own),
            explained=_ratio(self._explained(), self._own),
            failure=self._failure(),
            coarse=bool((self.match.tensor.step or 0.0) > self._needed()),
            channels=self._channels.count,
            narrow=self._channels.narrower(NARROW * (self.match.tensor.step or 0.0)),
        )

    def _explained(self) -> float:
        """Energy of the error that rounding weights and output explains.

        The weights' part is computed, the output's is step**2 / 12 per value (uniform rounding
        noise: Widrow, Kollar, "Quantization Noise", 2008, chapter 5). The step is the file's,
        but at most that of a range ``WIDER`` than the values seen: a needlessly coarse step is
        an error to find, not an explanation. For the same reason the kernels are rounded here,
        not read from the file.
        """
        seen, step = self._needed(), self.match.tensor.step
        if step is not None:
            step = min(step, seen)
        elif self._traits.rounds_inputs:
            step = seen
        noise = 0.0 if step is None else self._rounded_elements * step**2 / 12
        return self._rounding + noise + self._own * self._traits.arithmetic**2

    def _needed(self) -> float:
        """The step of a range ``WIDER`` than the values seen."""
        return WIDER * (self._float[1] - min(self._float[0], 0.0)) / LEVELS

    def _failure(self) -> str:
        """What makes the layer useless while Keras's is not.

        Values that vary by less than two steps may round to one, such as those of a sigmoid, whose
        step is fixed. A step that is too coarse shows in the own error.
        """
        if not self._finite:
            return "NaN"
        varies = self._float[1] - self._float[0] > 2 * (self.match.tensor.step or 0.0)
        if varies and self._file[0] == self._file[1]:
            return "all zero" if self._file[0] == 0 else "constant"
        return ""


def _energy(values: Array) -> float:
    flat = values.reshape(-1)
    return float(np.dot(flat, flat))


def _ratio(error: float, signal: float) -> float | None:
    return sqrt(error / signal) if signal > 0 and isfinite(error) and isfinite(signal) else None
