"""``report.json`` of a model that is no classifier; ``docs/bundle.md`` explains it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from edge.evaluation.chance import Level
from edge.evaluation.tasks.metric import ClassTaskScore
from edge.identification.model import Fact
from edge.pipeline.calibration import CalibrationAudit
from edge.pipeline.report import (
    FLOAT_FILE,
    REPORT_SCHEMA_VERSION,
    Bounds,
    DataReport,
    FailedVariant,
    WrittenFile,
    held_out_of,
    selection,
)
from edge.runtime.tasks.table import DecoderSpec, Task

LEAST_ALIKE: Final = 0.5  # agreement; below it most answers are others


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskReference:
    """The file that every other one is held against.

    Attributes:
        of: ``FLOAT_FILE`` or ``ADOPTED_FILE``: whose scores these are, in words.
        images: How many were scored.
        annotated: How many of them have annotations.
        metric: The name of the metric of all scores; empty without annotations.
        score: The value of the metric, 0..1; None without annotations.
        interval: The low and the high end of it, 95 %, from a bootstrap over images.
    """

    of: str
    images: int
    annotated: int
    metric: str
    score: float | None
    interval: Bounds | None

    @property
    def is_adopted(self) -> bool:
        """Whether the only file was adopted, so that there is none to compare it with."""
        return self.of != FLOAT_FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskVariant(WrittenFile):
    """One written file.

    Attributes:
        score: The value of the task's metric, 0..1; None without annotations.
        interval: The low and the high end of it, 95 %, from a bootstrap over images.
        values: Every value of the metric by its name; empty without annotations.
        classes: The value of the metric for each class; empty likewise.
        drop_points: Points of the metric, in percent, lost against the float file; None without
            annotations, and for an adopted file.
        drop_interval: The low and the high end of it, 95 %, the same images drawn for both.
        agreement: How much of its answers and those of the float file are the same, 0..1, see
            ``edge.evaluation.task_agreement``; None for an adopted file, and where neither finds
            anything.
        agreement_interval: The low and the high end of it, 95 %, from a bootstrap over images.
        found: How many results the file gives on all images: objects, bodies, classes of pixels.
    """

    score: float | None = None
    interval: Bounds | None = None
    values: Mapping[str, float | None] = field(default_factory=dict)
    classes: tuple[ClassTaskScore, ...] = ()
    drop_points: float | None = None
    drop_interval: Bounds | None = None
    agreement: float | None
    agreement_interval: Bounds | None
    found: int

    @property
    def agreement_level(self) -> Level | None:
        """None: chance plays no part where places are answered."""
        return None

    @property
    def tells(self) -> bool:
        """Where things are answered with places, every image can tell."""
        return True

    @property
    def is_faithful(self) -> bool:
        """Whether at least half of what the float file answers is there."""
        return self.agreement is None or self.agreement >= LEAST_ALIKE


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskReport:
    """A whole export; the fields that ``Report`` has too mean the same.

    Attributes:
        command: ``export``.
        name: The name of the model.
        task: What the model answers.
        decoder: What reads its outputs.
        facts: What was taken of the given file, and from which evidence.
        data: The images, and the files that were skipped.
        reference: The scores of the float file, or of the adopted one.
        variants: The written files, in the order of the table.
        default_variant: The one that runs unless another is named.
        calibration: The audit: the images, and what they did to the ranges.
        search: What a search tried, by mixed variant.
        stages: The seconds by stage, of this run.
        host: Where the latencies were measured.
        versions: The versions of the packages.
        failed: The files that could not be written or do not run, and why.
        default_reason: Why the default is not the int8 file, one sentence; else empty.
        notes: What to do something about, one sentence each; they were said on stderr as well.
    """

    command: str
    name: str
    task: Task
    decoder: DecoderSpec
    facts: tuple[Fact, ...]
    data: DataReport
    reference: TaskReference
    variants: tuple[TaskVariant, ...]
    default_variant: str
    calibration: CalibrationAudit
    search: Mapping[str, Any]
    stages: Mapping[str, float]
    host: Mapping[str, Any]
    versions: Mapping[str, str]
    failed: tuple[FailedVariant, ...] = ()
    default_reason: str = ""
    notes: tuple[str, ...] = ()
    schema_version: int = field(default=REPORT_SCHEMA_VERSION)

    @property
    def default(self) -> TaskVariant:
        """The variant that runs unless another is named."""
        return next(item for item in self.variants if item.name == self.default_variant)

    @property
    def held_out(self) -> str:
        """Return what the scored images were held out from."""
        return " ".join(filter(None, (held_out_of(self.command), self.selection)))

    @property
    def selection(self) -> str:
        """Return how many of the scored images chose what mixed files keep in floats; or ""."""
        return selection(self.variants, self.search, self.reference.images)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return asdict(self) | {
            "task": str(self.task),
            "decoder": self.decoder.to_json(),
            "data": self.data.to_json(),
            "selection": self.selection,
        }
