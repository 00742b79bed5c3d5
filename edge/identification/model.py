"""What is known of a model file, from which evidence, and what the user said of it."""

from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Final

from edge.errors import UsageError, cause_of
from edge.runtime import checked
from edge.runtime.contract import ChannelOrder, Interpolation, PadPosition, Preprocessing, Resize
from edge.runtime.numbers import finite_number
from edge.runtime.output import PROBABILITIES, OutputActivation, OutputSpec
from edge.runtime.tasks.table import DecoderSpec, Task

SUFFIXES: Final = (".tflite", ".onnx")
MOST_ANCHORS: Final = 16 << 20  # bytes of a file of anchors


def is_model_file(model: str) -> bool:
    """Return whether the name is that of a .tflite or .onnx file."""
    return Path(model).suffix.lower() in SUFFIXES


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedModel:
    """What a user says of a model file: the options of every command that takes one.

    None, or nothing, is what the file itself has to tell.

    Attributes:
        task: What it answers.
        decoder: A key of ``edge.runtime.tasks.decoder.DECODERS``.
        labels: A text file with one label a line.
        input_range: ``pixels``, LOW,HIGH, ``tf``, ``torch``, ``caffe`` or MEAN/STD.
        channel_order: Which colour the model takes first.
        resize: How images are brought to the model's size.
        crop_fraction: With center-crop, the part of the shorter side that is kept.
        interpolation: Resampling filter.
        pad_value: With letterbox, the value of the bars, 0 to 255.
        pad_position: With letterbox, where the image lies.
        size: (height, width) of an input that leaves them open.
        output_activation: For a classifier, what its values are.
        threshold: For a classifier, see ``OutputSpec.thresholds``.
        score_threshold: For other tasks, the least score of a result.
        iou_threshold: For detectors that leave overlapping boxes, from which overlap on the less
            sure one goes.
        max_results: The largest number of results.
        anchors: A file of anchors, for a raw SSD.
        decoder_option: Parameters of the decoder that no other option states, each NAME=VALUE.
    """

    task: Task | None = None
    decoder: str | None = None
    labels: Path | None = None
    input_range: str | None = None
    channel_order: ChannelOrder | None = None
    resize: Resize | None = None
    crop_fraction: float | None = None
    interpolation: Interpolation | None = None
    pad_value: int | None = None
    pad_position: PadPosition | None = None
    size: tuple[int, int] | None = None
    output_activation: OutputActivation = OutputActivation.AUTO
    threshold: float | None = None
    score_threshold: float | None = None
    iou_threshold: float | None = None
    max_results: int | None = None
    anchors: Path | None = None
    decoder_option: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One line of the table that a user sees.

    Attributes:
        what: Such as ``decoder`` or ``input range``.
        value: What was taken.
        source: From which evidence, a clause such as "the TFLite metadata".
        option: The option that changes it; empty where none does.
        sure: False where it is a convention or a default that nothing in the file states.
    """

    what: str
    value: str
    source: str
    option: str = ""
    sure: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentifiedModel:
    """A model file whose meaning is settled.

    Attributes:
        path: The file.
        format: ``tflite`` or ``onnx``.
        sha256: The content hash of the file, hex.
        task: What it answers.
        preprocessing: The contract of its input.
        labels: The names of classes, or of keypoints for poses.
        decoder: What reads its outputs; None for a classifier.
        settled: Names of the decoder's parameters that the file or the user settles, if only as
            the default.
        output: What a classifier's values mean.
        quantized: Whether weights or activations are integers already; such a file is adopted as it
            is, and a float file is what integer files are made of.
        facts: Everything that was taken, with its evidence.
        notes: What a user should know, one sentence each.
    """

    path: Path
    format: str
    sha256: str
    task: Task
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    decoder: DecoderSpec | None = None
    settled: frozenset[str] = frozenset()
    output: OutputSpec = PROBABILITIES
    quantized: bool = False
    facts: tuple[Fact, ...] = ()
    notes: tuple[str, ...] = ()


def read_anchors(path: Path) -> list[list[float]]:
    """Return centre y, centre x, height and width of each anchor, as shares of the sides.

    The file is an .npy array of (anchors, 4), a JSON list of lists, or a line of four numbers for
    each anchor, divided by commas or spaces.

    Raises:
        UsageError: It cannot be read, or holds something else.
    """
    try:
        if path.suffix.lower() == ".npy":
            content = checked.read_bytes(path, "it", max_bytes=MOST_ANCHORS)
            rows: Any = checked.read_npy(content, "it", max_bytes=MOST_ANCHORS).tolist()
        else:
            text = checked.read_text(path, "it", max_bytes=MOST_ANCHORS).strip()
            rows = checked.parse_json(text) if text.startswith("[") else _lines(text)
    except (OSError, ValueError) as error:
        raise UsageError(f"the anchors {path} cannot be read: {cause_of(error)}") from error
    good = isinstance(rows, list) and rows and all(map(_is_anchor, rows))
    if not good:
        raise UsageError(
            f"{path} is no file of anchors",
            hint="Give centre y, centre x, height and width of each anchor, as shares of the "
            "sides: four numbers a line, a JSON list, or an .npy array.",
        )
    return [[float(value) for value in row] for row in rows]


def _lines(text: str) -> list[list[float | None]]:
    lines = (line.replace(",", " ").split() for line in text.splitlines())
    return [[finite_number(word) for word in words] for words in lines]


def _is_anchor(row: Any) -> bool:
    if not isinstance(row, list) or len(row) != 4:
        return False
    numbers = all(type(value) in (int, float) for value in row)
    return numbers and all(map(isfinite, row)) and row[2] > 0 and row[3] > 0
