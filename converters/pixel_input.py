"""Makes the uint8 pixel the quantized input itself.

A float model scales the pixels by itself (x * scale + offset), then often pads, then convolves.
Quantizing that as it stands costs a multiply and an add over the whole image, and rounds every
pixel twice. Instead the scaling is folded into the first convolution:

    conv(w, x * a + b) = conv(w * a, r) + sum(w * (b + a * z)),   r = x - z

with z the integer in 0..255 whose scaled value is nearest to zero, so that the padding's zero is
r = 0 as well. r is what a quantized tensor of scale 1 and zero point z stores as the pixel x.
The sum is exact wherever the kernel lies inside the image; on padded borders it is off by
w * (b + a * z), less than half a grey level for scaling "tf".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

# Layers of augmentation that give the image as it is outside training; RandomCrop does not.
AUGMENTATION: Final = (
    "RandomBrightness",
    "RandomContrast",
    "RandomFlip",
    "RandomRotation",
    "RandomTranslation",
    "RandomZoom",
)

UNFOLDED: Final = (
    "what the network does to a picture before its first convolution could not be folded into "
    "that: the integer files compute it as well, and round each pixel once more"
)

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PixelModel:
    """A model to quantize.

    Attributes:
        model: A Keras model; its input is the pixel less ``zero_point``.
        zero_point: The pixel that stands for real 0, 0..255.
        folded: Whether the scaling went into the first convolution; if not, zero_point is 0 and
            the model scales by itself.
    """

    model: Any
    zero_point: int
    folded: bool

    @property
    def notes(self) -> tuple[str, ...]:
        """What the report says of it."""
        return () if self.folded else (UNFOLDED,)


@dataclass(frozen=True, slots=True)
class _Scaled:
    """A tensor that is ``raw[..., order] * scale + offset``, perhaps padded with zeros."""

    scale: Vector
    offset: Vector
    order: tuple[int, ...]
    padding: Any | None = None


class _NotFoldableError(Exception):
    """The scaled image reaches an operation that cannot take the scaling in."""


def pixel_model(model: Any) -> PixelModel:
    """Fold the leading scaling of ``model`` into its first convolution, where that is possible.

    Args:
        model: A functional or Sequential Keras model with one input (batch, height, width,
            channels), float32, 0..255.
    """
    fold = _ScalingFold(model)
    try:
        folded = fold.rebuilt(model)
    except _NotFoldableError:
        return PixelModel(model, 0, False)
    if fold.zero_point is None:
        return PixelModel(model, 0, False)
    return PixelModel(folded, fold.zero_point, True)


class _ScalingFold:
    """Follows the image through the graph while Keras rebuilds it."""

    def __init__(self, model: Any) -> None:
        import keras

        shape = model.inputs[0].shape
        self.image = keras.Input(shape[1:], batch_size=shape[0], name="image")
        self.zero_point: int | None = None
        channels = int(shape[3])
        identity = _Scaled(np.ones(channels), np.zeros(channels), tuple(range(channels)))
        self._scaled: dict[int, _Scaled] = {id(self.image): identity}
        self._names = _names(model)
        self._alive: list[Any] = [self.image]  # an id is only unique while its object lives

    def rebuilt(self, model: Any) -> Any:
        """Return the model on ``image``; the layers, and so the weights, are shared."""
        import keras

        return keras.models.clone_model(
            functional(model),
            input_tensors=self.image,
            clone_function=lambda operation: operation,
            call_function=self.call,
        )

    def call(self, operation: Any, *args: Any, **kwargs: Any) -> Any:
        """Stand in for ``operation(*args, **kwargs)`` while the model is rebuilt."""
        state = self._scaled.get(id(args[0])) if args else None
        if state is None:
            return operation(*args, **kwargs)
        inner = functional(operation)
        if hasattr(inner, "_run_through_graph"):
            return self._inlined(inner, args[0])
        rule = _RULES.get(type(operation).__name__)
        if rule is None:
            raise _NotFoldableError
        result = rule(state, operation)
        if isinstance(result, _Scaled):
            output = operation(*args, **kwargs)
            self._scaled[id(output)] = result
            self._alive.append(output)
            return output
        if self.zero_point is not None:  # a second consumer: two convolutions share the image
            raise _NotFoldableError
        layer, self.zero_point = result
        tensor = self.image if state.padding is None else state.padding(self.image)
        return layer(tensor)

    def _inlined(self, model: Any, tensor: Any) -> Any:
        """A model within the model (a stem, a base, augmentation), its layers one by one.

        Keras's own walk; ``clone_model`` stands on it, but starts from an input only.
        """
        names = _names(model)
        if not self._names.isdisjoint(names):  # Keras refuses a model with two of a name
            raise _NotFoldableError
        self._names |= names
        return model._run_through_graph(tensor, call_fn=self.call)


def _names(model: Any) -> set[str]:
    operations = functional(model).operations
    return {item.name for item in operations if type(item).__name__ != "InputLayer"}


def functional(model: Any) -> Any:
    """Return a Sequential model as a functional one of its layers; any other model as it is."""
    import keras

    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return model


def _unchanged(state: _Scaled, layer: Any) -> _Scaled:  # noqa: ARG001
    """Augmentation does nothing outside training; a call's own ``training`` does not count."""
    return state


def _rescaling(state: _Scaled, layer: Any) -> _Scaled:
    _refuse_after_padding(state)
    channels = len(state.order)
    scale, offset = _per_channel(layer.scale, channels), _per_channel(layer.offset, channels)
    return _Scaled(state.scale * scale, state.offset * scale + offset, state.order)


def _normalization(state: _Scaled, layer: Any) -> _Scaled:
    _refuse_after_padding(state)
    if getattr(layer, "invert", False):
        raise _NotFoldableError
    channels = len(state.order)
    mean, variance = (_per_channel(value, channels) for value in (layer.mean, layer.variance))
    deviation = np.sqrt(variance)
    return _Scaled(state.scale / deviation, (state.offset - mean) / deviation, state.order)


def _per_channel(value: Any, channels: int) -> Vector:
    """A number, or one per channel, as (channels,)."""
    numbers = np.asarray(value, float).reshape(-1)
    if numbers.size not in (1, channels):  # one per pixel
        raise _NotFoldableError
    return np.broadcast_to(numbers, channels)


def _flip(state: _Scaled, operation: Any) -> _Scaled:
    _refuse_after_padding(state)
    if operation.axis not in (-1, 3):
        raise _NotFoldableError
    return _Scaled(state.scale[::-1], state.offset[::-1], state.order[::-1])


def _zero_padding(state: _Scaled, layer: Any) -> _Scaled:
    _refuse_after_padding(state)
    return _Scaled(state.scale, state.offset, state.order, layer)


def _convolution(state: _Scaled, layer: Any) -> tuple[Any, int]:
    import keras

    if layer.groups != 1 or layer.data_format != "channels_last":
        raise _NotFoldableError
    kernel = layer.kernel.numpy().astype(float)  # (rows, columns, channels, filters)
    bias = layer.bias.numpy().astype(float) if layer.use_bias else np.zeros(kernel.shape[-1])
    zero_point = int(np.clip(np.rint(np.mean(-state.offset / state.scale)), 0, 255))
    rest = state.offset + state.scale * zero_point  # what a pixel of value zero_point becomes
    folded_bias = bias + np.einsum("hwcf,c->f", kernel, rest)
    folded = np.empty_like(kernel)
    folded[:, :, list(state.order), :] = kernel * state.scale[None, None, :, None]
    config = layer.get_config() | {"use_bias": True, "name": f"{layer.name}_pixels"}
    replacement = keras.layers.Conv2D.from_config(config)
    replacement.build((None, None, None, kernel.shape[2]))
    replacement.set_weights([folded.astype(np.float32), folded_bias.astype(np.float32)])
    return replacement, zero_point


def _refuse_after_padding(state: _Scaled) -> None:
    if state.padding is not None:
        raise _NotFoldableError


_RULES: dict[str, Callable[[_Scaled, Any], _Scaled | tuple[Any, int]]] = {
    **dict.fromkeys(AUGMENTATION, _unchanged),
    "Rescaling": _rescaling,
    "Normalization": _normalization,
    "Flip": _flip,
    "ZeroPadding2D": _zero_padding,
    "Conv2D": _convolution,
}
