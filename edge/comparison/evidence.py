"""What metrics are computed from: the scores of both sides, and estimates with their intervals."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from edge.comparison.result import ClassRecall, Confusion, Flip, Interval
from edge.evaluation.confidence import CONFIDENCE, holm, mcnemar_loss, normal_quantile, wilson
from edge.evaluation.multilabel import LabelTruth
from edge.evaluation.score import bin_gaps, error_of, right_within
from edge.runtime.output import PROBABILITIES, OutputSpec
from edge.runtime.postprocess import answered, answers, best_class, holding

UNKNOWN: Final = -1  # class index of an image without a label


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """Latencies of both sides on one host.

    Attributes:
        baseline_ms: The baseline's median of one inference, milliseconds.
        candidate_ms: The candidate's median on a machine just as fast, milliseconds.
        ratio: The interval of candidate / baseline; None where samples of one run are all there
            is.
    """

    baseline_ms: float
    candidate_ms: float
    ratio: Interval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEvidence:
    """What is known of two files, whatever they answer.

    Attributes:
        sizes: Sizes in bytes of the baseline's and the candidate's file.
        identical: Whether both are the same file.
        confidence: Confidence level of all intervals, 0..1.
        timings: Latencies by source, ``measured`` or ``recorded``, that the policy asks for.
    """

    known: ClassVar[str] = "labelled"  # what an image is called that counts for a score

    sizes: tuple[int, int]
    identical: bool
    confidence: float
    timings: Mapping[str, Latencies | None] = field(default_factory=dict)

    @property
    def z(self) -> float:
        """The normal quantile of the confidence level."""
        return normal_quantile(self.confidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence(FileEvidence):
    """The scores of two classifiers on the same images, beside what is known of the files.

    Attributes:
        labels: Class names, in the order of the scores.
        truth: (images,) class index, or ``UNKNOWN``.
        baseline: (images, classes) scores, float32.
        candidate: (images, classes) scores, float32, columns in the baseline's order.
        same_network: Whether both hold the same float32 weights; None where it is not known.
        outputs: What the scores of the baseline and of the candidate mean.
        several: Which labels hold, where they do not exclude one another: no class is known then.
    """

    labels: tuple[str, ...]
    truth: NDArray[np.int64]
    baseline: NDArray[np.float32]
    candidate: NDArray[np.float32]
    same_network: bool | None
    outputs: tuple[OutputSpec, OutputSpec] = (PROBABILITIES, PROBABILITIES)
    several: LabelTruth | None = None

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """(images,) whether the class is known."""
        known: NDArray[np.bool_] = self.truth != UNKNOWN
        return known

    @property
    def answers(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(images,) what baseline and candidate say, see ``edge.runtime.postprocess.answers``."""
        return answers(self.baseline, self.outputs[0]), answers(self.candidate, self.outputs[1])

    def said(self, which: int, image: int) -> str:
        """The answer of a side, 0 or 1, to an image: a label, or those that hold."""
        table = (self.baseline, self.candidate)[which]
        holding_labels = answered(table[image], self.labels, self.outputs[which])
        return ", ".join(holding_labels) or "no label"

    def score_of(self, which: int, image: int) -> float:
        """The score of that answer, 0..1; where several labels may hold, the highest of any."""
        row = (self.baseline, self.candidate)[which][image]
        output = self.outputs[which]
        return float(row.max() if output.multi_label else row[int(best_class(row, output))])

    def right(self, k: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(labelled,) whether baseline and candidate have the class among their best k."""
        known, labels = self.labelled, self.truth[self.labelled]
        if k == 1:
            before, after = self.answers
            return before[known] == labels, after[known] == labels
        return (
            right_within(self.baseline[known], labels, k),
            right_within(self.candidate[known], labels, k),
        )

    def changed(self, k: int) -> int:
        """Count the images, labelled or not, whose best k classes differ between the sides."""
        if k == 1:
            before, after = self.answers
            return int((before != after).sum())
        best = [
            np.sort(np.argsort(-scores, axis=1, kind="stable")[:, :k], axis=1)
            for scores in (self.baseline, self.candidate)
        ]
        return int((best[0] != best[1]).any(axis=1).sum())


Z: Final = normal_quantile(CONFIDENCE)  # for the intervals of recalls


def class_recalls(evidence: Evidence) -> tuple[ClassRecall, ...]:
    """Return the recall of every class that has an image, worst drop first.

    Where labels do not exclude one another, the recall of a label is the share of the images where
    it holds in which it reaches its threshold.
    """
    rows = []
    for index, old, new in _hits(evidence):
        lost, gained = int((old & ~new).sum()), int((new & ~old).sum())
        rows.append((int(index), len(old), old.mean(), new.mean(), mcnemar_loss(lost, gained)))
    corrected = holm([row[4] for row in rows])
    recalls = [
        ClassRecall(
            label=evidence.labels[index],
            images=images,
            baseline=float(old),
            candidate=float(new),
            baseline_interval=wilson(round(old * images), images, Z),
            candidate_interval=wilson(round(new * images), images, Z),
            drop_points=round(100 * float(old - new), 6),
            p_value=p,
        )
        for (index, images, old, new, _), p in zip(rows, corrected, strict=True)
    ]
    return tuple(sorted(recalls, key=lambda item: (-item.drop_points, item.p_value)))


def _hits(
    evidence: Evidence,
) -> Iterator[tuple[int, NDArray[np.bool_], NDArray[np.bool_]]]:
    """Each class, and for each of its images whether baseline and candidate get it right."""
    if evidence.several is not None:
        tables = (evidence.baseline, evidence.candidate)
        said = [holding(*pair) for pair in zip(tables, evidence.outputs, strict=True)]
        for index in range(len(evidence.labels)):
            images = evidence.several.table[:, index] == 1
            if images.any():
                yield index, said[0][images, index], said[1][images, index]
        return
    truth = evidence.truth[evidence.labelled]
    before, after = evidence.right(1)
    for index in np.unique(truth):
        yield int(index), before[truth == index], after[truth == index]


def flips(evidence: Evidence, paths: Sequence[Path]) -> tuple[Flip, ...]:
    """Return the images whose answer changed, in their order."""
    old, new = evidence.answers
    changed = []
    for image in np.flatnonzero(old != new).tolist():
        label = int(evidence.truth[image])
        changed.append(
            Flip(
                path=str(paths[image]),
                truth=None if label == UNKNOWN else evidence.labels[label],
                baseline=evidence.said(0, image),
                baseline_score=evidence.score_of(0, image),
                candidate=evidence.said(1, image),
                candidate_score=evidence.score_of(1, image),
            )
        )
    return tuple(changed)


def confusion(evidence: Evidence) -> tuple[Confusion, ...]:
    """Count the candidate's answers on the labelled images by class; no empty cells."""
    known = evidence.labelled
    said = evidence.answers[1][known]
    counts = Counter(zip(evidence.truth[known].tolist(), said.tolist(), strict=True))
    return tuple(
        Confusion(truth=evidence.labels[truth], answer=evidence.labels[answer], images=images)
        for (truth, answer), images in sorted(counts.items())
    )


RESAMPLES: Final = 2000
SEED: Final = 0  # the same images give the same verdict
_AT_ONCE: Final = 20_000_000  # weights held in memory at a time, 8 bytes each

Projection = Callable[[float, float], Interval]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricEstimate:
    """The value of a metric, and how sure it is.

    Attributes:
        value: The value in the metric's unit; None where it cannot be had.
        interval: The interval of the value, if it is an estimate from the images.
        images: The number of images that it was estimated from.
        projected: Gives the interval for (images, z) if the rates seen so far go on.
        baseline: The baseline's value, if each side has one for itself.
        difference: The interval of candidate - baseline, if each side has a value.
        unchanged: Whether the value is a drop and not one answer changed; see ``Rule.unchanged``.
        detail: A few words on where the value comes from.
        missing: Why there is no value, one sentence.
    """

    value: float | None
    interval: Interval | None = None
    images: int = 0
    projected: Projection | None = None
    baseline: float | None = None
    difference: Interval | None = None
    unchanged: bool = False
    detail: str = ""
    missing: str = ""


NO_LABELS: Final = MetricEstimate(value=None, missing="no image has a known class")


def share_estimate(hits: NDArray[np.bool_], evidence: Evidence, **more: Any) -> MetricEstimate:
    """Return the share of hits with Wilson's interval; it is exact between identical files."""
    images = len(hits)
    share = float(hits.mean())
    if evidence.identical and not more:
        return MetricEstimate(value=share, interval=Interval(share, share), images=images)
    return MetricEstimate(
        value=share,
        interval=wilson(float(hits.sum()), images, evidence.z),
        images=images,
        projected=lambda count, z: wilson(share * count, count, z),
        **more,
    )


def mean_estimate(values: NDArray[np.floating[Any]], evidence: Evidence) -> MetricEstimate:
    """Return the mean over the images with its normal interval."""
    mean, images = float(values.mean()), len(values)
    deviation = float(values.std(ddof=1)) if images > 1 else mean
    half = evidence.z * deviation / math.sqrt(images)
    interval = Interval(mean - half, mean + half)
    return MetricEstimate(
        value=mean,
        interval=interval,
        images=images,
        projected=narrowing(mean, interval, images, evidence.z),
    )


def resampled_errors(evidence: Evidence, *, increase: bool) -> MetricEstimate:
    """Return the candidate's calibration error, or its increase, with a percentile bootstrap.

    The error is a sum of absolute values, so resampling pushes it up; the interval is moved back
    by that bias (the reverse, or basic, bootstrap).
    """
    known = evidence.labelled
    truth = evidence.truth[known]
    gaps = [bin_gaps(table[known], truth) for table in (evidence.baseline, evidence.candidate)]
    images = len(truth)
    random = np.random.default_rng(SEED)
    rows = max(1, min(RESAMPLES, _AT_ONCE // images))
    drawn = []
    for start in range(0, RESAMPLES, rows):
        size = min(rows, RESAMPLES - start)
        weights = random.multinomial(images, np.full(images, 1 / images), size).astype(float)
        drawn.append(np.stack([error_of(weights, gap) for gap in gaps]))
    resampled = np.concatenate(drawn, axis=1)
    before, after = (float(error_of(np.ones(images), gap)) for gap in gaps)
    difference = _reversed(after - before, resampled[1] - resampled[0], evidence.confidence)
    if increase:
        value, interval = after - before, difference
    else:
        value, interval = after, _reversed(after, resampled[1], evidence.confidence)
        interval = Interval(max(0.0, interval.low), interval.high)
    return MetricEstimate(
        value=value,
        interval=interval,
        images=images,
        projected=narrowing(value, interval, images, evidence.z),
        baseline=None if increase else before,
        difference=None if increase else difference,
    )


def _reversed(value: float, resampled: NDArray[np.float64], confidence: float) -> Interval:
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(2 * value - float(high), 2 * value - float(low))


def narrowing(value: float, interval: Interval, images: int, z: float) -> Projection:
    """Return how an interval of (images, z) shrinks: with the square root of the images."""
    low, high = value - interval.low, interval.high - value

    def projected(count: float, wanted: float) -> Interval:
        factor = wanted / z * math.sqrt(images / count)
        return Interval(value - low * factor, value + high * factor)

    return projected
