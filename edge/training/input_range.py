"""What a network was trained to be fed, and the layers in front that make it of RGB 0..255.

Every model that edge writes takes pixel values 0..255: the scaling belongs to the network, not to
the program that runs it. A file of somebody else's may want -1..1, 0..1, values less a mean and
divided by a deviation, or blue before red, and does not always say so. ``takes_pixels`` puts what
it wants into the model::

    model = takes_pixels(load_keras(path), named_range("tf"))  # -1..1, as Teachable Machine wants
    model = takes_pixels(load_keras(path), parse_range("0,1"))
    model = takes_pixels(load_keras(path), named_range("caffe"))  # BGR less its means

The converters fold the scaling into the first convolution of an integer file, and the order of
the channels is folded here.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import UsageError
from edge.runtime.contract import ChannelOrder

# Channel statistics of ImageNet as ``keras.applications.imagenet_utils`` has them.
TORCH_MEAN: Final = (0.485, 0.456, 0.406)
TORCH_STD: Final = (0.229, 0.224, 0.225)
CAFFE_MEAN_BGR: Final = (103.939, 116.779, 123.68)

# Layers that leave the meaning of the channels alone; the augmentation ones do nothing outside
# training.
_PASSING: Final = frozenset(
    {
        "Cropping2D",
        "RandomBrightness",
        "RandomContrast",
        "RandomFlip",
        "RandomRotation",
        "RandomTranslation",
        "RandomZoom",
        "Resizing",
        "ZeroPadding2D",
    }
)
_NUMBER: Final = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
_ENDS: Final = re.compile(rf"({_NUMBER})(?:,|\.\.)({_NUMBER})", re.IGNORECASE)
_NUMBERS: Final = re.compile(rf"{_NUMBER}(?:,{_NUMBER})*", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRange:
    """What a network takes of a pixel value v of 0..255: (v - mean) / std, per channel.

    Attributes:
        mean: Grey levels; one for all channels, or one per channel in the network's order.
        std: Grey levels, not 0; below 0 where black becomes more than white. As many as ``mean``.
        order: The order of the channels; it means nothing to a network of one channel.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    order: ChannelOrder = ChannelOrder.RGB

    @property
    def scales(self) -> bool:
        """Whether a value differs from the pixel's."""
        return any(self.mean) or any(value != 1 for value in self.std)

    @property
    def is_pixels(self) -> bool:
        """Whether the network takes RGB 0..255 as it is."""
        return not self.scales and self.order is ChannelOrder.RGB

    @property
    def ends(self) -> tuple[float, float] | None:
        """What the pixel values 0 and 255 become; None where that depends on the channel."""
        if len(set(self.mean)) > 1 or len(set(self.std)) > 1:
            return None
        return _tidy(-self.mean[0] / self.std[0]), _tidy((255 - self.mean[0]) / self.std[0])

    @property
    def text(self) -> str:
        """The range for people, such as ``-1 to 1`` or ``0 to 255, BGR``."""
        order = ", BGR" if self.order is ChannelOrder.BGR else ""
        if self.ends is not None:
            low, high = self.ends
            return f"{low:g} to {high:g}{order}"
        mean, std = (", ".join(f"{value:g}" for value in each) for each in (self.mean, self.std))
        return f"pixel less ({mean}), divided by ({std}){order}"

    def to_json(self) -> dict[str, Any]:
        """Return the range as JSON values."""
        return {
            "range": self.text,
            "mean": list(self.mean),
            "std": list(self.std),
            "channel_order": self.order.value,
        }

    def applied(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Return what the network wants of RGB, grey or RGBA pixels (..., channels), 0..255."""
        ordered = pixels[..., ::-1] if self.order is ChannelOrder.BGR else pixels
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        return np.asarray((ordered.astype(np.float32) - mean) / std, np.float32)

    def check_channels(self, channels: int) -> None:
        """Refuse what does not fit an image of so many channels.

        Raises:
            UsageError: It has statistics for another number, or an order where there are not
                three colours.
        """
        if len(self.mean) not in (1, channels):
            raise UsageError(
                f"the input range states {len(self.mean)} channels; the network takes {channels}",
                hint="Give one number for all channels, or one per channel.",
            )
        if self.order is ChannelOrder.BGR and channels != 3:
            raise UsageError(f"BGR is an order of three channels; the network takes {channels}")


# The names are those of keras.applications.imagenet_utils, but for the first two.
NAMED: Final[dict[str, InputRange]] = {
    "pixels": InputRange(),
    "unit": InputRange(std=(255.0,)),
    "tf": InputRange(mean=(127.5,), std=(127.5,)),
    "torch": InputRange(
        mean=tuple(255 * value for value in TORCH_MEAN),
        std=tuple(255 * value for value in TORCH_STD),
    ),
    "caffe": InputRange(mean=CAFFE_MEAN_BGR, std=(1.0, 1.0, 1.0), order=ChannelOrder.BGR),
}


def named_range(name: str) -> InputRange:
    """Return one of ``NAMED``."""
    return NAMED[name]


def parse_range(text: str, order: ChannelOrder | None = None) -> InputRange:
    """Return what ``--input-range`` and ``--channel-order`` say.

    Args:
        text: A name of ``NAMED``; ``LOW,HIGH`` or ``LOW..HIGH``, what the pixel values 0 and 255
            become, also falling, such as ``1,0``; or ``MEAN/STD``, each one number or one per
            channel. A deviation below 1 is never one of grey levels 0..255: mean and deviation
            are then those of values 0..1, as PyTorch states them.
        order: The order of the channels; None for that of the name, or RGB.

    Raises:
        UsageError: Nothing of that kind.
    """
    text = text.strip().lower().replace(" ", "")
    wanted = NAMED.get(text) or _from_ends(text) or _from_statistics(text)
    if wanted is None:
        raise UsageError(
            f"--input-range {text!r} is not an input range",
            hint=f"Give {', '.join(NAMED)}; LOW,HIGH, such as -1,1; or MEAN/STD, such as "
            "127.5/127.5 or 123.7,116.3,103.5/58.4,57.1,57.4 (per channel, of values 0..255).",
        )
    if order is None or order is wanted.order:
        return wanted
    if text in NAMED:  # its numbers belong to colours
        wanted = replace(wanted, mean=wanted.mean[::-1], std=wanted.std[::-1])
    return replace(wanted, order=order)


def told_range(text: str | None, order: ChannelOrder | None) -> InputRange | None:
    """Return what the user said of the input with the two options; None for nothing.

    Raises:
        UsageError: They say nothing that ``parse_range`` reads.
    """
    if text is None and order is None:
        return None
    return parse_range(text or "pixels", order)


def _from_ends(text: str) -> InputRange | None:
    match = _ENDS.fullmatch(text)
    if match is None:
        return None
    low, high = float(match[1]), float(match[2])
    if low == high or not all(map(math.isfinite, (low, high))):
        raise UsageError(
            f"--input-range {text} makes black and white the same",
            hint="The first number is what black becomes, the second one what white becomes.",
        )
    std = 255 / (high - low)
    return InputRange(mean=(_tidy(-low * std),), std=(_tidy(std),))


def _from_statistics(text: str) -> InputRange | None:
    mean_text, slash, std_text = text.partition("/")
    if not slash or not all(_NUMBERS.fullmatch(part) for part in (mean_text, std_text)):
        return None
    mean, std = ([float(number) for number in part.split(",")] for part in (mean_text, std_text))
    longest = max(len(mean), len(std))
    if not {len(mean), len(std)} <= {1, longest} or min(std) <= 0 or max(mean + std) == math.inf:
        return None
    if max(std) == 1 and any(0 < abs(value) < 1 for value in mean):
        raise UsageError(
            f"--input-range {text} can be read in two ways: a mean of values 0..1, or of 0..255",
            hint="State mean and deviation of values 0..255: multiply both by 255.",
        )
    if max(std) < 1:
        mean, std = [255 * value for value in mean], [255 * value for value in std]
    if len(set(mean)) == len(set(std)) == 1:
        longest = 1  # the same for every channel
    mean, std = (list(each) if len(each) == longest else each[:1] * longest for each in (mean, std))
    return InputRange(mean=tuple(map(_tidy, mean)), std=tuple(map(_tidy, std)))


def _tidy(value: float) -> float:
    """Drop the last digits of a division: -1, not -0.9999999999999999; no negative zero."""
    return round(value, 9) + 0.0


def rescaled(image: Any, wanted: InputRange, name: str = "scale") -> Any:
    """Return a Keras tensor of pixel values 0..255, in the network's order, scaled for it."""
    import keras

    if not wanted.scales:
        return image
    scale = [1 / std for std in wanted.std]
    offset = [-mean / std for mean, std in zip(wanted.mean, wanted.std, strict=True)]
    if len(scale) == 1:
        return keras.layers.Rescaling(scale[0], offset=offset[0], name=name)(image)
    return keras.layers.Rescaling(scale, offset=offset, name=name)(image)


def takes_pixels(model: Any, wanted: InputRange) -> Any:
    """Return the model with what it was trained to be fed put in front: it then takes RGB 0..255.

    The layers are shared, and so are the weights; the first convolution is a copy where the
    order of the channels went into its weights.

    Args:
        model: A Keras model, functional or Sequential, one input (batch, height, width, channels).
        wanted: What the model takes. Of pixels as they are, the model is returned as it is.

    Raises:
        UsageError: The range does not fit the number of channels.
    """
    import keras

    shape = model.inputs[0].shape
    wanted.check_channels(shape[3])
    if wanted.is_pixels:
        return model
    flat = functional(model)
    names = set(_operation_names(flat))
    image = keras.Input(shape[1:], batch_size=shape[0], name="image")
    front = wanted
    if wanted.order is ChannelOrder.BGR:  # the image is still RGB where it is scaled
        front = replace(wanted, mean=wanted.mean[::-1], std=wanted.std[::-1])
    scaled = rescaled(image, front, _free("scale", names))
    call = _moved(image, scaled)
    if wanted.order is ChannelOrder.BGR:
        call = _Reversing(image, scaled, names).call
    rebuilt = keras.models.clone_model(
        flat, input_tensors=image, clone_function=lambda layer: layer, call_function=call
    )
    return keras.Model(rebuilt.inputs[0], rebuilt.outputs[0], name=model.name)


def is_model(operation: Any) -> bool:
    """Return whether an operation is itself a network whose operations can be walked."""
    return hasattr(functional(operation), "_run_through_graph")


def functional(model: Any) -> Any:
    """Return a Sequential model as a functional one of the same layers; any other as it is."""
    import keras

    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return model


def _operation_names(model: Any) -> list[str]:
    names = [item.name for item in model.operations if type(item).__name__ != "InputLayer"]
    return [*names, "image"]


def _free(name: str, taken: set[str]) -> str:
    candidates = (name, *(f"{name}_{number}" for number in range(len(taken))))
    return next(candidate for candidate in candidates if candidate not in taken)


def _moved(image: Any, scaled: Any) -> Callable[..., Any]:
    """Return a stand-in for layers' calls: what took the image takes the scaled one."""
    import keras

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = keras.tree.map_structure(
            lambda item: scaled if item is image else item, (args, kwargs)
        )
        return operation(*args, **kwargs)

    return call


class _Reversing:
    """Does as ``_moved`` for a network that wants the channels the other way round.

    The first convolution gets its weights reversed; anything else that sees the image, or what
    padding made of it, gets the image reversed by an operator.
    """

    def __init__(self, image: Any, scaled: Any, names: set[str]) -> None:
        self._image, self._scaled = image, scaled
        self._names = names
        self._pending = [scaled]  # tensors whose channels are not yet reversed

    def call(self, operation: Any, *args: Any, **kwargs: Any) -> Any:
        """Call ``operation(*args, **kwargs)``, with the channels reversed where it needs that."""
        args, kwargs = _mapped(
            (args, kwargs), lambda item: self._scaled if item is self._image else item
        )
        if not (args and self._is_pending(args[0])):
            args, kwargs = _mapped((args, kwargs), self._reversed)
            return operation(*args, **kwargs)
        kind = type(operation).__name__
        if is_model(operation):
            inner = functional(operation)
            names = set(_operation_names(inner))
            if self._names.isdisjoint(names):  # Keras refuses a model with two of a name
                self._names |= names
                return inner._run_through_graph(args[0], call_fn=self.call)
        elif _keeps_channels(operation):
            self._pending.append(operation(*args, **kwargs))
            return self._pending[-1]
        elif kind == "Conv2D" and operation.groups == 1:
            return _reversed_convolution(operation)(args[0])
        return operation(self._reversed(args[0]), *args[1:], **kwargs)

    def _is_pending(self, tensor: Any) -> bool:
        return any(tensor is item for item in self._pending)

    def _reversed(self, tensor: Any) -> Any:
        import keras

        return keras.ops.flip(tensor, axis=-1) if self._is_pending(tensor) else tensor


def _keeps_channels(operation: Any) -> bool:
    """Return whether it treats every channel alike, so that reversing may wait until behind it."""
    kind = type(operation).__name__
    if kind == "Rescaling":
        return np.ndim(operation.scale) == np.ndim(operation.offset) == 0
    return kind in _PASSING


def _mapped(structure: Any, change: Callable[[Any], Any]) -> Any:
    import keras

    return keras.tree.map_structure(change, structure)


def _reversed_convolution(layer: Any) -> Any:
    import keras

    replacement = keras.layers.Conv2D.from_config(layer.get_config())
    kernel, *bias = layer.get_weights()  # (rows, columns, channels, filters), (filters,)
    replacement.build((None, None, None, kernel.shape[2]))
    replacement.set_weights([kernel[:, :, ::-1], *bias])
    return replacement
