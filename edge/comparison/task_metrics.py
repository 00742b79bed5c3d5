"""Metrics of models that are no classifiers; they are entered into ``METRICS``."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import sqrt
from typing import ClassVar, Final

import numpy as np

from edge.comparison.evidence import RESAMPLES, SEED, FileEvidence, MetricEstimate
from edge.comparison.metrics import AT_LEAST, AT_MOST, metric
from edge.comparison.result import Interval
from edge.comparison.task_scores import (
    LEAST_OF_CLASS,
    SURER,
    Reading,
    ScoredSides,
    counted_classes,
    difference,
    estimate,
    objects,
    of_class,
)
from edge.evaluation.confidence import confidence_of, holm, most_changed
from edge.evaluation.task_agreement import Agreements


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEvidence(FileEvidence):
    """How the answers of two files agree, beside what is known of the files.

    Attributes:
        agreements: What agrees on each picture.
        scored: What the annotated pictures say; None without annotations.
    """

    known: ClassVar[str] = "annotated"

    agreements: Agreements = field(repr=False)
    scored: ScoredSides | None = field(default=None, repr=False)


@metric(
    "share",
    AT_LEAST,
    "how much the answers of both sides agree: objects, pixels, points or vectors",
    labelled=False,
    of=TaskEvidence,
)
def task_agreement(evidence: TaskEvidence) -> MetricEstimate:
    """Compute it with a bootstrap over the pictures, by percentiles.

    The objects of one picture depend on one another, so whole pictures are drawn. The bootstrap
    knows no picture that it has not seen: each end also allows for as many pictures of another kind
    as the number of pictures does not rule out, on which nothing, or all, agrees. So a few pictures
    alone neither pass nor fail a file.
    """
    found = evidence.agreements
    if found.empty:
        return MetricEstimate(value=None, missing="neither side finds anything on these images")
    value, images = float(found.share()[0]), found.pictures
    if evidence.identical:
        return MetricEstimate(value=value, interval=Interval(value, value), images=images)
    random = np.random.default_rng(SEED)
    weights = random.multinomial(images, np.full(images, 1 / images), RESAMPLES)
    drawn = found.share(weights.astype(np.float64))
    tail = (1 - evidence.confidence) / 2
    low, high = (float(end) for end in np.quantile(drawn, [tail, 1 - tail]))

    def projected(count: float, z: float) -> Interval:
        factor = z / evidence.z * sqrt(images / count)
        unseen = most_changed(count, 0, confidence_of(z))
        return Interval(
            min(value - (value - low) * factor, value * (1 - unseen)),
            max(value + (high - value) * factor, value + (1 - value) * unseen),
        )

    return MetricEstimate(
        value=value,
        interval=projected(images, evidence.z),
        images=images,
        projected=projected,
    )


NOT_ANNOTATED: Final = MetricEstimate(value=None, missing="no image is annotated")


@metric(
    "points",
    AT_MOST,
    "percentage points of the task's own score (mAP, mIoU, OKS or PCK) that the candidate loses",
    of=TaskEvidence,
)
def task_score_drop(evidence: TaskEvidence) -> MetricEstimate:
    """Compute it on the annotated pictures, see ``task_scores``."""
    return _drop(evidence, lambda score: score.primary, 100, lambda _: 100)


@metric(
    "points",
    AT_MOST,
    "percentage points of mAP at an overlap of 0.5 (mAP50) that the candidate loses",
    of=TaskEvidence,
)
def map50_drop(evidence: TaskEvidence) -> MetricEstimate:
    """Compute it on the annotated pictures, see ``task_scores``."""
    return _drop(evidence, lambda score: score.values.get("map50"), 100, lambda _: 100)


@metric(
    "objects",
    AT_MOST,
    "how many more objects the candidate miscounts in an image, the mean",
    of=TaskEvidence,
)
def count_error_rise(evidence: TaskEvidence) -> MetricEstimate:
    """Compute it on the annotated pictures; an image may be miscounted by all its objects."""
    return _drop(evidence, lambda score: score.values.get("count_error"), -1, objects)


@metric(
    "points",
    AT_MOST,
    "largest loss of one class's score (AP or IoU) that is not chance",
    of=TaskEvidence,
)
def worst_class_score_drop(evidence: TaskEvidence) -> MetricEstimate:
    """Look at the classes where the jackknife's t test, one-sided, corrected for all, is sure.

    It is as sure as what fails a file by the whole score. A class counts that ten pictures show.
    """
    scored = evidence.scored
    if scored is None:
        return NOT_ANNOTATED
    read = [
        (label, difference(scored, of_class(index), 100))
        for index, label in counted_classes(scored)
    ]
    found = [(label, item) for label, item in read if item is not None]
    if not found:
        missing = f"no class is annotated on {LEAST_OF_CLASS} images"
        return MetricEstimate(value=None, missing=missing)
    chances = holm([item.chance() for _, item in found])
    level = (1 - evidence.confidence) / 2 / SURER
    sure = [
        (item.value, label, chance)
        for (label, item), chance in zip(found, chances, strict=True)
        if chance < level
    ]
    if not sure:
        more = "; what others lose may be chance" if any(i.value > 0 for _, i in found) else ""
        return MetricEstimate(value=0.0, detail=f"no class is surely worse{more}")
    value, label, chance = max(sure)
    return MetricEstimate(value=value, detail=f"{label}, p = {chance:.2g}")


def _drop(
    evidence: TaskEvidence,
    read: Reading,
    scale: float,
    unseen: Callable[[ScoredSides], float],
) -> MetricEstimate:
    """Return the estimate of a difference; exact between identical files."""
    scored = evidence.scored
    if scored is None:
        return NOT_ANNOTATED
    if read(scored.whole[0]) is None:
        missing = "the annotated images show nothing that has this score"
        return MetricEstimate(value=None, missing=missing)
    if evidence.identical:
        return MetricEstimate(value=0.0, interval=Interval(0.0, 0.0), images=scored.images)
    found = difference(scored, read, scale)
    if found is None:
        return MetricEstimate(value=None, missing="too few images are annotated for an interval")
    return estimate(found, evidence.z, unseen(scored))
