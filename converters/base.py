"""What a converter is asked for, and what it answers. Plain data: no TensorFlow here."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

from edge.errors import UsageError
from edge.runtime.spec import Preprocessing


class Precision(StrEnum):
    """How weights and activations are stored."""

    FP32 = "fp32"  # all float32
    FP16 = "fp16"  # weights float16, computed in float32 where the device has no float16
    DYNAMIC = "dynamic"  # weights int8; activations quantized at run time, range by range
    INT8 = "int8"  # weights and activations int8, uint8 RGB in; needs calibration images


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A file that can be written: its format and precision."""

    format: str
    precision: Precision

    @property
    def name(self) -> str:
        """The variant's name, such as ``tflite-int8``."""
        return f"{self.format}-{self.precision}"

    @property
    def filename(self) -> str:
        """The file's name in a bundle."""
        return f"{self.name}.{self.format}"


TARGETS: Final[dict[str, Target]] = {
    target.name: target
    for target in (
        Target(format="tflite", precision=Precision.FP32),
        Target(format="tflite", precision=Precision.FP16),
        Target(format="tflite", precision=Precision.DYNAMIC),
        Target(format="tflite", precision=Precision.INT8),
        Target(format="onnx", precision=Precision.FP32),
        Target(format="onnx", precision=Precision.INT8),
    )
}

# A converter writes several precisions at once, because they share the traced graph.
CONVERTERS: Final[dict[str, str]] = {
    "tflite": "converters.tflite:convert",
    "onnx": "converters.onnx:convert",
}


def targets(names: tuple[str, ...]) -> tuple[Target, ...]:
    """The targets of those names, in the order of the table.

    Raises:
        UsageError: An unknown name.
    """
    unknown = [name for name in names if name not in TARGETS]
    if unknown:
        raise UsageError(f"unknown variant {unknown[0]!r}", hint=f"Known: {', '.join(TARGETS)}.")
    return tuple(target for name, target in TARGETS.items() if name in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionRequest:
    """One process's work: one format, one or more precisions.

    Attributes:
        keras_model: A .keras file with one input of (height, width, 3), RGB 0..255, and one
            output of (classes,).
        format: Key of ``CONVERTERS``.
        precisions: Of that format.
        output: Folder that the files are written to.
        calibration: .npy file, uint8 (images, height, width, 3); needed for int8.
        name: Of the model, for the embedded metadata.
        labels: One per class.
        preprocessing: The contract, for the embedded metadata.
    """

    keras_model: Path
    format: str
    precisions: tuple[Precision, ...]
    output: Path
    calibration: Path | None
    name: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing

    def metadata(self, target: Target) -> dict[str, Any]:
        """What both formats embed: every model here takes RGB 0..255 as it is."""
        return {
            "name": self.name,
            "description": f"{self.name}, {target.name}, written by edge",
            "labels": self.labels,
            "preprocessing": self.preprocessing,
            "mean": 0.0,
            "std": 1.0,
        }

    def to_json(self) -> dict[str, Any]:
        """The request as JSON values."""
        return asdict(self) | {
            "keras_model": str(self.keras_model),
            "output": str(self.output),
            "calibration": str(self.calibration) if self.calibration else None,
            "preprocessing": self.preprocessing.to_json(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` wrote."""
        calibration = value["calibration"]
        return cls(
            keras_model=Path(value["keras_model"]),
            format=str(value["format"]),
            precisions=tuple(Precision(item) for item in value["precisions"]),
            output=Path(value["output"]),
            calibration=Path(calibration) if calibration else None,
            name=str(value["name"]),
            labels=tuple(value["labels"]),
            preprocessing=Preprocessing.from_json(value["preprocessing"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionResult:
    """One written file.

    Attributes:
        variant: Name of the target.
        path: Of the file.
        seconds: Wall time of this precision alone, without start-up and tracing.
        notes: What a user should know, such as scaling that could not be folded.
    """

    variant: str
    path: Path
    seconds: float
    notes: tuple[str, ...] = ()
