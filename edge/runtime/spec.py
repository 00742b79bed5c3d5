"""The types that host and device share: tensors, answers, the manifest."""

import math
from collections.abc import Mapping
from dataclasses import asdict, field, fields
from typing import TYPE_CHECKING, Any, Final, Self

from edge.errors import BundleError, UsageError
from edge.runtime.checked import shown
from edge.runtime.contract import Preprocessing, check_names, is_number
from edge.runtime.frozen import frozen_dataclass
from edge.runtime.output import PROBABILITIES, HeadSpec, OutputSpec

if TYPE_CHECKING:
    from edge.runtime.tasks.table import DecoderSpec, Task

MANIFEST_SCHEMA_VERSION: Final = 1
# A bundle whose best value is not the answer has this version: a runtime that does not know
# ``output`` would answer something else without a word, and refuses the bundle this way.
OUTPUT_SCHEMA_VERSION: Final = 2
# The same of ``decoder``: the model answers another question than which class a picture shows.
TASK_SCHEMA_VERSION: Final = 3
_SCHEMA_VERSIONS: Final = (MANIFEST_SCHEMA_VERSION, OUTPUT_SCHEMA_VERSION, TASK_SCHEMA_VERSION)


@frozen_dataclass(kw_only=True)
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


@frozen_dataclass(kw_only=True)
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


@frozen_dataclass(kw_only=True)
class Category:
    """One answer of a classifier: class index, label, and probability 0..1."""

    index: int
    label: str
    score: float


@frozen_dataclass(kw_only=True)
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
        score: The value of the task's own metric on held-out images, 0..1; None for a classifier,
            and without annotations.
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
    score: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values; ``score`` only where there is one."""
        value = asdict(self)
        if self.score is None:
            del value["score"]
        return value

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what ``asdict`` gave.

        Raises:
            BundleError: A field is missing, unknown, of another type, or outside its bounds.
        """
        if not isinstance(value, Mapping):
            raise BundleError(f"a variant is {shown(value)}, expected an object")
        bounds = {"size_bytes": math.inf, "top1": 1.0, "agreement": 1.0, "latency_ms": math.inf}
        bounds |= {"score": 1.0}
        optional = ("top1", "agreement", "latency_ms", "score")
        check_names("a variant", value, {item.name for item in fields(cls)}, optional=optional)
        for name, item in value.items():
            most = bounds.get(name)
            if most is None:
                fits, wanted = isinstance(item, str), "text"
            else:
                fits = is_number(item) and 0 <= item <= most
                fits = fits or (item is None and name in optional)
                wanted = "a number that is not negative" if most > 1 else "a share from 0 to 1"
            if not fits:
                raise BundleError(f"{name} of a variant is {shown(item)}, expected {wanted}")
        return cls(**value)


@frozen_dataclass(kw_only=True)
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


@frozen_dataclass(kw_only=True)
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
        decoder: What reads the variants' outputs; None for a classifier. ``labels`` names the
            classes of objects or pixels, or the keypoints of a pose.
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
    decoder: "DecoderSpec | None" = None

    @property
    def task(self) -> "Task":
        """What the variants answer."""
        from edge.runtime.tasks.table import Task  # no classifier needs it for its answers

        return Task.CLASSIFICATION if self.decoder is None else self.decoder.task

    @property
    def schema_version(self) -> int:
        """The version of this layout.

        It is 2 where a runtime has to know ``output`` to answer rightly, and 3 where it has to
        know ``decoder``.
        """
        if self.decoder is not None:
            return TASK_SCHEMA_VERSION
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
            "variants": [variant.to_json() for variant in self.variants],
            "files": dict(sorted(self.files.items())),
            "provenance": dict(self.provenance),
        }
        stated = None if self.output == PROBABILITIES else self.output
        optional = {
            "head": self.head,
            "output": stated,
            "decoder": self.decoder,
            "release": self.release,
        }
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
        if type(version) is not int or version not in _SCHEMA_VERSIONS:
            raise BundleError(
                f"schema_version is {shown(version)}; this runtime reads "
                f"{', '.join(map(str, _SCHEMA_VERSIONS))}",
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
            decoder=_decoder(value),
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


def _decoder(value: Mapping[str, Any]) -> "DecoderSpec | None":
    """Return the field ``decoder``, which the manifest of a classifier does not have.

    Raises:
        BundleError: It cannot be read, or another field says that the model is a classifier.
    """
    if ("decoder" in value) != (value["schema_version"] == TASK_SCHEMA_VERSION):
        raise BundleError(
            f"a manifest has a decoder where its schema_version is {TASK_SCHEMA_VERSION}, and only "
            "there"
        )
    if "decoder" not in value:
        return None
    if "head" in value or "output" in value:
        raise BundleError("the manifest has a decoder, and a head or an output of a classifier")
    from edge.runtime.tasks.table import DecoderSpec

    return DecoderSpec.from_json(value["decoder"])


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


def _list(name: str, value: Any) -> list[Any]:
    """Return a JSON list of the manifest: a text or an object would be gone through as well."""
    if not isinstance(value, list):
        raise BundleError(f"{name} is {shown(value)}, expected a list")
    return value


_MANIFEST_FIELDS: Final = (
    *("name", "labels", "preprocessing", "preprocessing_sha256", "variants"),
    *("default_variant", "files", "provenance"),
)
