"""A float model with its observation: integer files are made from it in a second each."""

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from converters.base import Precision
from converters.observation import Activations, Observation, Spread, Wanted, observe, spread
from converters.rounding import WeightedOperator
from edge.errors import ConversionError
from edge.runtime.contract import InputEncoding
from edge.runtime.session import encode_pixels
from edge.runtime.spec import TensorSpec


@dataclass(frozen=True, slots=True)
class Block:
    """An operator with weights, and the operators after it up to the next such one.

    Attributes:
        name: The name of the block in its file: the Keras layer that stands first in a tensor's
            name.
        members: What the format's quantizer knows its operators by.
    """

    name: str
    members: tuple[str, ...]


def blocks(operators: Iterable[tuple[bool, str, tuple[str, ...]]]) -> tuple[Block, ...]:
    """Cut a graph into blocks; what stands before the first operator with weights joins it.

    Args:
        operators: The operators in the order of execution: whether it has weights, the tensor
            that it writes, and what the quantizer knows it by.
    """
    cuts: list[tuple[list[str], list[str]]] = []
    waiting: list[str] = []
    for weighted, written, members in operators:
        if weighted:
            cuts.append(([written], [*waiting, *members]))
            waiting = []
        elif cuts:
            cuts[-1][0].append(written)
            cuts[-1][1].extend(members)
        else:
            waiting.extend(members)
    seen: Counter[str] = Counter()
    result = []
    for tensors, operators_of_block in cuts:
        name = scope(next((tensor for tensor in tensors if "/" in tensor), tensors[0]))
        seen[name] += 1
        own = name if seen[name] == 1 else f"{name}#{seen[name]}"  # attention: several in a layer
        result.append(Block(own, tuple(operators_of_block)))
    return tuple(result)


COUNTER: Final = re.compile(r"(?<=.)_\d+$")  # that TensorFlow appends to the name of each scope
FOLDED: Final = "_pixels"  # what ``pixel_input`` appends to the layer that scaling went into


@dataclass(frozen=True, slots=True)
class LayerNames:
    """The names of a Keras model's layers: of those with weights, and of the others."""

    weighted: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def layers_of(found: Sequence[Block], names: LayerNames) -> dict[str, str]:
    """Return the Keras layer of each block, where the names of its members hold one.

    It is the one with weights; where an operator has lost its name, another one of the block.

    A block is called by a tensor of its file, which a converter may have named after batch
    normalization, an activation or itself.

    Args:
        found: The blocks.
        names: The names of the layers.
    """
    counts = Counter((*names.weighted, *names.others))
    kinds = [{n for n in some if counts[n] == 1} for some in (names.weighted, names.others)]

    def named(counted: bool) -> dict[str, str]:
        layers = {
            block.name: next(
                filter(None, (_layer_in(block.members, k, counted) for k in kinds)), ""
            )
            for block in found
        }
        return {block: layer for block, layer in layers.items() if layer}

    # A network that is traced for the second time has a counter on each scope, or on none.
    return max((named(True), named(False)), key=lambda item: len(set(item.values())))


def _layer_in(members: Iterable[str], known: Collection[str], counted: bool) -> str:
    """Return the first layer that scopes such as ``net/conv_1/Conv2D;...`` state, innermost first.

    Args:
        members: Joined names of operators.
        known: The layers.
        counted: Whether TensorFlow put a counter on each scope.
    """
    for part in (part for member in members for part in member.split(";")):
        for scope_ in reversed(part.split("/")[:-1]):
            name = COUNTER.sub("", scope_) if counted else scope_
            for candidate in (name, name.removesuffix(FOLDED)):
                if candidate in known:
                    return candidate
    return ""


ARITHMETIC: Final = 64  # weights; a layer of fewer computes something fixed, as YOLOv8's of 16 bins


def tail(
    operators: Sequence[tuple[bool, Collection[Hashable], Collection[Hashable]]],
) -> frozenset[int]:
    """Return the positions of the operators after the last one with weights on each path.

    They turn what the network says into answers: boxes and scores joined in one tensor, which one
    8-bit scale would ruin, or coordinates of hundreds of pixels. They stay in floats.

    Args:
        operators: In the order of execution: whether it has weights to speak of, and the tensors
            that it reads and writes.
    """
    needed: set[Hashable] = set()
    after = set()
    for position in range(len(operators) - 1, -1, -1):
        weighted, read, written = operators[position]
        if weighted or not needed.isdisjoint(written):
            needed.update(read)
        else:
            after.add(position)
    return frozenset(after)


def scope(tensor: str) -> str:
    """Return the Keras layer that a tensor's name states.

    ``net/conv_relu/Relu6;net/conv_bn/...`` (fused operators) and ``net/conv_relu/Relu6:0`` both
    give ``net/conv_relu``.
    """
    parts = tensor.split(";", maxsplit=1)[0].split("/")
    if len(parts) > 2 and parts[-2] == "batchnorm":  # batch normalization writes in a scope below
        parts = parts[:-1]
    return "/".join(parts[:-1]) or tensor


class Calibration:
    """Representative images for the ranges of activations.

    Args:
        path: The path of a .npy file, uint8 (images, height, width, channels).
        zero_point: The pixel that stands for real 0 in the quantized input; None where no pixel
            does, and integer files take the real values too.
        encoding: What a pixel becomes in the float model's input; without it, the pixel less
            ``zero_point``.

    Raises:
        ConversionError: There is no path.
    """

    def __init__(
        self, path: Path | None, zero_point: int | None, encoding: InputEncoding | None = None
    ) -> None:
        if path is None:
            raise ConversionError("int8 needs calibration images")
        self._pixels: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
        self.zero_point = zero_point
        start = float(zero_point or 0)
        self.encoding = encoding or InputEncoding(value_range=(-start, 255 - start))

    @property
    def scale(self) -> float:
        """The real value of one grey level, where a pixel stands for real 0."""
        low, high = self.encoding.value_range
        return (high - low) / 255

    def __len__(self) -> int:
        return int(self._pixels.shape[0])

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Yield arrays (1, height, width, channels), or as the encoding states, float32.

        Two corner pixels of the first image are set to black and to white. The input's range is
        then that of 0..255 exactly in every calibrator, and the pixel is the quantized value.
        """
        for position in range(len(self)):
            image = self._pixels[position : position + 1]
            if position == 0:
                image = image.copy()
                image[0, 0, 0], image[0, 0, -1] = 0, 255
            yield encode_pixels(image, _REAL, self.encoding)

    def others(self, path: Path) -> "Calibration":
        """Return other images in the same form."""
        return Calibration(path, self.zero_point, self.encoding)


_REAL: Final = TensorSpec(name="image", shape=(), dtype="float32")


class FloatGraph(Protocol):
    """A format's float model, taken apart."""

    @property
    def blocks(self) -> tuple[Block, ...]:
        """What can be left in floats, in the order of execution."""
        ...

    @property
    def wanted(self) -> Mapping[str, Wanted]:
        """What is to be known of which activation."""
        ...

    @property
    def tail(self) -> tuple[str, ...]:
        """What the quantizer knows the operators after the last layer of each path by."""
        ...

    @property
    def in_floats(self) -> tuple[str, ...]:
        """What the quantizer knows the operators by that lack a fast integer kernel."""
        ...

    def layers(self) -> Mapping[str, tuple[WeightedOperator, str]]:
        """Return the operators with weights, each with the name of its input tensor."""
        ...

    def replace(self, layer: WeightedOperator) -> None:
        """Put other weights of the same shapes in the place of the layer's."""
        ...


class ActivationReader(Protocol):
    """Runs a float model and gives every activation."""

    def __call__(self, image: NDArray[np.float32]) -> Activations:
        """Yield names and values, those of the input included."""
        ...


class Quantizable(ABC):
    """What both formats share: observe once, correct once, quantize many times.

    Args:
        calibration: Representative images, as the float model takes them.
        corrected: Whether ``correct`` does anything; see ``ConversionRequest``.
        real_outputs: Whether what follows the last layer with weights stays in floats, and the
            outputs real numbers; see ``tail``.
    """

    suffix: str  # the suffix of the format's files, without a dot
    paired = False  # whether kernels of the format add two products in 16 bits; see ``rounding``
    layer_names: LayerNames = LayerNames()  # of the Keras model that it is made of, if it is one

    def __init__(
        self, calibration: Calibration, *, corrected: bool = True, real_outputs: bool = False
    ) -> None:
        self.calibration = calibration
        self._corrects = corrected
        self._real_outputs = real_outputs

    @abstractmethod
    def graph(self) -> FloatGraph:
        """Return a fresh copy of the float model."""

    @abstractmethod
    def runner(self) -> ActivationReader:
        """Return what runs the float model."""

    @abstractmethod
    def quantized(self, keep: Collection[str] = ()) -> bytes:
        """Make an integer file that takes uint8 pixels, the blocks of those names left in floats.

        Raises:
            ConversionError: The quantizer refused the model.
        """

    @abstractmethod
    def trial(self, keep: Collection[str] | None) -> ActivationReader:
        """Return what runs such a file up to the last layer of each path, real numbers in and out.

        Args:
            keep: The blocks in floats; None for the float model itself.
        """

    def integer(self, precision: Precision) -> bytes:
        """Make the file of an integer precision that needs no recipe.

        Raises:
            ConversionError: The format has no such precision, or the quantizer refused the model.
        """
        if precision is Precision.INT8:
            return self.quantized()
        raise ConversionError(f"{self.suffix} files are not written as {precision}")

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """What can be left in floats, in the order of execution."""
        return self.graph().blocks

    @cached_property
    def observation(self) -> Observation:
        """The activations over the calibration images."""
        wanted = self.graph().wanted if self._corrects else {}
        return observe(self.runner(), self.calibration, wanted)

    def spread(self, images: Iterable[NDArray[np.float32]]) -> dict[str, Spread]:
        """Return what each activation does over other images, held against its range."""
        return spread(self.runner(), images, self.observation.ranges)

    def members(self, keep: Collection[str]) -> frozenset[str]:
        """Return what the quantizer knows the operators by that stay in floats."""
        chosen = (block.members for block in self.blocks if block.name in keep)
        return self._always.union(member for members in chosen for member in members)

    @cached_property
    def _always(self) -> frozenset[str]:
        """What stays in floats whatever blocks are kept."""
        graph = self.graph()
        return frozenset(graph.in_floats).union(graph.tail if self._real_outputs else ())

    def correct(self, graph: FloatGraph, members: Collection[str]) -> None:
        """Make every layer of the graph ready to be rounded, but those of ``members``."""
        for name, layer in self._corrected.items() if self._corrects else ():
            if name not in members:
                graph.replace(layer)

    @cached_property
    def _corrected(self) -> dict[str, WeightedOperator]:
        return {
            name: self.observation.corrected(layer, source, paired=self.paired)
            for name, (layer, source) in self.graph().layers().items()
        }
