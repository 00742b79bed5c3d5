"""Confidence intervals of shares, paired comparisons, and how many images decide a question."""

import math
from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import Final

import numpy as np

from edge.runtime.intervals import CONFIDENCE as CONFIDENCE
from edge.runtime.intervals import Interval as Interval
from edge.runtime.intervals import normal_quantile as normal_quantile
from edge.runtime.intervals import wilson as wilson
from edge.wording import few

POWER: Final = 0.8  # probability that the number of images named for a decision does decide
MOST_IMAGES: Final = 10**9  # a difference that needs more images is as good as none


def ends(interval: Interval | None) -> tuple[float, float] | None:
    """Return both ends of an interval, None if there is none."""
    return None if interval is None else (interval.low, interval.high)


def confidence_of(z: float) -> float:
    """Return the confidence level whose ``normal_quantile`` is z."""
    return 2 * NormalDist().cdf(z) - 1


def images_for_half_width(share: float, half_width: float, confidence: float) -> int:
    """Return how many images make the Wilson interval of a share as narrow as that.

    Args:
        share: The share so far, 0..1.
        half_width: Half the length of the interval, 0..1.
        confidence: The confidence level of the interval.
    """
    z = normal_quantile(confidence)

    def narrow(images: int) -> bool:
        interval = wilson(share * images, images, z)
        return interval.high - interval.low <= 2 * half_width

    low, high = 0, 1
    while not narrow(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if narrow(middle) else (middle, high)
    return high


def images_to_show_drop(drop: float, confidence: float) -> int:
    """Return how many images tell two equal models from one that loses that share.

    If no image is answered right by only one of them, the paired score interval ends at
    ``z**2 / (images + z**2)``; see ``tango``.
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
    """Return how many more images probably bring the interval to one side of the limit.

    It is the standard formula for sample sizes, ``n = ((z + z_power) * sd / distance) ** 2``,
    solved for any interval: widened by the quantile of ``POWER``, it must not reach the limit.

    Args:
        value: The value so far.
        limit: The limit that it is held against.
        images: The number of images so far.
        confidence: The confidence level of the interval.
        projected: The interval from (images, z) if the rates so far go on.

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


WIDE: Final = 0.05  # half the interval of a top-1, from which on images are called few
WIDE_RECALL: Final = 0.2  # the same for the recall of a class, at worst
SHOWN_DROP: Final = 0.01  # the drop of top-1 that images should be able to show


def too_few(
    top1: float, images: int, of_class: Mapping[str, int], noun: str = "labelled image"
) -> list[str]:
    """Say whether labelled images are too few, and how many would do, in one sentence each.

    Args:
        top1: The share that is right, 0..1.
        images: The number of labelled images, or of groups of them that are alike, above zero.
        of_class: The number of labelled images of each class, by its name.
        noun: What is counted.
    """
    notes = []
    bounds = wilson(top1 * images, images, normal_quantile(CONFIDENCE))
    if bounds.high - bounds.low > 2 * WIDE:
        needed = images_for_half_width(top1, WIDE, CONFIDENCE)
        notes.append(
            f"{few(images, noun)}: a top-1 of {100 * top1:.1f} % on them may be "
            f"anything from {100 * bounds.low:.1f} to {100 * bounds.high:.1f} %; about {needed} "
            f"would tell it to {100 * WIDE:.0f} points, and at least "
            f"{images_to_show_drop(SHOWN_DROP, CONFIDENCE)} are needed to see a drop of "
            f"{100 * SHOWN_DROP:.0f} point"
        )
    needed = images_for_half_width(0.5, WIDE_RECALL, CONFIDENCE)
    rare = {label: count for label, count in of_class.items() if count < needed}
    if rare:
        fewest = min(rare, key=lambda label: rare[label])
        notes.append(
            f"{len(rare)} of {len(of_class)} classes have fewer than {needed} labelled images to "
            f"be scored on ({fewest}: {rare[fewest]}), so that their recall is not known to "
            f"{100 * WIDE_RECALL:.0f} points"
        )
    return notes


RESAMPLES: Final = 20_000
SEED: Final = 0  # the seed of the bootstrap: the same images give the same verdict


def mcnemar(lost: int, gained: int) -> float:
    """Return the two-sided p-value of the exact McNemar test (McNemar, Psychometrika 12, 1947).

    Args:
        lost: The number of images that only the first model answers right.
        gained: The number of images that only the second one answers right.
    """
    return _sign_test(lost, gained, "two-sided")


def mcnemar_loss(lost: int, gained: int) -> float:
    """Return the one-sided p-value of the same test, against the second model being as good."""
    return _sign_test(lost, gained, "greater")


def _sign_test(lost: int, gained: int, alternative: str) -> float:
    if lost + gained == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(lost, lost + gained, 0.5, alternative=alternative).pvalue)


def holm(p_values: list[float]) -> list[float]:
    """Correct p-values for their number (Holm, Scand. J. Statist. 6, 1979), in their order."""
    corrected = [1.0] * len(p_values)
    largest = 0.0
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, position in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[position]))
        corrected[position] = largest
    return corrected


def drop_interval(images: int, lost: int, gained: int, confidence: float) -> Interval:
    """Return an interval of the share that the second model loses, wide enough for both methods.

    The bootstrap knows only the changes that it has seen: without any, it gives a single point. The
    score interval does not, so each end is the outer one of the two.
    """
    score = tango(images, lost, gained, normal_quantile(confidence))
    resampled = bootstrap_drop(images, lost, gained, confidence)
    return Interval(min(score.low, resampled.low), max(score.high, resampled.high))


def most_changed(images: float, changed: float, confidence: float) -> float:
    """Return an upper bound of the share of changed answers; no more can be lost or gained.

    It is exact (Clopper and Pearson, Biometrika 26, 1934). Without any change the lower end of the
    share's interval is 0 and cannot be missed, so that the whole error goes to the upper end:
    ``1 - (1 - confidence) ** (1 / images)``, for 95 % about 3 / images (Hanley and Lippman-Hand,
    JAMA 249, 1983).

    Args:
        images: All of them, labelled or not; a fraction for a projection.
        changed: The number of those with another answer.
        confidence: The confidence level of the interval, 0..1.
    """
    if changed == 0:
        return float(1 - (1 - confidence) ** (1 / images))
    from scipy.stats import beta

    return float(beta.ppf((1 + confidence) / 2, changed + 1, images - changed))


def bootstrap_drop(images: int, lost: int, gained: int, confidence: float) -> Interval:
    """Bootstrap the mean of (baseline right) - (candidate right) over the images, by percentiles.

    An image contributes 1, -1 or 0, so how often each value is drawn is multinomial: drawing the
    counts is the bootstrap over images itself, not an approximation of it.
    """
    shares = np.array([lost, gained, images - lost - gained]) / images
    counts = np.random.default_rng(SEED).multinomial(images, shares, RESAMPLES)
    drops = (counts[:, 0] - counts[:, 1]) / images
    low, high = np.quantile(drops, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def tango(images: float, lost: float, gained: float, z: float) -> Interval:
    """Return the score interval of a paired difference (Tango, Statist. Med. 17, 1998, 891-908).

    Its ends are the differences that the score test just does not reject. Without discordant
    images they are ``+-z**2 / (images + z**2)``.

    Args:
        images: The number of all pairs; counts are fractions for a projection.
        lost: The number of pairs that count for the first model only.
        gained: The number of pairs that count for the second one only.
        z: The normal quantile.
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
    """Return the score statistic of the difference ``delta``, which falls as delta grows."""
    # The likelihood has its maximum under the hypothesis at the larger root of a x^2 + b x + c.
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
