"""A float model with its observation: integer files are made from it in a second each."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from converters.base import Precision
from converters.bias_correction import Layer
from converters.block import Block
from converters.calibration import Calibration
from converters.observation import Activations, Observation, Spread, Wanted, observe, spread
from edge.errors import ConversionError


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

    def layers(self) -> Mapping[str, tuple[Layer, str]]:
        """Operators with weights, each with the name of its input tensor."""
        ...

    def replace(self, layer: Layer) -> None:
        """Put other weights of the same shapes in the place of the layer's."""
        ...


class Runner(Protocol):
    """Runs a float model and gives every activation."""

    def __call__(self, image: NDArray[np.float32]) -> Activations:
        """Names and values, the input included."""
        ...


class Quantizable(ABC):
    """What both formats share: observe once, correct once, quantize many times.

    Args:
        calibration: Representative images, as the float model's input.
        corrected: Whether ``correct`` does anything; see ``ConversionRequest``.
    """

    suffix: str  # of the format's files

    def __init__(self, calibration: Calibration, *, corrected: bool = True) -> None:
        self.calibration = calibration
        self._corrects = corrected

    @abstractmethod
    def graph(self) -> FloatGraph:
        """A fresh copy of the float model."""

    @abstractmethod
    def runner(self) -> Runner:
        """Runs the float model."""

    @abstractmethod
    def quantized(self, keep: Collection[str] = ()) -> bytes:
        """An integer file that takes uint8 pixels, the blocks of those names left in floats.

        Raises:
            ConversionError: The quantizer refused the model.
        """

    def integer(self, precision: Precision) -> bytes:
        """The file of an integer precision that needs no recipe.

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
        """Of the calibration images."""
        wanted = self.graph().wanted if self._corrects else {}
        return observe(self.runner(), self.calibration, wanted)

    def spread(self, images: Iterable[NDArray[np.float32]]) -> dict[str, Spread]:
        """What each activation does over other images, held against its range."""
        return spread(self.runner(), images, self.observation.ranges)

    def members(self, keep: Collection[str]) -> frozenset[str]:
        """What the quantizer knows the operators of those blocks by."""
        chosen = (block.members for block in self.blocks if block.name in keep)
        return frozenset(member for members in chosen for member in members)

    def correct(self, graph: FloatGraph, members: Collection[str]) -> None:
        """Make every layer of the graph ready to be rounded, but those of ``members``."""
        for name, layer in self._corrected.items() if self._corrects else ():
            if name not in members:
                graph.replace(layer)

    @cached_property
    def _corrected(self) -> dict[str, Layer]:
        return {
            name: self.observation.corrected(layer, source)
            for name, (layer, source) in self.graph().layers().items()
        }
