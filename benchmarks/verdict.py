"""Which of two sides is faster, from pairs of medians that were measured one after the other.

Each pair shares the machine's state of its moment, so the ratio of a pair is what is looked at.
The pairs of a round ABBA are A1 B1 and B2 A2: a drift of the machine's speed makes one ratio too
large and the other too small by as much.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import UsageError
from edge.evaluation.confidence import Interval

ORDER: Final = "ABBA"
# 20 rounds are 40 pairs. With 2 % of noise between processes, bursts and drift (the machine of
# tests/unit/test_verdict.py) they find a slowdown by 10 % in all of 400 comparisons; on a machine
# whose two cores were shared with eight other jobs, in 50 to 90 of 100.
ROUNDS: Final = 20
# One comparison in a hundred may call equals unlike; more than two of 40 do so with 0.7 %.
CONFIDENCE: Final = 0.99
# A smaller difference counts for nothing: memory layout alone makes as much (Mytkowicz et al.,
# "Producing Wrong Data Without Doing Anything Obviously Wrong!", ASPLOS 2009).
SMALLEST: Final = 0.01
EQUIVALENT: Final = 0.03  # what "same" may hide; the bound for agreeing measurements


class SpeedVerdict(StrEnum):
    """The new side against the old one."""

    FASTER = "faster"
    SLOWER = "slower"
    SAME = "same"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What follows from a comparison of times.

    Attributes:
        ratio: New time / old time, a point estimate.
        interval: The interval of the ratio.
        confidence: Confidence level of the interval, 0..1.
        verdict: What follows from the interval.
    """

    ratio: float
    interval: Interval
    confidence: float
    verdict: SpeedVerdict

    @property
    def times(self) -> str:
        """The ratio with its interval in words: ``1.57 times (95 %: 1.50 to 1.64)``."""
        low, high, sure = self.interval.low, self.interval.high, 100 * self.confidence
        return f"{self.ratio:.2f} times ({sure:g} %: {low:.2f} to {high:.2f})"


def verdict(
    interval: Interval, *, equivalent: float = EQUIVALENT, smallest: float = SMALLEST
) -> SpeedVerdict:
    """Return what follows from the interval of a ratio of times.

    Args:
        interval: The interval of new time / old time.
        equivalent: The sides are the same if the whole interval is within this share of 1.
        smallest: Otherwise one is faster if the whole interval is further than this from 1.
    """
    if interval.low > 1 / (1 + equivalent) and interval.high < 1 + equivalent:
        return SpeedVerdict.SAME
    if interval.low > 1 + smallest:
        return SpeedVerdict.SLOWER
    if interval.high < 1 / (1 + smallest):
        return SpeedVerdict.FASTER
    return SpeedVerdict.INCONCLUSIVE


def judge(pairs: NDArray[np.float64], confidence: float = CONFIDENCE) -> Judgement:
    """Compare two sides.

    Args:
        pairs: (pairs, 2) medians of A and of B, measured next to each other, in any unit.
        confidence: Confidence level of the interval, 0..1.

    Raises:
        UsageError: There are too few pairs for that confidence.
    """
    interval = ratio_interval(pairs, confidence)
    return Judgement(
        ratio=float(np.median(pairs[:, 1] / pairs[:, 0])),
        interval=interval,
        confidence=confidence,
        verdict=verdict(interval),
    )


def ratio_interval(pairs: NDArray[np.float64], confidence: float) -> Interval:
    """Return the interval of the median of B / A, between two of the ratios (the sign test).

    The interval is exact whatever the distribution. Nearly half of the pairs may be off by any
    factor, since other work fell into them. Wilcoxon's signed rank test bears less: it saw a
    planted slowdown half as often on a shared machine. Source: Conover, "Practical Nonparametric
    Statistics", 3rd ed., section 3.2.

    Args:
        pairs: As ``judge`` takes them.
        confidence: Confidence level of the interval, 0..1.

    Raises:
        UsageError: There are too few pairs for that confidence.
    """
    count, tail = len(pairs), (1 - confidence) / 2
    check_pairs(count, confidence)
    chances = np.cumsum([math.comb(count, hits) / 2**count for hits in range(count + 1)])
    below = int(np.searchsorted(chances, tail, side="right"))
    ratios = np.sort(pairs[:, 1] / pairs[:, 0])
    return Interval(float(ratios[below - 1]), float(ratios[-below]))


def check_pairs(count: int, confidence: float = CONFIDENCE) -> None:
    """Refuse to compare by so few pairs; who measures asks before it does.

    The widest interval reaches from the smallest ratio to the largest. It misses the median if all
    ratios lie on one side of it, which has a chance of 2 ** (1 - count).

    Args:
        count: The number of pairs.
        confidence: Confidence level of the interval, 0..1.

    Raises:
        UsageError: There are too few pairs for that confidence.
    """
    fewest = math.ceil(1 - math.log2(1 - confidence))
    if count < fewest:
        raise UsageError(
            f"{count} pairs of medians are too few for a confidence of {confidence:g}",
            hint=f"Measure at least {fewest} pairs; a round {' '.join(ORDER)} has two.",
        )


def paired(order: str, medians: Sequence[float]) -> list[tuple[float, float]]:
    """Return the pairs (A, B) of what was measured in that order, such as ``ABBA``."""
    pairs = []
    for position in range(0, len(order), 2):
        both = dict(
            zip(order[position : position + 2], medians[position : position + 2], strict=True)
        )
        pairs.append((both["A"], both["B"]))
    return pairs
