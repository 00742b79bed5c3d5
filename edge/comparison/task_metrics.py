"""Metrics of models that are no classifiers; they are entered into ``METRICS``."""

from dataclasses import dataclass, field
from math import sqrt

import numpy as np

from edge.comparison.evidence import RESAMPLES, SEED, FileEvidence, MetricEstimate
from edge.comparison.metrics import AT_LEAST, metric
from edge.comparison.result import Interval
from edge.evaluation.confidence import confidence_of, most_changed
from edge.evaluation.task_agreement import Agreements


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEvidence(FileEvidence):
    """How the answers of two files agree, beside what is known of the files.

    Attributes:
        agreements: What agrees on each picture.
    """

    agreements: Agreements = field(repr=False)


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
