"""Confidence intervals of shares; standard library alone, so that a device has them too."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

CONFIDENCE: Final = 0.95  # the level of all intervals that nothing else is said of


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided confidence interval, ends included."""

    low: float
    high: float


def normal_quantile(confidence: float) -> float:
    """Return z of a two-sided interval: 1.96 for 0.95."""
    return NormalDist().inv_cdf((1 + confidence) / 2)


def wilson(hits: float, images: float, z: float) -> Interval:
    """Return the score interval of a share (Wilson, JASA 22, 1927), which lies within 0..1.

    Args:
        hits: The number of images that count; a fraction, for a projection.
        images: The number of all images, above zero.
        z: The normal quantile, see ``normal_quantile``.
    """
    if hits in (0, images):  # the ends are exact, which rounding would miss
        end = z * z / (images + z * z)
        return Interval(0.0, end) if not hits else Interval(1 - end, 1.0)
    share = hits / images
    spread = z * math.sqrt(share * (1 - share) / images + (z / (2 * images)) ** 2)
    middle = share + z * z / (2 * images)
    scale = 1 + z * z / images
    return Interval(max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale))
