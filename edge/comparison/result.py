"""What a comparison says: plain data, from which every report is written."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from edge.evaluation.confidence import Interval as Interval
from edge.evaluation.multilabel import MultiLabelScore
from edge.runtime.output import PROBABILITIES, OutputSpec

COMPARISON_SCHEMA_VERSION: Final = 1


class Verdict(StrEnum):
    """Of one check, and of the whole: the worst of its checks."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"  # the images are too few to tell


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One rule of the policy, applied.

    Attributes:
        metric: Key of ``METRICS``, such as ``top1_drop``.
        unit: Of value, interval and limit: ``points`` (percentage points), ``share`` (0..1),
            ``ratio`` (candidate / baseline), ``count``, ``bytes``, ``milliseconds``, or
            ``percent`` (change relative to the baseline).
        value: What was found; None where it cannot be had.
        interval: Of the value, where it is an estimate from the images.
        limit: Of the policy.
        direction: ``at_most`` or ``at_least``.
        verdict: Of this rule.
        reason: One sentence for people.
        images_needed: More labelled images that would probably decide; None if it is decided, or
            if no number would.
    """

    metric: str
    unit: str
    value: float | None
    interval: Interval | None
    limit: float
    direction: str
    verdict: Verdict
    reason: str
    images_needed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """The baseline or the candidate.

    Attributes:
        name: As the user named it: a variant, or a file's name.
        path: Of the model file.
        sha256: Of the model file, hex.
        size_bytes: Of the model file.
        engine: Interpreter and version.
        top1: Share of the labelled images answered right, 0..1; None without labels.
        top1_interval: Wilson's interval of it.
        top5: The same for the best five classes; None with fewer than six.
        top5_interval: Wilson's interval of it.
        ece: Expected calibration error, 0..1; None without labels.
        multi_label: Where labels do not exclude one another, the scores; top-1 is None then.
        output: What its values mean.
        latency_ms: Median of one inference, milliseconds, if the policy asks for it.
    """

    name: str
    path: str
    sha256: str
    size_bytes: int
    engine: str
    top1: float | None
    top1_interval: Interval | None
    top5: float | None
    top5_interval: Interval | None
    ece: float | None
    latency_ms: float | None = None
    multi_label: MultiLabelScore | None = None
    output: OutputSpec = PROBABILITIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """The same labelled images through both.

    Attributes:
        lost: Images that only the baseline answers right.
        gained: Images that only the candidate answers right.
        mcnemar_p: Two-sided exact McNemar test of lost against gained.
        drop_points: Percentage points of top-1 that the candidate loses.
        drop_interval: Of the drop, percentage points.
        confidence: Of every interval, 0..1.
        margin_points: Drop that is still accepted, percentage points; None if the policy does
            not limit it.
    """

    lost: int
    gained: int
    mcnemar_p: float
    drop_points: float
    drop_interval: Interval
    confidence: float
    margin_points: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRecall:
    """One class: share of its images that each side answers right.

    Attributes:
        label: Name of the class.
        images: Labelled with it.
        baseline: Recall, 0..1.
        candidate: Recall, 0..1.
        baseline_interval: Of its recall, 95 %, Wilson.
        candidate_interval: The same.
        drop_points: Percentage points that the candidate loses.
        p_value: One-sided exact McNemar test that it loses any, corrected for the number of
            classes (Holm 1979).
    """

    label: str
    images: int
    baseline: float
    candidate: float
    baseline_interval: Interval
    candidate_interval: Interval
    drop_points: float
    p_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """An image whose best class changed.

    Attributes:
        path: Of the image.
        truth: Its class; None if unknown.
        baseline: Best class of the baseline, and its score, 0..1.
        candidate: Best class of the candidate, and its score, 0..1.
    """

    path: str
    truth: str | None
    baseline: str
    baseline_score: float
    candidate: str
    candidate_score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """How often the candidate took one class for another; right answers included."""

    truth: str
    answer: str
    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRecord:
    """Which rules were applied: the policy's name and the sha256 of its file's bytes.

    The built-in policy has no path; its sha256 is of its canonical JSON.
    """

    name: str
    sha256: str
    path: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Everything that was found.

    Attributes:
        verdict: The worst of the checks; fail before inconclusive before pass.
        baseline: What is compared against.
        candidate: What is judged.
        images: Compared.
        labelled: Of them, with a known class.
        left_out: Images that trained or calibrated either side, by path; they would flatter it.
        skipped: Why each other image could not be read, by path.
        identical: Whether both are the same file.
        paired: None without labels.
        agreement: Share of the images with the same answer, 0..1.
        checks: In the order of the policy.
        classes: Worst drop first.
        flips: In the order of the images.
        confusion: Of the candidate, on labelled images; cells that are not zero.
        policy: Applied.
        host: Where it ran.
        notes: What a reader should know.
    """

    verdict: Verdict
    baseline: Side
    candidate: Side
    images: int
    labelled: int
    left_out: tuple[str, ...]
    skipped: Mapping[str, str]
    identical: bool
    paired: Paired | None
    agreement: float
    checks: tuple[Check, ...]
    classes: tuple[ClassRecall, ...]
    flips: tuple[Flip, ...]
    confusion: tuple[Confusion, ...]
    policy: PolicyRecord
    host: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    schema_version: int = COMPARISON_SCHEMA_VERSION

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        return asdict(self)
