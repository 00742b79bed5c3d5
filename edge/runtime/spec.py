"""The types that host and device share: tensors, the preprocessing contract, the manifest."""

import hashlib
import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Final, Self

from edge.errors import BundleError, UsageError
from edge.runtime.checked import shown
from edge.runtime.output import PROBABILITIES, HeadSpec, OutputSpec

MANIFEST_SCHEMA_VERSION: Final = 1
# A bundle whose best value is not the answer has this version: a runtime that does not know
# ``output`` would answer something else without a word, and refuses the bundle this way.
OUTPUT_SCHEMA_VERSION: Final = 2

LAYOUT: Final = "HWC"  # the order of every pixel tensor here
PIXEL_RANGE: Final = (0.0, 255.0)  # the values that every model takes which edge itself writes
MAX_SIDE: Final = 8192  # pixels; a tensor of that size has 200 million values
LEAST_CROP: Final = 0.1  # the least share of the shorter side
MAX_REDUCING_GAP: Final = 16.0


class Resize(StrEnum):
    """How an image of any shape becomes (height, width)."""

    STRETCH = "stretch"  # both sides scaled on their own; the aspect ratio changes
    CENTER_CROP = "center-crop"  # shorter side to size / crop_fraction, then the central window
    LETTERBOX = "letterbox"  # longer side to size, the rest filled with grey (128, 128, 128)


class Interpolation(StrEnum):
    """Resampling filters, in Pillow's meaning: antialiased when shrinking, except nearest."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"


class ColorOrder(StrEnum):
    """The channels of a pixel tensor, in Pillow's names of image modes."""

    RGB = "RGB"
    GREY = "L"  # luma, ITU-R 601-2, one channel
    RGBA = "RGBA"  # the fourth channel is opacity, 255 where the image has none

    @property
    def channels(self) -> int:
        """How many values a pixel has."""
        return 1 if self is ColorOrder.GREY else len(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """The preprocessing contract: image file -> uint8 tensor of shape (height, width, channels).

    Its JSON form stands in the manifest, in the TFLite metadata and in the ONNX
    ``metadata_props``; ``sha256`` is what is compared. Scaling to the range that the network was
    trained on happens inside the models that edge writes, which therefore take 0..255; a file of
    somebody else's that is used as it is may take another range. A value outside the bounds that
    stand beside an attribute is a UsageError, whoever gives it: an option or a model file.

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
        value_range: What the pixel values 0 and 255 become in a model whose image input is of
            real values; an integer input takes the pixel itself.
        levels: Black and white level of grey images of more than 8 bits: the stored values that
            become 0 and 255; None where such an image uses all of its bits.
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

    def __post_init__(self) -> None:
        """Refuse what no training ever used: it would give other answers without a word."""
        low, high = self.value_range
        for name, value, holds, allowed in (
            ("height", self.height, _is_side(self.height), f"1 to {MAX_SIDE} pixels"),
            ("width", self.width, _is_side(self.width), f"1 to {MAX_SIDE} pixels"),
            (
                "crop_fraction",
                self.crop_fraction,
                LEAST_CROP <= self.crop_fraction <= 1,
                f"{LEAST_CROP} to 1",
            ),
            (
                "reducing_gap",
                self.reducing_gap,
                self.reducing_gap == 0 or 1 <= self.reducing_gap <= MAX_REDUCING_GAP,
                f"0, or 1 to {MAX_REDUCING_GAP:g}",
            ),
            ("range", (low, high), -math.inf < low < high < math.inf, "two finite numbers, rising"),
            (
                "levels",
                self.levels,
                self.levels is None or _are_levels(*self.levels),
                "two integers from 0, rising",
            ),
        ):
            if not holds:
                raise UsageError(
                    f"{name} is {shown(value)}; allowed: {allowed}",
                    hint="Edge makes no such pictures for a model.",
                )

    def to_json(self) -> dict[str, Any]:
        """Return the contract as JSON values; ``levels`` only where there are any."""
        value = asdict(self)
        low, high = value.pop("value_range")
        levels = value.pop("levels")
        # Whole numbers are written as such: the hash of a contract must not change with the type.
        bounds = [int(low) if low == int(low) else low, int(high) if high == int(high) else high]
        value |= {"layout": LAYOUT, "range": bounds}
        return value | ({} if levels is None else {"levels": list(levels)})

    @property
    def shape(self) -> tuple[int, int, int]:
        """Extents of the pixel tensor: (height, width, channels)."""
        return self.height, self.width, self.color_order.channels

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` wrote.

        Raises:
            BundleError: A field is missing, unknown or out of range.
        """
        if not isinstance(value, Mapping):
            raise BundleError(f"preprocessing is {shown(value)}, expected an object")
        known = {item.name for item in fields(cls)} - {"value_range"} | {"layout", "range"}
        _check_names("preprocessing", value, known, optional=("levels",))
        for name, (fits, allowed) in _FORMS.items():
            if name in value and not fits(value[name]):
                raise BundleError(
                    f"preprocessing.{name} is {shown(value[name])}; allowed: {allowed}"
                )
        low, high = value["range"]
        levels = value.get("levels")
        try:
            return cls(
                height=value["height"],
                width=value["width"],
                resize=Resize(value["resize"]),
                crop_fraction=float(value["crop_fraction"]),
                interpolation=Interpolation(value["interpolation"]),
                reducing_gap=float(value["reducing_gap"]),
                color_order=ColorOrder(value["color_order"]),
                value_range=(float(low), float(high)),
                levels=None if levels is None else (levels[0], levels[1]),
            )
        except UsageError as error:
            raise BundleError(f"preprocessing.{error.message}") from error

    @property
    def sha256(self) -> str:
        """Hash of the canonical JSON form, hex."""
        return hashlib.sha256(canonical_json(self.to_json()).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationParams:
    """Affine quantization: real = scale * (q - zero_point), per tensor or per channel.

    Attributes:
        scales: One scale, or one per index of ``quantized_dimension``.
        zero_points: As many as scales.
        quantized_dimension: Axis of per-channel parameters; 0 for one scale.
    """

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    quantized_dimension: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: Name in the model file.
        shape: Extents; -1 where the model leaves one open.
        dtype: numpy name, such as ``float32`` or ``uint8``.
        quantization: None for a tensor of real values.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    quantization: QuantizationParams | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """One answer of a classifier: class index, label, and probability 0..1."""

    index: int
    label: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One written model file of a bundle, and what it scored.

    Attributes:
        name: Format and precision, such as ``tflite-int8``.
        path: Relative to the bundle, with forward slashes.
        format: ``tflite`` or ``onnx``.
        precision: ``fp32``, ``fp16``, ``dynamic`` or ``int8``.
        size_bytes: The size of the file.
        input_dtype: numpy name of the image tensor's dtype.
        top1: Share of held-out images answered right, 0..1; None without labels.
        agreement: Share of held-out images with the same answer as the Keras model, 0..1.
        latency_ms: Median time of one invoke on the building host, measured; None if not.
    """

    name: str
    path: str
    format: str
    precision: str
    size_bytes: int
    input_dtype: str
    top1: float | None = None
    agreement: float | None = None
    latency_ms: float | None = None

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what ``asdict`` gave.

        Raises:
            BundleError: A field is missing, unknown, of another type, or outside its bounds.
        """
        if not isinstance(value, Mapping):
            raise BundleError(f"a variant is {shown(value)}, expected an object")
        bounds = {"size_bytes": math.inf, "top1": 1.0, "agreement": 1.0, "latency_ms": math.inf}
        optional = ("top1", "agreement", "latency_ms")
        _check_names("a variant", value, {item.name for item in fields(cls)}, optional=optional)
        for name, item in value.items():
            most = bounds.get(name)
            if most is None:
                fits, wanted = isinstance(item, str), "text"
            else:
                fits = _is_number(item) and 0 <= item <= most
                fits = fits or (item is None and name in optional)
                wanted = "a number that is not negative" if most > 1 else "a share from 0 to 1"
            if not fits:
                raise BundleError(f"{name} of a variant is {shown(item)}, expected {wanted}")
        return cls(**value)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRelease:
    """What ``edge sign`` states in a manifest, so that a device can refuse a wrong bundle.

    Attributes:
        version: Unix time of signing, seconds; of two bundles the higher is the newer.
        devices: Ids of the boards it is for, sorted; empty for any.
    """

    version: int
    devices: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the release as JSON values."""
        return {"version": self.version, "devices": list(self.devices)}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what ``to_json`` wrote.

        Raises:
            BundleError: A field is missing, unknown, or of another type.
        """
        if not isinstance(value, dict) or set(value) != {"version", "devices"}:
            raise BundleError(f"release is {shown(value)}, expected version and devices")
        version, devices = value["version"], value["devices"]
        if type(version) is not int or version < 1:
            raise BundleError(f"release.version is {shown(version)}, expected a positive integer")
        if not isinstance(devices, list) or not all(isinstance(name, str) for name in devices):
            raise BundleError(f"release.devices is {shown(devices)}, expected a list of ids")
        return cls(version=version, devices=tuple(devices))


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """``manifest.json``: what a bundle holds.

    Attributes:
        name: The name of the model, for people.
        labels: Class names; the index is the class.
        preprocessing: The contract that every variant of the bundle shares.
        variants: In the order of the report.
        default_variant: The one that runs unless another is named.
        files: sha256 (hex) of every file of the bundle but the manifest, by relative path.
        provenance: Backbone, weights and data hashes, versions, seed, options.
        head: What turns the variants' answers, then embeddings, into class probabilities; None
            where they answer with probabilities themselves.
        release: What ``edge sign`` added; None for a bundle that never was signed.
        output: What the values mean that the variants answer with, where there is no head.
    """

    name: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    variants: tuple[Variant, ...]
    default_variant: str
    files: Mapping[str, str]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    head: HeadSpec | None = None
    release: SignedRelease | None = None
    output: OutputSpec = PROBABILITIES

    @property
    def schema_version(self) -> int:
        """The version of this layout.

        It is 2 where a runtime has to know ``output`` to answer rightly.
        """
        return MANIFEST_SCHEMA_VERSION if self.output.plain else OUTPUT_SCHEMA_VERSION

    def variant(self, name: str | None = None) -> Variant:
        """Return the variant of that name, or the default one.

        Raises:
            UsageError: No variant has that name.
            BundleError: The bundle lacks its own default variant.
        """
        wanted = self.default_variant if name is None else name
        for variant in self.variants:
            if variant.name == wanted:
                return variant
        known = ", ".join(variant.name for variant in self.variants)
        kind = BundleError if name is None else UsageError
        raise kind(f"the bundle has no variant {wanted!r}", hint=f"It has: {known}.")

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as JSON values."""
        value = {
            "schema_version": self.schema_version,
            "name": self.name,
            "default_variant": self.default_variant,
            "labels": list(self.labels),
            "preprocessing": self.preprocessing.to_json(),
            "preprocessing_sha256": self.preprocessing.sha256,
            "variants": [asdict(variant) for variant in self.variants],
            "files": dict(sorted(self.files.items())),
            "provenance": dict(self.provenance),
        }
        stated = None if self.output == PROBABILITIES else self.output
        optional = {"head": self.head, "output": stated, "release": self.release}
        return value | {name: item.to_json() for name, item in optional.items() if item}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what ``to_json`` wrote.

        Raises:
            BundleError: Not a manifest, of another schema, or a field that does not fit.
        """
        if not isinstance(value, dict):
            raise BundleError("the manifest is not a JSON object")
        version = value.get("schema_version")
        if version not in (MANIFEST_SCHEMA_VERSION, OUTPUT_SCHEMA_VERSION):
            raise BundleError(
                f"schema_version is {shown(version)}; this runtime reads "
                f"{MANIFEST_SCHEMA_VERSION} and {OUTPUT_SCHEMA_VERSION}",
                hint="Build the bundle again, or use the runtime that it carries.",
            )
        lacking = [name for name in _MANIFEST_FIELDS if name not in value]
        if lacking:
            raise BundleError(f"the manifest lacks {lacking[0]}")
        preprocessing = Preprocessing.from_json(value["preprocessing"])
        if value["preprocessing_sha256"] != preprocessing.sha256:
            raise BundleError("the preprocessing contract does not have the hash it states")
        labels = tuple(_text("a label", label) for label in _list("labels", value["labels"]))
        files = _object("files", value["files"])
        return cls(
            name=_text("name", value["name"]),
            labels=labels,
            preprocessing=preprocessing,
            variants=tuple(
                Variant.from_json(item) for item in _list("variants", value["variants"])
            ),
            default_variant=_text("default_variant", value["default_variant"]),
            files={path: _text("a sha256 of files", digest) for path, digest in files.items()},
            provenance=_object("provenance", value["provenance"]),
            head=HeadSpec.from_json(value["head"]) if "head" in value else None,
            release=SignedRelease.from_json(value["release"]) if "release" in value else None,
            output=_output(value, len(labels)),
        )


def _output(value: Mapping[str, Any], labels: int) -> OutputSpec:
    """Return the field ``output``, which no earlier manifest has.

    Raises:
        BundleError: It cannot be read, or a head stands beside it, which answers by itself.
    """
    if "output" not in value:
        if value["schema_version"] == OUTPUT_SCHEMA_VERSION:
            raise BundleError("the manifest has schema_version 2 and no output")
        return PROBABILITIES
    output = OutputSpec.from_json(value["output"], labels=labels)
    if "head" in value and not output.plain:
        raise BundleError("the manifest has both a head and an output that is no embedding")
    return output


def _text(name: str, value: Any) -> str:
    """Return a JSON string of the manifest."""
    if not isinstance(value, str):
        raise BundleError(f"{name} is {shown(value)}, expected text")
    return value


def _object(name: str, value: Any) -> Mapping[str, Any]:
    """Return a JSON object of the manifest."""
    if not isinstance(value, dict):
        raise BundleError(f"{name} is {shown(value)}, expected an object")
    return value


def _check_names(
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


def _list(name: str, value: Any) -> list[Any]:
    """Return a JSON list of the manifest: a text or an object would be gone through as well."""
    if not isinstance(value, list):
        raise BundleError(f"{name} is {shown(value)}, expected a list")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_side(value: Any) -> bool:
    return _is_int(value) and 1 <= value <= MAX_SIDE


def _are_levels(black: Any, white: Any) -> bool:
    return _is_int(black) and _is_int(white) and 0 <= black < white


def _is_pair_of_numbers(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


def _is_pair_of_integers(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_int, value))


# Field of a contract -> whether a JSON value has its form, and what is allowed. What ``float`` and
# the enums would take beside that is refused: texts of digits, true, null.
_FORMS: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "layout": ((LAYOUT,).__contains__, LAYOUT),
    "height": (_is_side, f"1 to {MAX_SIDE} pixels"),
    "width": (_is_side, f"1 to {MAX_SIDE} pixels"),
    "resize": (list(Resize).__contains__, ", ".join(Resize)),
    "crop_fraction": (_is_number, f"{LEAST_CROP} to 1"),
    "interpolation": (list(Interpolation).__contains__, ", ".join(Interpolation)),
    "reducing_gap": (_is_number, f"0, or 1 to {MAX_REDUCING_GAP:g}"),
    "color_order": (list(ColorOrder).__contains__, ", ".join(ColorOrder)),
    "range": (_is_pair_of_numbers, "two finite numbers, rising"),
    "levels": (_is_pair_of_integers, "two integers from 0, rising"),
}
_MANIFEST_FIELDS: Final = (
    *("name", "labels", "preprocessing", "preprocessing_sha256", "variants"),
    *("default_variant", "files", "provenance"),
)


def canonical_json(value: Any) -> str:
    """Write JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
