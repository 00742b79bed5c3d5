"""Confidence intervals of shares and means, and how many images would decide a question."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

POWER: Final = 0.8  # chance that the number of images named for a decision does decide
MOST_IMAGES: Final = 10**9  # beyond it a difference is as good as none


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided confidence interval, ends included."""

    low: float
    high: float


def normal_quantile(confidence: float) -> float:
    """z of a two-sided interval: 1.96 for 0.95."""
    return NormalDist().inv_cdf((1 + confidence) / 2)


def wilson(hits: float, images: float, z: float) -> Interval:
    """Score interval of a share (Wilson, JASA 22, 1927); lies within 0..1 also at its ends.

    Args:
        hits: Images that count; may be a fraction, for a projection.
        images: All of them, above zero.
        z: Normal quantile, see ``normal_quantile``.
    """
    share = hits / images
    spread = z * math.sqrt(share * (1 - share) / images + (z / (2 * images)) ** 2)
    middle = share + z * z / (2 * images)
    scale = 1 + z * z / images
    return Interval(max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale))


def images_for_half_width(share: float, half_width: float, confidence: float) -> int:
    """The fewest images on which the Wilson interval of a share reaches no further to each side.

    Args:
        share: Found so far, 0..1.
        half_width: Half of the interval's length, 0..1.
        confidence: Of the interval.
    """
    z = normal_quantile(confidence)

    def narrow(images: int) -> bool:
        found = wilson(share * images, images, z)
        return found.high - found.low <= 2 * half_width

    low, high = 0, 1
    while not narrow(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if narrow(middle) else (middle, high)
    return high


def images_to_show_drop(drop: float, confidence: float) -> int:
    """The fewest images on which two equal models are told from one that loses that share.

    Without a single image that only one of them answers rightly, the paired score interval ends
    at ``z**2 / (images + z**2)`` (see ``edge.evaluation.paired.tango``).
    """
    z = normal_quantile(confidence)
    return math.ceil(z * z * (1 - drop) / drop)


def images_to_decide(
    value: float,
    limit: float,
    images: int,
    confidence: float,
    projected: Callable[[float, float], Interval],
) -> int | None:
    """More images after which the interval probably lies on one side of the limit.

    The standard formula for sample sizes, ``n = ((z + z_power) * sd / distance) ** 2``, solved
    for any interval: widened by the quantile of ``POWER``, it must not reach the limit.

    Args:
        value: Found so far.
        limit: To be decided against.
        images: Seen so far.
        confidence: Of the interval.
        projected: The interval from (images, z) if the rates seen so far go on.

    Returns:
        At least 1; None if the value is the limit, so that no number decides.
    """
    if math.isclose(value, limit, rel_tol=1e-9, abs_tol=1e-9):
        return None
    z = normal_quantile(confidence) + NormalDist().inv_cdf(POWER)

    def decides(count: int) -> bool:
        interval = projected(count, z)
        return interval.high <= limit if value < limit else interval.low >= limit

    low, high = images, max(2 * images, 16)
    while not decides(high):
        low, high = high, 2 * high
        if high > MOST_IMAGES:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high - images
