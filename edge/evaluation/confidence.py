"""Confidence intervals of shares, paired comparisons, and how many images decide a question."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np

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
    at ``z**2 / (images + z**2)`` (see ``edge.evaluation.confidence.tango``).
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


RESAMPLES: Final = 20_000
SEED: Final = 0  # of the bootstrap: the same images give the same verdict


def mcnemar(lost: int, gained: int) -> float:
    """Two-sided p-value of the exact McNemar test (McNemar, Psychometrika 12, 1947).

    Args:
        lost: Images that only the first model answers right.
        gained: Images that only the second one does.
    """
    return _sign_test(lost, gained, "two-sided")


def mcnemar_loss(lost: int, gained: int) -> float:
    """One-sided p-value of the same test, against the second model being as good."""
    return _sign_test(lost, gained, "greater")


def _sign_test(lost: int, gained: int, alternative: str) -> float:
    if lost + gained == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(lost, lost + gained, 0.5, alternative=alternative).pvalue)


def holm(p_values: list[float]) -> list[float]:
    """p-values corrected for their number (Holm, Scand. J. Statist. 6, 1979), in their order."""
    corrected = [1.0] * len(p_values)
    largest = 0.0
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, position in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[position]))
        corrected[position] = largest
    return corrected


def drop_interval(images: int, lost: int, gained: int, confidence: float) -> Interval:
    """Interval of the share that the second model loses: wide enough for both methods.

    The bootstrap knows no change that it has not seen: without any, it gives a single point. The
    score interval does not, so each end is the outer one of the two.
    """
    score = tango(images, lost, gained, normal_quantile(confidence))
    resampled = bootstrap_drop(images, lost, gained, confidence)
    return Interval(min(score.low, resampled.low), max(score.high, resampled.high))


def most_changed(images: float, changed: float, confidence: float) -> float:
    """Upper bound of the share of images whose answer changes; no more can be lost or gained.

    Exact (Clopper and Pearson, Biometrika 26, 1934). Without any change the lower end of the
    share's interval is 0 and cannot be missed, so that the whole error goes to the upper end:
    ``1 - (1 - confidence) ** (1 / images)``, for 95 % about 3 / images (Hanley and Lippman-Hand,
    JAMA 249, 1983).

    Args:
        images: All of them, labelled or not; a fraction for a projection.
        changed: Of them, with another answer.
        confidence: Of the interval, 0..1.
    """
    if changed == 0:
        return float(1 - (1 - confidence) ** (1 / images))
    from scipy.stats import beta

    return float(beta.ppf((1 + confidence) / 2, changed + 1, images - changed))


def bootstrap_drop(images: int, lost: int, gained: int, confidence: float) -> Interval:
    """Percentile bootstrap of the mean of (baseline right) - (candidate right) over the images.

    An image contributes 1, -1 or 0, so how often each value is drawn is multinomial: drawing the
    counts is the bootstrap over images itself, not an approximation of it.
    """
    shares = np.array([lost, gained, images - lost - gained]) / images
    counts = np.random.default_rng(SEED).multinomial(images, shares, RESAMPLES)
    drops = (counts[:, 0] - counts[:, 1]) / images
    low, high = np.quantile(drops, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def tango(images: float, lost: float, gained: float, z: float) -> Interval:
    """Score interval of a difference of paired shares (Tango, Statist. Med. 17, 1998, 891-908).

    Its ends are the differences that the score test just does not reject. Without discordant
    images they are ``+-z**2 / (images + z**2)``.

    Args:
        images: All pairs; counts may be fractions, for a projection.
        lost: Pairs that count for the first model only.
        gained: Pairs that count for the second one only.
        z: Normal quantile.
    """
    from scipy.optimize import brentq

    drop = (lost - gained) / images
    edge = 1 - 1e-12  # the statistic has no value at a difference of 1

    def excess(delta: float, target: float) -> float:
        return _tango_statistic(delta, images, lost, gained) - target

    low, high = -1.0, 1.0
    if drop > -edge and excess(-edge, z) > 0:
        low = float(brentq(excess, -edge, drop, args=(z,), xtol=1e-12))
    if drop < edge and excess(edge, -z) < 0:
        high = float(brentq(excess, drop, edge, args=(-z,), xtol=1e-12))
    return Interval(low, high)


def _tango_statistic(delta: float, images: float, lost: float, gained: float) -> float:
    """Score statistic of the hypothesis that the difference is ``delta``; falls as delta grows."""
    # The likelihood's maximum under the hypothesis: the larger root of a x^2 + b x + c.
    a = 2 * images
    b = -lost - gained + (2 * images - lost + gained) * delta
    c = -gained * delta * (1 - delta)
    root = math.sqrt(max(0.0, b * b - 4 * a * c))
    share = (root - b) / (2 * a)
    variance = images * (2 * share + delta * (1 - delta))
    difference = lost - gained - images * delta
    if variance <= 0:
        return math.copysign(math.inf, difference) if difference else 0.0
    return difference / math.sqrt(variance)
