"""A float model with its observation: integer files are made from it in a second each."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from converters.base import Precision
from converters.observation import Activations, Observation, Spread, Wanted, observe, spread
from converters.rounding import WeightedOperator
from edge.errors import ConversionError


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
        path: The path of a .npy file, uint8 (images, height, width, 3), RGB.
        zero_point: Is subtracted from every pixel, so that the model's input is real 0 there.

    Raises:
        ConversionError: There is no path.
    """

    def __init__(self, path: Path | None, zero_point: int) -> None:
        if path is None:
            raise ConversionError("int8 needs calibration images")
        self._pixels: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
        self.zero_point = zero_point

    def __len__(self) -> int:
        return int(self._pixels.shape[0])

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Yield arrays (1, height, width, 3), float32.

        Two corner pixels of the first image are set to black and to white. The input's range is
        then exactly 0..255 in every calibrator, its scale 1, and the pixel is the quantized value.
        """
        for position in range(len(self)):
            image = self._pixels[position : position + 1].astype(np.float32)
            if position == 0:
                image[0, 0, 0], image[0, 0, -1] = 0.0, 255.0
            yield image - np.float32(self.zero_point)


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
    """

    suffix: str  # the suffix of the format's files, without a dot

    def __init__(self, calibration: Calibration, *, corrected: bool = True) -> None:
        self.calibration = calibration
        self._corrects = corrected

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
        """Return what the quantizer knows the operators of those blocks by."""
        chosen = (block.members for block in self.blocks if block.name in keep)
        return frozenset(member for members in chosen for member in members)

    def correct(self, graph: FloatGraph, members: Collection[str]) -> None:
        """Make every layer of the graph ready to be rounded, but those of ``members``."""
        for name, layer in self._corrected.items() if self._corrects else ():
            if name not in members:
                graph.replace(layer)

    @cached_property
    def _corrected(self) -> dict[str, WeightedOperator]:
        return {
            name: self.observation.corrected(layer, source)
            for name, (layer, source) in self.graph().layers().items()
        }
