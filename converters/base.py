"""What a converter is asked for, and what it answers. Plain data: no TensorFlow here."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

from edge.errors import UsageError
from edge.modelfile.metadata import ModelDescription
from edge.runtime.contract import Preprocessing
from edge.runtime.output import PROBABILITIES, OutputSpec
from edge.runtime.tasks.table import DecoderSpec


class Precision(StrEnum):
    """How weights and activations are stored."""

    FP32 = "fp32"  # all float32
    FP16 = "fp16"  # weights float16, computed in float32 where the device has no float16
    DYNAMIC = "dynamic"  # weights int8; activations quantized at run time, range by range
    INT8 = "int8"  # weights and activations int8, uint8 RGB in
    W8A16 = "w8a16"  # weights int8, activations int16, uint8 RGB in
    MIXED = "mixed"  # as int8, but for blocks that a recipe leaves in float32


CALIBRATED: Final = frozenset({Precision.INT8, Precision.W8A16, Precision.MIXED})


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
        Target(format="tflite", precision=Precision.W8A16),
        Target(format="tflite", precision=Precision.MIXED),
        Target(format="onnx", precision=Precision.MIXED),
    )
}
DEFAULT_TARGETS: Final = tuple(
    name
    for name, target in TARGETS.items()
    if target.precision not in (Precision.W8A16, Precision.MIXED)
)

PREPARED: Final = "serve"  # ``python -m converters serve`` waits for requests

# A converter writes several precisions at once, because they share the traced graph.
CONVERTERS: Final[dict[str, str]] = {  # each is a ``Converter``
    "tflite": "converters.tflite:convert",
    "onnx": "converters.onnx:convert",
}
# The same of float files of others, each of its own format: no Keras model is opened.
FILE_CONVERTERS: Final[dict[str, str]] = {  # each is a ``FileConverter``
    "tflite": "converters.tflite_file:convert",
    "onnx": "converters.onnx_file:convert",
}


def targets(names: tuple[str, ...]) -> tuple[Target, ...]:
    """Return the targets of those names, in the order of the table.

    Raises:
        UsageError: A name is unknown.
    """
    unknown = [name for name in names if name not in TARGETS]
    if unknown:
        raise UsageError(f"unknown variant {unknown[0]!r}", hint=f"Known: {', '.join(TARGETS)}.")
    return tuple(target for name, target in TARGETS.items() if name in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Images that calibrate nothing, and what the float model says of them.

    Attributes:
        pixels: The path of a .npy file, uint8 (images, height, width, channels).
        reference: The path of a .npy file, float32 (images, classes): the float model's scores.
            None with a decoder, where the float file is run again, and where no search needs
            them.
        truth: The class of each image, or None.
    """

    pixels: Path
    reference: Path | None
    truth: tuple[int | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionRequest:
    """One process's work: one format, one or more precisions.

    Attributes:
        keras_model: A .keras file with one input of (height, width, channels), 0..255, and one
            output of (classes,); None where ``float_file`` is given.
        float_file: A float .tflite or .onnx file of somebody else's, whose image input takes what
            ``preprocessing`` states; None where ``keras_model`` is given.
        decoder: How the outputs of ``float_file`` are read; None for a classifier. It is embedded,
            and the outputs of every file stay real numbers.
        format: A key of ``CONVERTERS``.
        precisions: The precisions to write in that format.
        output: The folder that the files are written to.
        calibration: The path of a .npy file, uint8 (images, height, width, channels);
            ``CALIBRATED`` precisions need it.
        held_out: The images for the calibration audit, and for the scores of a search.
        max_drop_points: How many percentage points a mixed file may lose; given, a recipe is
            searched for.
        recipe: The names of the blocks that a mixed file keeps in floats, instead of a search.
        name: The name of the model, which is embedded.
        labels: One label per class, which are embedded; none where the model gives an embedding.
        preprocessing: The preprocessing contract, which is embedded.
        answers: What the model's values mean, which is embedded.
        corrected: Whether the weights of integer files are rounded so that errors cancel, and
            biases corrected: most of the time of a wide network. A model with random weights has
            no accuracy to keep.
    """

    keras_model: Path | None
    format: str
    precisions: tuple[Precision, ...]
    output: Path
    calibration: Path | None
    name: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    answers: OutputSpec = PROBABILITIES
    held_out: HeldOut | None = None
    max_drop_points: float | None = None
    recipe: tuple[str, ...] | None = None
    corrected: bool = True
    float_file: Path | None = None
    decoder: DecoderSpec | None = None

    @property
    def searches(self) -> bool:
        """Whether what a mixed file keeps in floats is searched for."""
        return Precision.MIXED in self.precisions and self.recipe is None

    def described(self, target: Target) -> ModelDescription:
        """Return what both formats embed."""
        mean, std = _normalization(self.preprocessing)
        return ModelDescription(
            mean=mean,
            std=std,
            name=self.name,
            description=f"{self.name}, {target.name}, written by edge",
            labels=self.labels,
            preprocessing=self.preprocessing,
            output=self.answers,
            decoder=self.decoder,
        )


def _normalization(contract: Preprocessing) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) by which (pixel - mean) / std is the real input; one each, if that is enough."""
    pairs = [
        (-term / factor, 1 / factor)
        for factor, term in zip(
            *contract.encoding.affine(contract.color_order.channels), strict=True
        )
    ]
    some = pairs[:1] if len(set(pairs)) == 1 else pairs
    return tuple(mean + 0.0 for mean, _ in some), tuple(std for _, std in some)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionResult:
    """One written file.

    Attributes:
        variant: The name of the target.
        path: The path of the file.
        seconds: The wall time of this precision alone, without start-up and tracing.
        notes: What a user should know, such as scaling that could not be folded.
        record: JSON values for the report; see ``converters.writing.FileRecord``.
    """

    variant: str
    path: Path
    seconds: float
    notes: tuple[str, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)


class Converter(Protocol):
    """Writes the files of one format, one after the other."""

    def __call__(
        self, request: ConversionRequest, model: Any, step: Callable[[], None]
    ) -> Iterator[ConversionResult]:
        """Write one file per precision.

        Args:
            request: What to write.
            model: A Keras model that takes RGB 0..255.
            step: Is called now and then in a search.

        Raises:
            ConversionError: The model was refused.
            NegativeVerdict, UsageError: A mixed file cannot be made; see
                ``converters.writing.integer_files``.
        """
        ...


class FileConverter(Protocol):
    """Writes the files of one format from a float file of that format."""

    def __call__(
        self, request: ConversionRequest, step: Callable[[], None]
    ) -> Iterator[ConversionResult]:
        """Write one file per precision.

        Args:
            request: What to write.
            step: Is called now and then in a search.

        Raises:
            ConversionError: The file is no float model, or was refused.
            NegativeVerdict, UsageError: A mixed file cannot be made; see
                ``converters.writing.integer_files``.
        """
        ...
