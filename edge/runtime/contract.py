"""The preprocessing contract: how an image file becomes the tensor that a model takes."""

import hashlib
import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, fields
from enum import StrEnum
from typing import Any, Final, Self

from edge.errors import BundleError, UsageError
from edge.runtime.checked import shown
from edge.runtime.frozen import frozen_dataclass

PIXEL_RANGE: Final = (0.0, 255.0)  # the values that every model takes which edge itself writes
MAX_SIDE: Final = 8192  # pixels; a tensor of that size has 200 million values
LEAST_CROP: Final = 0.1  # the least share of the shorter side
MAX_REDUCING_GAP: Final = 16.0
GREY: Final = 128  # of the letterbox bars, where nobody chose another value


class Resize(StrEnum):
    """How an image of any shape becomes (height, width)."""

    STRETCH = "stretch"  # both sides scaled on their own; the aspect ratio changes
    CENTER_CROP = "center-crop"  # shorter side to size / crop_fraction, then the central window
    LETTERBOX = "letterbox"  # longer side to size, the rest filled with ``pad_value``


class PadPosition(StrEnum):
    """Where a letterboxed image lies in the tensor."""

    CENTER = "center"  # bars of the same size on both sides
    TOP_LEFT = "top-left"  # all of the bar below or to the right, as YOLOX trains


class Interpolation(StrEnum):
    """Resampling filters, in Pillow's meaning.

    Pillow's bilinear and bicubic filters are antialiased when an image shrinks: they read every
    pixel. Most frameworks' resizing reads the four nearest ones.
    """

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BILINEAR_PLAIN = "bilinear-plain"  # four pixels, no antialiasing: OpenCV, TensorFlow 2, libyuv
    # The same from the corners of pixels, not their centres: TensorFlow 1, MediaPipe's warp.
    BILINEAR_LEGACY = "bilinear-legacy"


class ColorOrder(StrEnum):
    """The channels of a pixel tensor, in Pillow's names of image modes."""

    RGB = "RGB"
    GREY = "L"  # luma, ITU-R 601-2, one channel
    RGBA = "RGBA"  # the fourth channel is opacity, 255 where the image has none

    @property
    def channels(self) -> int:
        """How many values a pixel has."""
        return 1 if self is ColorOrder.GREY else len(self.value)


class ChannelOrder(StrEnum):
    """Which colour a model takes first. Pixel tensors here are RGB; the last step turns them."""

    RGB = "rgb"
    BGR = "bgr"


class TensorLayout(StrEnum):
    """The order of the axes of a model's image tensor. Pixel tensors here are HWC."""

    HWC = "HWC"  # (height, width, channels)
    CHW = "CHW"  # (channels, height, width)


class IntegerInput(StrEnum):
    """What an integer image input holds."""

    PIXELS = "pixels"  # uint8: the pixel itself; int8: the pixel less 128
    QUANTIZED = "quantized"  # the scaled value, by the scale and zero point of the tensor


@frozen_dataclass(kw_only=True)
class InputEncoding:
    """How pixel values become the values of a model's image tensor.

    real = (low + (high - low) * pixel / 255 - mean) / std, for each channel in RGB order.

    Attributes:
        value_range: What the pixel values 0 and 255 become, before ``mean`` and ``std``.
        mean: One number for each channel, or nothing, which is 0.
        std: One number above 0 for each channel, or nothing, which is 1.
        channel_order: Which colour the model takes first.
        layout: The order of the axes.
        integer_input: What an integer tensor holds.
    """

    value_range: tuple[float, float] = PIXEL_RANGE
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    channel_order: ChannelOrder = ChannelOrder.RGB
    layout: TensorLayout = TensorLayout.HWC
    integer_input: IntegerInput = IntegerInput.PIXELS

    @property
    def is_pixels(self) -> bool:
        """Whether a real input takes the pixel values themselves."""
        return self.value_range == PIXEL_RANGE and not any(self.mean) and set(self.std) <= {1.0}

    def affine(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return (factor, term) of each channel: real = factor * pixel + term."""
        low, high = self.value_range
        mean, std = self.mean or (0.0,) * channels, self.std or (1.0,) * channels
        factors = tuple((high - low) / 255 / each for each in std)
        terms = tuple((low - centre) / each for centre, each in zip(mean, std, strict=True))
        return factors, terms


PIXELS: Final = InputEncoding()  # of every model that edge itself writes


@frozen_dataclass(kw_only=True)
class Preprocessing:
    """The preprocessing contract: image file -> uint8 tensor of shape (height, width, channels).

    Its JSON form stands in the manifest, in the TFLite metadata and in the ONNX
    ``metadata_props``; ``sha256`` is what is compared. Scaling to the range that the network
    was trained on happens inside the models that edge makes of Keras networks, which therefore take
    0..255; a file of somebody else's may take other values (``encoding``). A value outside the
    bounds that stand beside an attribute is a UsageError, whoever gives it: an option or a model
    file. The attributes from ``mean`` on stand in the JSON form only where they are no default, so
    that the hash of an earlier contract is what it was.

    Attributes:
        height: Rows of the tensor, 1 to 8192 pixels.
        width: Columns of the tensor, 1 to 8192 pixels.
        resize: Rule that maps the image onto (height, width).
        crop_fraction: With center-crop, the part of the shorter side that is kept, 0.1 to 1.
        interpolation: Resampling filter.
        reducing_gap: A JPEG may be decoded at 1/2, 1/4 or 1/8 of its size while both sides stay
            at least this many times the size that is resampled to (1 to 16); 0 decodes at full
            size.
        color_order: Channels of the tensor.
        value_range: See ``InputEncoding``.
        levels: Black and white level of grey images of more than 8 bits: the stored values that
            become 0 and 255; None where such an image uses all of its bits.
        mean: See ``InputEncoding``.
        std: See ``InputEncoding``.
        channel_order: See ``InputEncoding``.
        layout: See ``InputEncoding``.
        integer_input: See ``InputEncoding``.
        pad_value: With letterbox, the value of every channel of the bars, 0 to 255.
        pad_position: With letterbox, where the image lies.
    """

    height: int
    width: int
    resize: Resize = Resize.STRETCH
    crop_fraction: float = 0.875
    interpolation: Interpolation = Interpolation.BILINEAR
    reducing_gap: float = 2.0
    color_order: ColorOrder = ColorOrder.RGB
    value_range: tuple[float, float] = PIXEL_RANGE
    levels: tuple[int, int] | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    channel_order: ChannelOrder = ChannelOrder.RGB
    layout: TensorLayout = TensorLayout.HWC
    integer_input: IntegerInput = IntegerInput.PIXELS
    pad_value: int = GREY
    pad_position: PadPosition = PadPosition.CENTER

    def __post_init__(self) -> None:
        """Refuse what no training ever used: it would give other answers without a word."""
        for name, value, holds, allowed in self._bounds():
            if not holds:
                raise UsageError(
                    f"{name} is {shown(value)}; allowed: {allowed}",
                    hint="Edge makes no such pictures for a model.",
                )

    def _bounds(self) -> tuple[tuple[str, Any, bool, str], ...]:
        """Return (name, value, whether it is allowed, what is allowed) of each attribute."""
        low, high = self.value_range
        channels = self.color_order.channels
        a_number_each = f"nothing, or {channels} finite numbers"
        gap, crop = self.reducing_gap, self.crop_fraction
        colours = self.color_order is ColorOrder.RGB or self.channel_order is ChannelOrder.RGB
        return (
            ("height", self.height, _is_side(self.height), f"1 to {MAX_SIDE} pixels"),
            ("width", self.width, _is_side(self.width), f"1 to {MAX_SIDE} pixels"),
            ("crop_fraction", crop, LEAST_CROP <= crop <= 1, f"{LEAST_CROP} to 1"),
            (
                "reducing_gap",
                gap,
                gap == 0 or 1 <= gap <= MAX_REDUCING_GAP,
                f"0, or 1 to {MAX_REDUCING_GAP:g}",
            ),
            ("range", (low, high), -math.inf < low < high < math.inf, "two finite numbers, rising"),
            (
                "levels",
                self.levels,
                self.levels is None or _are_levels(*self.levels),
                "two integers from 0, rising",
            ),
            ("mean", self.mean, _fits(self.mean, channels), a_number_each),
            (
                "std",
                self.std,
                _fits(self.std, channels) and all(each > 0 for each in self.std),
                f"{a_number_each} above 0",
            ),
            ("channel_order", self.channel_order, colours, "bgr only for three channels"),
            (
                "pad_value",
                self.pad_value,
                _is_int(self.pad_value) and 0 <= self.pad_value <= 255,
                "0 to 255",
            ),
        )

    @property
    def encoding(self) -> InputEncoding:
        """How pixel values become the values of the model's image tensor."""
        return InputEncoding(**{name: getattr(self, name) for name in _ENCODING})

    @property
    def channels(self) -> str:
        """The channels of the model's tensor in their order, for people: ``BGR``, ``grey``."""
        if self.color_order is ColorOrder.GREY:
            return "grey"
        return "BGR" if self.channel_order is ChannelOrder.BGR else str(self.color_order)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Extents of the pixel tensor: (height, width, channels)."""
        return self.height, self.width, self.color_order.channels

    def to_json(self) -> dict[str, Any]:
        """Return the contract as JSON values."""
        low, high = self.value_range
        # Whole numbers are written as such: the hash of a contract must not change with the type.
        bounds = [int(low) if low == int(low) else low, int(high) if high == int(high) else high]
        value = asdict(self)
        del value["value_range"]
        for item in fields(self):
            if item.name in _OPTIONAL and value[item.name] == item.default:
                del value[item.name]
        value |= {"layout": str(self.layout), "range": bounds}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in value.items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` wrote.

        Raises:
            BundleError: A field is missing, unknown or out of range.
        """
        if not isinstance(value, Mapping):
            raise BundleError(f"preprocessing is {shown(value)}, expected an object")
        known = {item.name for item in fields(cls)} - {"value_range"} | {"range"}
        check_names("preprocessing", value, known, optional=_OPTIONAL)
        for name, (fits, allowed) in _FORMS.items():
            if name in value and not fits(value[name]):
                raise BundleError(
                    f"preprocessing.{name} is {shown(value[name])}; allowed: {allowed}"
                )
        given = {name: _READ.get(name, _same)(item) for name, item in value.items()}
        given["value_range"] = given.pop("range")
        try:
            return cls(**given)
        except UsageError as error:
            raise BundleError(f"preprocessing.{error.message}") from error

    @property
    def sha256(self) -> str:
        """Hash of the canonical JSON form, hex."""
        return hashlib.sha256(canonical_json(self.to_json()).encode()).hexdigest()


def check_names(
    where: str, value: Mapping[str, Any], known: Collection[str], *, optional: Collection[str]
) -> None:
    """Refuse an object that lacks a field, or has one that is not known.

    Raises:
        BundleError: It does.
    """
    unknown = sorted(set(value) - set(known))
    if unknown:
        raise BundleError(f"{where} has the unknown field {shown(unknown[0])}")
    lacking = sorted(set(known) - set(optional) - set(value))
    if lacking:
        raise BundleError(f"{where} lacks {lacking[0]}")


def is_number(value: Any) -> bool:
    """Return whether a JSON value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_side(value: Any) -> bool:
    return _is_int(value) and 1 <= value <= MAX_SIDE


def _are_levels(black: Any, white: Any) -> bool:
    return _is_int(black) and _is_int(white) and 0 <= black < white


def _fits(values: tuple[float, ...], channels: int) -> bool:
    return len(values) in (0, channels) and all(map(math.isfinite, values))


def _is_pair_of_numbers(value: Any) -> bool:
    return _are_numbers(value) and len(value) == 2


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_number, value))


def _is_pair_of_integers(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_int, value))


def _floats(value: list[float]) -> tuple[float, ...]:
    return tuple(map(float, value))


def _same(value: Any) -> Any:
    return value


_ENCODING: Final = ("value_range", "mean", "std", "channel_order", "layout", "integer_input")
# Fields that an earlier contract does not have.
_OPTIONAL: Final = (
    *("levels", "mean", "std", "channel_order", "integer_input", "pad_value", "pad_position"),
)


def _choice(kind: type[StrEnum]) -> tuple[Callable[[Any], bool], str]:
    return (list(kind).__contains__, ", ".join(kind))


# Field of a contract -> whether a JSON value has its form, and what is allowed. What ``float`` and
# the enums would take beside that is refused: texts of digits, true, null.
_FORMS: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "layout": _choice(TensorLayout),
    "height": (_is_side, f"1 to {MAX_SIDE} pixels"),
    "width": (_is_side, f"1 to {MAX_SIDE} pixels"),
    "resize": _choice(Resize),
    "crop_fraction": (is_number, f"{LEAST_CROP} to 1"),
    "interpolation": _choice(Interpolation),
    "reducing_gap": (is_number, f"0, or 1 to {MAX_REDUCING_GAP:g}"),
    "color_order": _choice(ColorOrder),
    "range": (_is_pair_of_numbers, "two finite numbers, rising"),
    "levels": (_is_pair_of_integers, "two integers from 0, rising"),
    "mean": (_are_numbers, "a list of numbers"),
    "std": (_are_numbers, "a list of numbers"),
    "channel_order": _choice(ChannelOrder),
    "integer_input": _choice(IntegerInput),
    "pad_value": (_is_int, "0 to 255"),
    "pad_position": _choice(PadPosition),
}
_READ: Final[Mapping[str, Callable[[Any], Any]]] = {
    "layout": TensorLayout,
    "resize": Resize,
    "crop_fraction": float,
    "interpolation": Interpolation,
    "reducing_gap": float,
    "color_order": ColorOrder,
    "range": _floats,
    "levels": tuple,
    "mean": _floats,
    "std": _floats,
    "channel_order": ChannelOrder,
    "integer_input": IntegerInput,
    "pad_position": PadPosition,
}


def canonical_json(value: Any) -> str:
    """Write JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
