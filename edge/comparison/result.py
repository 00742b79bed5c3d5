"""What a comparison says: plain data, from which every report is written."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from edge.evaluation.confidence import Interval as Interval
from edge.evaluation.multilabel import MultiLabelScore
from edge.evaluation.tasks.metric import TaskScore
from edge.runtime.output import PROBABILITIES, OutputSpec

COMPARISON_SCHEMA_VERSION: Final = 1
CLASSIFICATION: Final = "classification"


class Verdict(StrEnum):
    """The verdict of one check, or of the comparison: the worst of its checks."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"  # the images are too few to tell


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One rule of the policy, applied.

    Attributes:
        metric: The key of ``METRICS``, such as ``top1_drop``.
        unit: The unit of value, interval and limit: ``points`` (percentage points), ``share``
            (0..1), ``ratio`` (candidate / baseline), ``count``, ``bytes``, ``milliseconds``, or
            ``percent`` (change relative to the baseline).
        value: The value; None where it cannot be had.
        interval: The interval of the value, where it is an estimate from the images.
        limit: The limit of the policy.
        direction: ``at_most`` or ``at_least``.
        verdict: The verdict of this rule.
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
        name: The name that the user gave: a variant, or a file's name.
        path: The path of the model file.
        sha256: The sha256 of the model file, in hex.
        size_bytes: The size of the model file.
        engine: The interpreter and its version.
        top1: The share of the labelled images answered right, 0..1; None without labels.
        top1_interval: Wilson's interval of that share.
        top5: The share with the class among the best five; None with fewer than six classes.
        top5_interval: Wilson's interval of that share.
        ece: The expected calibration error, 0..1; None without labels.
        multi_label: The scores where labels do not exclude one another; top-1 is None then.
        output: What the values of a classifier's output mean.
        score: The score by annotations of a model that is no classifier; None without any.
        latency_ms: The median of one inference, milliseconds, if the policy asks for it.
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
    score: TaskScore | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """How both sides did on the same labelled images.

    Attributes:
        lost: Images that only the baseline answers right.
        gained: Images that only the candidate answers right.
        mcnemar_p: The p value of the two-sided exact McNemar test of lost against gained.
        drop_points: The percentage points of top-1 that the candidate loses.
        drop_interval: The interval of the drop, percentage points.
        confidence: Confidence level of all intervals, 0..1.
        margin_points: The drop that is still accepted, percentage points; None if the policy does
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
    """The share of the images of one class that each side answers right.

    Attributes:
        label: The name of the class.
        images: The number of images that are labelled with it.
        baseline: The recall of the baseline, 0..1.
        candidate: The recall of the candidate, 0..1.
        baseline_interval: Wilson's 95 % interval of the baseline's recall.
        candidate_interval: Wilson's 95 % interval of the candidate's recall.
        drop_points: The percentage points that the candidate loses.
        p_value: The p value of the one-sided exact McNemar test that it loses any,
            corrected for the number of classes (Holm 1979).
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
        path: The path of the image.
        truth: The class of the image; None if it is not known.
        baseline: The best class of the baseline.
        baseline_score: The score of that class, 0..1.
        candidate: The best class of the candidate.
        candidate_score: The score of that class, 0..1.
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
class PictureChange:
    """A picture on which a detector, or another model that is no classifier, answers otherwise.

    Attributes:
        path: The path of the picture.
        lost: What only the baseline finds, in words.
        gained: What only the candidate finds.
        moved: What both find, but elsewhere; pixels of another class; how near two vectors are.
    """

    path: str
    lost: tuple[str, ...]
    gained: tuple[str, ...]
    moved: tuple[str, ...]


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
    """The whole result of a comparison.

    Attributes:
        verdict: The worst of the checks; fail before inconclusive before pass.
        baseline: What is compared against.
        candidate: What is judged.
        images: The number of images that were compared on.
        labelled: The number of these whose class is known, or that are annotated.
        left_out: Images that trained or calibrated either side, by path; they would flatter it.
        skipped: Why each other image could not be read, by path.
        identical: Whether both are the same file.
        paired: How both did on the labelled images; None without labels.
        agreement: The share of the images with the same answer, 0..1; of a model that is no
            classifier, the value of ``task_agreement``.
        checks: The checks, in the order of the policy.
        classes: The recalls of the classes, worst drop first.
        flips: The images whose answer changed, in their order.
        confusion: The candidate's answers by class on labelled images; no cell is zero.
        policy: The policy that was applied.
        host: The machine that the comparison ran on.
        notes: What a reader should know, one sentence each.
        task: What both answer.
        changes: The pictures that a model which is no classifier answers otherwise, in their order.
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
    task: str = CLASSIFICATION
    changes: tuple[PictureChange, ...] = ()
    schema_version: int = COMPARISON_SCHEMA_VERSION

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON values; a classifier has an ``output``, others a ``score``."""
        stated = asdict(self)
        for side in (stated["baseline"], stated["candidate"]):
            del side["score" if self.task == CLASSIFICATION else "output"]
        return stated
