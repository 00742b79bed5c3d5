"""``report.json``: what a job did and what each file scored; ``docs/bundle.md`` explains it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, TypeVar

from converters.base import TARGETS, Precision
from edge.dataset.folder import Files
from edge.dataset.groups import Division
from edge.dataset.scan import Skipped
from edge.evaluation.chance import Exchanged, Level
from edge.evaluation.multilabel import MultiLabelScore
from edge.identification.model import Fact
from edge.pipeline.calibration import CalibrationAudit
from edge.pipeline.class_report import ClassReport
from edge.runtime.output import PROBABILITIES, OutputSpec
from edge.training.input_evidence import InputFinding
from edge.training.options import Strategy
from edge.training.strategy import Decision
from edge.training.tuning import Phase
from edge.wording import at_most, counted, joined

REPORT_SCHEMA_VERSION: Final = 2
# Whose answers ``reference`` holds.
KERAS_MODEL: Final = "the Keras model"
ADOPTED_FILE: Final = "the adopted file"
FLOAT_FILE: Final = "the float file"

Bounds = tuple[float, float]
"""Low and high end of an interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataReport:
    """The images of a job.

    Attributes:
        counts: The number of images of each split; of a build, by class.
        skipped: The files that cannot be decoded, and why.
        notes: What a user should know of the images, one sentence each.
        files: What lies in the folders.
        sha256: The content hash of a build's data; None of an export.
        labelled: How many scored images of an export have a label; None of a build, where all do.
        division: How the groups of a build's images were divided; None without groups.
    """

    counts: Mapping[str, Mapping[str, int] | int]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    files: Files
    sha256: str | None = None
    labelled: int | None = None
    division: Division | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the report on the data as JSON values."""
        return {
            **({} if self.sha256 is None else {"sha256": self.sha256}),
            "counts": dict(self.counts),
            **({} if self.labelled is None else {"labelled": self.labelled}),
            **({} if self.division is None else {"groups": self.division.to_json()}),
            "skipped": [{"path": str(item.path), "reason": item.reason} for item in self.skipped],
            "notes": list(self.notes),
            "files": self.files.to_json(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How the network was trained.

    Attributes:
        seconds: The wall time of features and head when they were made, without the start-up.
        features_reused: The images whose features an earlier run had computed; they are not in
            the seconds.
        top1: Top-1 of the Keras model on the held-out images, 0..1.
        cached: Whether an earlier run had trained it.
        strategy: How much of the network learned.
        reason: Why that strategy was taken; empty where it was asked for.
        decision: What decided about it; None where nothing had to be decided.
        phases: The phases of training, in order.
    """

    seconds: float
    features_reused: int
    top1: float | None
    cached: bool
    strategy: Strategy
    reason: str
    decision: Decision | None
    phases: tuple[Phase, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the training as JSON values."""
        return {
            "seconds": self.seconds,
            "features_reused": self.features_reused,
            "top1": self.top1,
            "cached": self.cached,
            "strategy": str(self.strategy),
            "reason": self.reason,
            "situation": {} if self.decision is None else self.decision.to_json(),
            "phases": [asdict(phase) for phase in self.phases],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """An fp32 file whose answers stand for those of the Keras model that it was written from.

    Attributes:
        variant: The name of the file.
        images: On how many images both were run.
        difference: The largest difference of two answers there, as a share of the largest answer.
    """

    variant: str
    images: int
    difference: float

    def told(self) -> str:
        """Return what a reader of the table should know."""
        return (
            f"That was run on {counted(self.images, 'image')}, where {self.variant} differs from "
            f"it by at most {at_most(self.difference)} of the largest answer; for the scores "
            f"{self.variant} stands for it, and its own row compares it with itself."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The scores of the model that every file is held against, on the held-out images.

    Attributes:
        images: How many were scored.
        labelled: How many of them have a label.
        top1: The share of the labelled ones that is answered right, 0..1; None without labels.
        top5: The same for the best five classes; None with fewer than six.
        multi_label: The scores of a model whose labels do not exclude one another; None of any
            other model, or without truth.
        map_interval: The low and the high end of the mAP, 95 %; None without ``multi_label``.
        top1_interval: The low and the high end of top-1, 95 %, Wilson; with groups of images,
            a group counts as one observation.
        chance: Top-1 that guessing would give, 0..1.
        level: Whether the model does better than that.
        exchanged: The classes whose names seem to be exchanged.
        flat: Whether each image gets about the same score for each class, as an untrained network
            gives it.
        constant: Whether all images get the same scores.
        of: ``KERAS_MODEL``, ``FLOAT_FILE`` or ``ADOPTED_FILE``: whose scores these are, in words.
        stand_in: The file that was run in the place of the Keras model; None where it was not.
    """

    images: int
    labelled: int
    top1: float | None
    top5: float | None
    multi_label: MultiLabelScore | None = None
    map_interval: Bounds | None = None
    top1_interval: Bounds | None
    chance: float | None
    level: Level | None
    exchanged: tuple[Exchanged, ...] = ()
    flat: bool = False
    constant: bool = False
    of: str = KERAS_MODEL
    stand_in: StandIn | None = None

    @property
    def is_adopted(self) -> bool:
        """Whether the only file was adopted, so that there is no model to compare it with."""
        return self.of == ADOPTED_FILE

    @property
    def told(self) -> str:
        """Whose answers the files are held against, for the end of a sentence and what follows."""
        return f"{self.of}." if self.stand_in is None else f"{self.of}. {self.stand_in.told()}"

    def to_json(self) -> dict[str, Any]:
        """Return the scores as JSON values; those of several labels only where there are some."""
        values = asdict(self)
        if self.multi_label is None:
            del values["multi_label"], values["map_interval"]
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenFile:
    """What is said of a written file, whatever its model answers.

    Attributes:
        name: The name, such as ``tflite-int8``.
        path: The path in the bundle.
        size_bytes: The size of the file, metadata included.
        latency_ms: The median of one inference on this host, measured.
        latency: The whole measurement.
        latency_ratio: The time of an inference over that of the default variant, from neighbouring
            blocks of both.
        latency_ratio_interval: The low and the high end of the ratio, 95 %.
        convert_seconds: The seconds that writing the file took, when it was written.
        quantized_share: The part of the mult-adds that the file computes on integers, 0..1.
        quantized_operators: The operators of the file that are computed on integers.
        operators: All operators but those that only convert integers and real numbers.
        notes: What the converter says of the file.
        faults: How an integer file is not what it is made for: that it is less accurate than the
            model, or slower than the float file of its format; a verb and what follows it, each.
    """

    name: str
    path: str
    size_bytes: int
    latency_ms: float
    latency: Mapping[str, Any]
    convert_seconds: float
    latency_ratio: float | None = None
    latency_ratio_interval: Bounds | None = None
    quantized_share: float | None = None
    quantized_operators: int | None = None
    operators: int | None = None
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantReport(WrittenFile):
    """One written file of a classifier.

    Attributes:
        top1: Top-1 on the held-out images, 0..1; None without labels.
        top1_interval: The low and the high end of top-1, 95 %, Wilson; with groups of images,
            a group counts as one observation.
        top5: The same for the best five classes; None with fewer than six.
        drop_points: Percentage points of top-1 lost against the Keras model; None without labels,
            and for an adopted file: there is nothing that it could have lost against.
        drop_interval: The low and the high end of the drop, 95 %, from paired answers.
        agreement: Share of held-out images with the same best class as the Keras model; None, as
            what follows from it, for an adopted file.
        agreement_interval: The low and the high end of the agreement, 95 %, Wilson.
        chance_agreement: The share that would agree by chance, see ``edge.evaluation.chance``.
        agreement_level: What the two tell, see ``edge.evaluation.chance.Level``.
        constant: Whether every image gets the same scores, unlike from the Keras model if there
            is one.
        multi_label: The scores of a model whose labels do not exclude one another; the drop is
            of mAP then, and the agreement of whole sets of labels. None of any other model, or
            without truth.
    """

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
    multi_label: MultiLabelScore | None = None

    @property
    def tells(self) -> bool:
        """Whether the images can tell other answers from its own: not all get one class."""
        return self.chance_agreement is None or self.chance_agreement < 1

    @property
    def is_faithful(self) -> bool:
        """Whether its answers are those of the Keras model, as far as the images can tell."""
        return not self.constant and self.agreement_level is not Level.CHANCE


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedVariant:
    """A file that the bundle lacks although it was meant to have it.

    Attributes:
        name: The name, such as ``onnx-int8``.
        reason: Why it could not be written or run.
        hint: What can be done; may be empty.
    """

    name: str
    reason: str
    hint: str

    def told(self) -> str:
        """Say why it is missing and what can be done."""
        way = self.hint or "Use a file of the other format, or leave this one out of --variants."
        return f"{self.name} is not in the bundle: {self.reason.rstrip('.')}. {way}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A whole job.

    Attributes:
        command: ``build`` or ``export``.
        name: The name of the model.
        data: The images, by split and class, and the files that were skipped.
        training: How the network was trained; None for an export.
        reference: The scores of the Keras model, or else of the adopted file.
        variants: The written files, in the order of the table.
        failed: The files that could not be written or do not run, and why.
        default_variant: The one that runs unless another is named.
        default_reason: Why it is that one, with the times of the files that one might want
            instead, one sentence; empty where there is only one file.
        calibration: The audit: the images, and what they did to the ranges.
        search: What a search tried, by mixed variant; see ``converters.search.Search``.
        classes: The scores of each class, confusion, mistakes and calibration of the Keras model
            and of the default variant, and where the two differ.
        stages: The seconds by stage, of this run.
        host: Where the latencies were measured.
        versions: The versions of the packages.
        notes: What to do something about, one sentence each; they were said on stderr as well.
        output: What the values mean that the files answer with, and how that was found out.
        input: How the network is fed, how that is known, and what was tried; see
            ``edge.training.input_evidence``.
        facts: What was taken of a given .tflite or .onnx file, and from which evidence.
    """

    command: str
    name: str
    data: DataReport
    training: Training | None
    reference: Reference
    variants: tuple[VariantReport, ...]
    default_variant: str
    calibration: CalibrationAudit
    search: Mapping[str, Any]
    stages: Mapping[str, float]
    host: Mapping[str, Any]
    versions: Mapping[str, str]
    failed: tuple[FailedVariant, ...] = ()
    default_reason: str = ""
    notes: tuple[str, ...] = ()
    output: OutputSpec = PROBABILITIES
    input: InputFinding | None = None
    facts: tuple[Fact, ...] = ()
    classes: ClassReport = field(default_factory=lambda: ClassReport(models={}, differences=None))
    schema_version: int = field(default=REPORT_SCHEMA_VERSION)

    @property
    def default(self) -> VariantReport:
        """The variant that runs unless another is named."""
        return next(item for item in self.variants if item.name == self.default_variant)

    @property
    def held_out(self) -> str:
        """Return what the scored images were held out from, and how; "" if one by one from all."""
        division = self.data.division
        words = held_out_of(self.command) if division is None else division.words
        return " ".join(filter(None, (words, self.selection)))

    @property
    def selection(self) -> str:
        """Return how many of the scored images chose what mixed files keep in floats; or ""."""
        return selection(self.variants, self.search, self.reference.images)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return asdict(self) | {
            "data": self.data.to_json(),
            "input": {} if self.input is None else self.input.to_json(),
            "training": None if self.training is None else self.training.to_json(),
            "variants": [asdict(item) for item in self.variants],
            "reference": self.reference.to_json(),
            "selection": self.selection,
            "classes": self.classes.to_json(),
        }


def held_out_of(command: str) -> str:
    """Return what the scored images were held out from, where that is not all; else ""."""
    if command != "export":
        return ""
    return (
        "the scored images calibrated nothing; whether the network was trained on them edge cannot "
        "know."
    )


def selection(variants: Sequence[WrittenFile], search: Mapping[str, Any], images: int) -> str:
    """Say which mixed files owe their blocks to scored images; "" where there is none.

    A file that was selected on the images that score it loses less there than elsewhere.

    Args:
        variants: The written files.
        search: What a search tried, by mixed variant.
        images: How many images were scored.
    """
    mixed = [item.name for item in variants if TARGETS[item.name].precision is Precision.MIXED]
    chosen = [name for name in mixed if name in search and search[name]["ranking"]]
    replayed = [name for name in mixed if name not in search]
    told = []
    if chosen:
        some = search[chosen[0]]["images"]
        one = len(chosen) == 1
        told.append(
            f"But {some} of the {images} scored images chose the blocks that {joined(chosen)} "
            f"{'keeps' if one else 'keep'} in floats: {'its drop' if one else 'their drops'} on "
            "these may be smaller than on new images."
        )
    if replayed:
        verb = "keeps" if len(replayed) == 1 else "keep"
        told.append(
            f"A recipe says what {joined(replayed)} {verb} in floats; whether scored images chose "
            "it edge cannot know."
        )
    return " ".join(told)


ScoredT = TypeVar("ScoredT", Reference, VariantReport)


def by_groups(scored: ScoredT, division: Division | None) -> ScoredT:
    """Return scores with an interval of top-1 in which a group of images is one observation.

    Args:
        scored: The scores.
        division: How the groups were divided; None without groups, or a score without labels,
            leaves the interval as it is.
    """
    if division is None or scored.top1 is None:
        return scored
    return replace(scored, top1_interval=division.interval(scored.top1))
