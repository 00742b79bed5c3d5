"""Confidence intervals of shares and means, and how many images would decide a question."""

import math
from collections.abc import Callable, Mapping
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


def confidence_of(z: float) -> float:
    """The confidence whose ``normal_quantile`` is z."""
    return 2 * NormalDist().cdf(z) - 1


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


WIDE: Final = 0.05  # half of a top-1's interval, from which on images are called few
WIDE_RECALL: Final = 0.2  # the same of a class's recall, at worst
SHOWN_DROP: Final = 0.01  # of top-1, that images should be able to show
CONFIDENCE: Final = 0.95  # of both


def too_few(top1: float, images: int, of_class: Mapping[str, int]) -> list[str]:
    """Whether labelled images are too few to tell, and how many would; one sentence each.

    Args:
        top1: Share that is right, 0..1.
        images: Labelled, above zero.
        of_class: Class name -> how many of them are of it, every class named.
    """
    found = []
    bounds = wilson(top1 * images, images, normal_quantile(CONFIDENCE))
    if bounds.high - bounds.low > 2 * WIDE:
        needed = images_for_half_width(top1, WIDE, CONFIDENCE)
        found.append(
            f"{images} labelled images are few: a top-1 of {100 * top1:.1f} % on them may be "
            f"anything from {100 * bounds.low:.1f} to {100 * bounds.high:.1f} %; about {needed} "
            f"would tell it to {100 * WIDE:.0f} points, and at least "
            f"{images_to_show_drop(SHOWN_DROP, CONFIDENCE)} are needed to see a drop of "
            f"{100 * SHOWN_DROP:.0f} point"
        )
    needed = images_for_half_width(0.5, WIDE_RECALL, CONFIDENCE)
    few = {label: count for label, count in of_class.items() if count < needed}
    if few:
        fewest = min(few, key=lambda label: few[label])
        found.append(
            f"{len(few)} of {len(of_class)} classes have fewer than {needed} labelled images to be "
            f"scored on ({fewest}: {few[fewest]}), so that their recall is not known to "
            f"{100 * WIDE_RECALL:.0f} points"
        )
    return found
