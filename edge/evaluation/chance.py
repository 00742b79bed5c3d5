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
SAME: Final = 1e-6  # difference of two scores that only the order of sums makes
FLATNESS: Final = 0.1  # share of 1 / classes within which all scores of a flat network lie
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchanged:
    """A class whose images are answered with the name of another one.

    Attributes:
        label: The index of the class.
        answer: The index of the class that its images are answered with.
        images: The number of its images.
        answered: How many of them get that answer.
    """

    label: int
    answer: int
    images: int
    answered: int


def exchanged(truth: NDArray[np.int64], found: NDArray[np.int64]) -> tuple[Exchanged, ...]:
    """Return the classes whose names seem to be exchanged, as where labels are sorted otherwise.

    The classes are named anew, one to one, so that most answers are right. A class counts if its
    images get the new name surely more often than the old one (exact sign test, ``CHANCE_LEVEL``
    divided by the number of classes). One such class may be hard to tell from another; two and
    more that want each other's places, or those of further ones, were exchanged.

    Args:
        truth: (images,) the label of each image; there is at least one.
        found: (images,) the answer to each.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.stats import binom

    known, numbers = np.unique(np.concatenate([truth, found]), return_inverse=True)
    labels, answered = numbers.reshape(2, len(truth))
    counts = np.zeros((len(known), len(known)), np.int64)
    np.add.at(counts, (labels, answered), 1)
    moved = []
    for own, new in zip(*linear_sum_assignment(counts, maximize=True), strict=True):
        gained, lost = int(counts[own, new]), int(counts[own, own])
        chance = float(binom.sf(gained - 1, gained + lost, 0.5))
        if own != new and chance < CHANCE_LEVEL / len(known):
            moved.append(
                Exchanged(
                    label=int(known[own]),
                    answer=int(known[new]),
                    images=int(counts[own].sum()),
                    answered=gained,
                )
            )
    return tuple(moved) if len(moved) > 1 else ()


def tied(scores: NDArray[np.float32], reference: NDArray[np.float32]) -> int:
    """Return for how many images several classes share the best score, but not in the reference.

    Args:
        scores: (images, classes), of a file that rounds its answers.
        reference: (images, classes), of the model that it was made of.
    """

    def share(table: NDArray[np.float32]) -> NDArray[np.bool_]:
        best = table.max(axis=1, keepdims=True)
        shared: NDArray[np.bool_] = (table == best).sum(axis=1) > 1
        return shared

    return int((share(scores) & ~share(reference)).sum())


def is_flat(scores: NDArray[np.float32], output: OutputSpec = PROBABILITIES) -> bool:
    """Return whether every image gets about the same score for every class.

    A network that nobody trained, or whose weights were not loaded, says so little; one that was
    trained is surer of some image.

    Args:
        scores: (images, classes) probabilities.
        output: What the scores mean.
    """
    images, classes = scores.shape
    if images < 2 or classes < 2 or not output.plain:
        return False
    return bool((np.abs(scores * classes - 1) < FLATNESS).all())


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
    if len(scores) < 2 or np.ptp(scores, axis=0).max() > SAME:
        return False
    if reference is None:
        return True
    best = answers(reference, output)
    return bool((best != best[0]).any())
