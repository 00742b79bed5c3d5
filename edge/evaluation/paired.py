"""Two models on the same images: what the images that they answer differently can tell."""

import math
from typing import Final

import numpy as np

from edge.evaluation.confidence import Interval, normal_quantile

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
