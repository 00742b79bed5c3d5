"""Whether a file agrees with its model, or with labels, more often than by chance.

Two models that share nothing still agree with probability ``sum_c p_c q_c``, where p and q are the
shares of images that each gives class c. Cohen's kappa counts from there (Cohen, Educ. Psychol.
Meas. 20, 1960): 0 is chance, 1 is full agreement.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.evaluation.confidence import CONFIDENCE, Interval, normal_quantile, wilson
from edge.runtime.output import PROBABILITIES, OutputSpec
from edge.runtime.postprocess import answers

CHANCE_LEVEL: Final = 0.01  # significance with which chance has to be ruled out
LOW_LEVEL: Final = 0.05  # significance with which a kappa of SUBSTANTIAL has to be ruled out
SUBSTANTIAL: Final = 0.8  # kappa above which agreement is "almost perfect" (Landis & Koch, 1977)


class Level(StrEnum):
    """What a count of agreeing answers tells."""

    GOOD = "good"  # more than chance, and not clearly below a kappa of SUBSTANTIAL
    LOW = "low"  # more than chance, but clearly below a kappa of SUBSTANTIAL
    CHANCE = "chance"  # clearly below a kappa of SUBSTANTIAL, and not more than chance
    UNDECIDED = "undecided"  # too few images, or all answers are one class: neither is ruled out


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How often two answers to the same image are the same class.

    Attributes:
        images: The number of images that were compared, at least one.
        agreeing: The number of those whose answers agree.
        chance: The share that would agree if the two answers had nothing to do with one another.
        interval: The 95 % Wilson interval of the share.
        level: What the counts tell.
    """

    images: int
    agreeing: int
    chance: float
    interval: Interval
    level: Level

    @property
    def share(self) -> float:
        """The share of the images that agree, 0..1."""
        return self.agreeing / self.images


def agreement(first: NDArray[np.int64], second: NDArray[np.int64]) -> Agreement:
    """Compare two series of classes.

    Args:
        first: (images,) class index, or another number for each answer; there is at least one.
        second: (images,) the same for the other series.
    """
    images, agreeing = len(first), int((first == second).sum())
    known, numbers = np.unique(np.concatenate([first, second]), return_inverse=True)
    halves = numbers.reshape(2, images)
    shares = [np.bincount(half, minlength=len(known)) / images for half in halves]
    chance = min(1.0, float(shares[0] @ shares[1]))
    return Agreement(
        images=images,
        agreeing=agreeing,
        chance=chance,
        interval=wilson(agreeing, images, normal_quantile(CONFIDENCE)),
        level=_level(agreeing, images, chance),
    )


def _level(agreeing: int, images: int, chance: float) -> Level:
    """Run two exact binomial tests: against chance from above, against SUBSTANTIAL from below."""
    from scipy.stats import binom

    more = float(binom.sf(agreeing - 1, images, chance)) < CHANCE_LEVEL
    substantial = chance + SUBSTANTIAL * (1 - chance)
    low = float(binom.cdf(agreeing, images, substantial)) < LOW_LEVEL
    if low:
        return Level.LOW if more else Level.CHANCE
    return Level.GOOD if more else Level.UNDECIDED


def is_constant(
    scores: NDArray[np.float32],
    reference: NDArray[np.float32] | None,
    output: OutputSpec = PROBABILITIES,
) -> bool:
    """Return whether all images get the same scores, and no reference shows that this is right.

    Args:
        scores: (images, classes).
        reference: (images, classes) of the model that the scores should be like, which may be
            constant as well; None if there is no such model.
        output: What the scores mean.
    """
    if len(scores) < 2 or (scores != scores[0]).any():
        return False
    if reference is None:
        return True
    best = answers(reference, output)
    return bool((best != best[0]).any())
