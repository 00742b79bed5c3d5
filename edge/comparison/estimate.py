"""Estimates from the images: a share, a mean, a calibration error, each with its interval."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.comparison.evidence import Evidence
from edge.comparison.result import Interval
from edge.evaluation.confidence import wilson
from edge.evaluation.score import bin_gaps, error_of

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
