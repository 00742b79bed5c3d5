"""``report.json``: what a job did and what each file scored; ``docs/bundle.md`` explains it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from edge.evaluation.chance import Level
from edge.evaluation.multilabel import MultiLabelScore
from edge.runtime.output import PROBABILITIES, OutputSpec

REPORT_SCHEMA_VERSION: Final = 2
# Whose answers ``reference`` holds.
KERAS_MODEL: Final = "the Keras model"
ADOPTED_FILE: Final = "the adopted file"

Bounds = tuple[float, float]
"""Low and high end of an interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How the head was trained.

    Attributes:
        seconds: Features and head, without start-up, wall time when it was done.
        features_reused: Images whose features an earlier run had computed; not in the seconds.
        top1: Of the Keras model on the held-out images, 0..1.
        cached: Whether an earlier run had trained it.
        strategy: ``features``, ``augment`` or ``fine-tune``.
        reason: Why that one; empty where it was asked for.
        situation: What decided about it; see ``edge.training.strategy.Situation``.
        phases: See ``edge.training.tuning.Phase``.
    """

    seconds: float
    features_reused: int
    top1: float | None
    cached: bool
    strategy: str
    reason: str
    situation: Mapping[str, Any]
    phases: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantReport:
    """One written file.

    Attributes:
        name: Such as ``tflite-int8``.
        path: In the bundle.
        size_bytes: Of the file, metadata included.
        top1: On the held-out images, 0..1; None without labels.
        top1_interval: Of it: low and high end, 95 %, Wilson.
        top5: The same for the best five classes; None with fewer than six.
        drop_points: Percentage points of top-1 lost against the Keras model; None without labels,
            and for an adopted file: there is nothing that it could have lost against.
        drop_interval: Of them: low and high end, 95 %, of paired answers.
        agreement: Share of held-out images with the same best class as the Keras model; None, as
            what follows from it, for an adopted file.
        agreement_interval: Of it: low and high end, 95 %, Wilson.
        chance_agreement: Share that would agree by chance, see ``edge.evaluation.chance``.
        agreement_level: What the two tell, see ``edge.evaluation.chance.Level``.
        constant: Whether every image gets the same scores, unlike from the Keras model if there
            is one.
        multi_label: Of a model whose labels do not exclude one another, its scores; the drop is
            of mAP then, and the agreement of whole sets of labels. None of any other model, or
            without truth.
        quantized_share: Part of the mult-adds that the file computes on integers, 0..1.
        quantized_operators: Operators of the file that are computed on integers.
        operators: All but those that only convert between integers and real numbers.
        latency_ms: Median of one inference on this host, measured.
        latency: The whole measurement.
        convert_seconds: That writing the file took, when it was written.
        notes: Of the converter.
    """

    name: str
    path: str
    size_bytes: int
    top1: float | None
    top1_interval: Bounds | None
    top5: float | None
    drop_points: float | None
    drop_interval: Bounds | None
    agreement: float | None
    agreement_interval: Bounds | None
    chance_agreement: float | None
    agreement_level: Level | None
    constant: bool
    latency_ms: float
    latency: Mapping[str, Any]
    convert_seconds: float
    quantized_share: float | None = None
    quantized_operators: int | None = None
    operators: int | None = None
    notes: tuple[str, ...] = ()
    multi_label: MultiLabelScore | None = None

    @property
    def is_faithful(self) -> bool:
        """Whether its answers are those of the Keras model, as far as the images can tell."""
        return not self.constant and self.agreement_level is not Level.CHANCE


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedVariant:
    """A file that the bundle lacks although it was meant to have it.

    Attributes:
        name: Such as ``onnx-int8``.
        reason: Why it could not be written or run.
        hint: What can be done; may be empty.
    """

    name: str
    reason: str
    hint: str

    def told(self) -> str:
        """Why it is missing and what can be done, for people."""
        way = self.hint or "Use a file of the other format, or leave this one out of --variants."
        return f"{self.name} is not in the bundle: {self.reason.rstrip('.')}. {way}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A whole job.

    Attributes:
        command: ``build`` or ``export``.
        name: Of the model.
        data: Counts per split and class, skipped files, notes, hash.
        training: None for an export.
        reference: The Keras model, or else the adopted file, as ``of`` says in words, on the
            held-out images: images, labelled, top1 with its interval, top5, and of the labelled
            ones what guessing would give (``chance``, 0..1) and whether the model does better
            (``level``, see ``edge.evaluation.chance.Level``).
        variants: In the order of the table.
        failed: Files that could not be written or do not run, and why.
        default_variant: The one that runs unless another is named.
        default_reason: Why it is not the int8 file, one sentence; empty if it is, or if no int8
            file was wanted.
        calibration: The audit: the images, and what they did to the ranges.
        search: By mixed variant, what a search tried; see ``converters.search.Search``.
        classes: Per-class scores, confusion, mistakes and calibration of the Keras model and of
            the default variant, and where the two differ; see ``edge.pipeline.class_report``.
        stages: Seconds by stage, of this run.
        host: Where the latencies were measured.
        versions: Of the packages.
        notes: What to do something about, one sentence each; they were said on stderr as well.
        output: What the values mean that the files answer with, and how that was found out.
        input: How the network is fed, how that is known, and what was tried; see
            ``edge.training.input_evidence``.
    """

    command: str
    name: str
    data: Mapping[str, Any]
    training: Training | None
    reference: Mapping[str, Any]
    variants: tuple[VariantReport, ...]
    default_variant: str
    calibration: Mapping[str, Any]
    search: Mapping[str, Any]
    stages: Mapping[str, float]
    host: Mapping[str, Any]
    versions: Mapping[str, str]
    failed: tuple[FailedVariant, ...] = ()
    default_reason: str = ""
    notes: tuple[str, ...] = ()
    output: OutputSpec = PROBABILITIES
    input: Mapping[str, Any] = field(default_factory=dict)
    classes: Mapping[str, Any] = field(default_factory=dict)
    schema_version: int = field(default=REPORT_SCHEMA_VERSION)

    @property
    def held_out(self) -> str:
        """From what the scored images were held out, where that is not all; else empty."""
        return held_out_of(self.command)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


def held_out_of(command: str) -> str:
    """From what the scored images were held out, where that is not all; else empty."""
    if command != "export":
        return ""
    return (
        "the scored images calibrated nothing; whether the network was trained on them edge cannot "
        "know."
    )
