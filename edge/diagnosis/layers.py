"""Which tensor of a written file is the output of which Keras layer, told by names and shapes.

TensorFlow names an operation after the path of the layers that made it: ``net_1/conv_1/Conv2D``.
Keras may append a counter to every layer's name. TFLite joins the names of what it fused by ``;``,
the last operation first, and behind it those of constants, which other layers may share. tf2onnx
puts the name of a layer on what it inserts to prepare the layer's input, and numbers it. So a
tensor belongs to the first layer of its name whose shape it has; and a layer's output is its last
tensor, unless an operation of the same layer reads that one: then the layer's output was fused into
what follows.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from numpy.typing import NDArray

COUNTER: Final = re.compile(r"_\d+$")
INSERTED: Final = re.compile(r"__\d+(:\d+)?(_DequantizeLinear_Output)?$")  # by tf2onnx
FOLDED: Final = "_pixels"  # what converters.pixel_input appends to the layer that scaling went into
NHWC: Final = (1, 2, 0)  # axes of (channel, row, column) in the order of (row, column, channel)


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of the Keras model: name, Keras class, and output shape without the batch."""

    name: str
    kind: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """An activation of a file.

    Attributes:
        name: The name of the tensor in the file.
        shape: The shape without the batch.
        step: The quantization step; None for a real tensor.
        channels_first: Whether the order of the axes is (channel, row, column).
        readers: The names of the operations that read it.
    """

    name: str
    shape: tuple[int, ...]
    step: float | None = None
    channels_first: bool = False
    readers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LayerTensor:
    """A layer and the tensor that holds its output; ``axes`` brings it into Keras's order."""

    layer: Layer
    tensor: Tensor
    axes: tuple[int, ...] | None

    def as_keras(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return (1, ...) values of the tensor in the shape of the layer's output."""
        if self.axes is not None:
            values = values[0].transpose(self.axes)
        return values.reshape((1, *self.layer.shape))

    def as_file(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return (1, ...) values of the layer's output as the tensor holds them."""
        if self.axes is not None:
            values = values[0].transpose([self.axes.index(axis) for axis in range(len(self.axes))])
        return values.reshape((1, *self.tensor.shape))


def match(
    layers: Sequence[Layer], tensors: Sequence[Tensor], output: str
) -> tuple[LayerTensor, ...]:
    """Return the layers that have a tensor, in the order of the layers.

    Args:
        layers: The layers in the order of execution.
        tensors: The tensors in the order of execution; the last one is the model's output.
        output: The name of the layer that gives the model's output.
    """
    positions = {layer.name: position for position, layer in enumerate(layers)}
    matched = max(
        (_by_name(layers, positions, tensors, counted) for counted in (True, False)), key=len
    )
    if output in positions:
        last = _fitted(layers[positions[output]], tensors[-1])
        if last is not None:
            matched[output] = last
    return tuple(matched[layer.name] for layer in layers if layer.name in matched)


def layer_of(path: str, names: Iterable[str]) -> str | None:
    """Return the innermost layer that ``outer/inner`` names, with or without its counter."""
    known = list(names)
    positions = {name: place for place, name in enumerate(known)}
    bare = path.partition("#")[0]  # attention has several operators with weights in a layer
    for counted in (True, False):
        place = _layer_in(f"{bare}/", positions, counted)
        if place is not None:
            return known[place]
    return None


def _by_name(
    layers: Sequence[Layer],
    positions: Mapping[str, int],
    tensors: Sequence[Tensor],
    counted: bool,
) -> dict[str, LayerTensor]:
    """Layer -> its last tensor, with or without a counter on every layer's name."""
    last = {}
    for tensor in tensors:
        for position in _layers_in(tensor.name, positions, counted):
            fitted = _fitted(layers[position], tensor)
            if fitted is not None:
                last[fitted.layer.name] = fitted
                break
    return {
        name: item
        for name, item in last.items()
        if not any(
            positions[name] in _layers_in(reader, positions, counted)
            for reader in item.tensor.readers
        )
    }


def _layers_in(names: str, positions: Mapping[str, int], counted: bool) -> list[int]:
    """Positions of the layers that joined names hold, in their order."""
    layers = (_layer_in(part, positions, counted) for part in names.split(";"))
    return [position for position in layers if position is not None]


def _layer_in(path: str, positions: Mapping[str, int], counted: bool) -> int | None:
    """Position of the innermost layer in ``outer/inner/operation``; None if there is none."""
    if INSERTED.search(path):
        return None
    for scope in reversed(path.split("/")[:-1]):
        name = COUNTER.sub("", scope) if counted else scope
        for candidate in (name, name.removesuffix(FOLDED)):
            if candidate in positions:
                return positions[candidate]
    return None


def _fitted(layer: Layer, tensor: Tensor) -> LayerTensor | None:
    """The match if the shapes are the same but for extents of 1 and the place of the channels."""
    if tensor.channels_first and tuple(tensor.shape[axis] for axis in NHWC) == layer.shape:
        return LayerTensor(layer, tensor, NHWC)
    same = _without_ones(tensor.shape) == _without_ones(layer.shape)
    return LayerTensor(layer, tensor, None) if same else None


def _without_ones(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(extent for extent in shape if extent != 1)
