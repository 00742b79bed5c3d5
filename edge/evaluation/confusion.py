"""Which classes a model takes for which: confusion matrix, precision, recall, worst mistakes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.evaluation.confidence import CONFIDENCE, Interval, normal_quantile, wilson
from edge.runtime.output import PROBABILITIES, OutputSpec
from edge.runtime.postprocess import best_class


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """How one class fares; None where there is nothing to divide by.

    Attributes:
        index: Of the class.
        images: That are of the class (its support).
        answers: Images for which the model names the class.
        right: Images that are both.
        precision: right / answers, 0..1.
        recall: right / images, 0..1.
        f1: Harmonic mean of the two, 2 right / (images + answers).
        precision_interval: Wilson interval of ``CONFIDENCE``.
        recall_interval: Wilson interval of ``CONFIDENCE``.
    """

    index: int
    images: int
    answers: int
    right: int
    precision: float | None
    recall: float | None
    f1: float | None
    precision_interval: Interval | None
    recall_interval: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of the confusion matrix that is not empty: class indices and number of images."""

    truth: int
    answer: int
    images: int


def confusion(answers: NDArray[np.int64], truth: NDArray[np.int64]) -> tuple[Cell, ...]:
    """The confusion matrix without its empty cells, in order of truth, then answer.

    Args:
        answers: (images,) class index that the model names.
        truth: (images,) class index.
    """
    pairs, counts = np.unique(np.stack([truth, answers]), axis=1, return_counts=True)
    rows = zip(pairs[0].tolist(), pairs[1].tolist(), counts.tolist(), strict=True)
    return tuple(Cell(truth=row[0], answer=row[1], images=row[2]) for row in rows)


def class_scores(cells: Sequence[Cell], classes: int) -> tuple[ClassScore, ...]:
    """Precision, recall and F1 of every class, in the order of their index.

    Args:
        cells: Of ``confusion``.
        classes: How many there are.
    """
    images, answers, right = [0] * classes, [0] * classes, [0] * classes
    for cell in cells:
        images[cell.truth] += cell.images
        answers[cell.answer] += cell.images
        if cell.truth == cell.answer:
            right[cell.truth] += cell.images
    return tuple(
        ClassScore(
            index=index,
            images=of_class,
            answers=named,
            right=hits,
            precision=_share(hits, named),
            recall=_share(hits, of_class),
            f1=_share(2 * hits, of_class + named),
            precision_interval=share_interval(hits, named),
            recall_interval=share_interval(hits, of_class),
        )
        for index, (of_class, named, hits) in enumerate(zip(images, answers, right, strict=True))
    )


def share_interval(hits: int, images: int) -> Interval | None:
    """Wilson interval of ``CONFIDENCE`` of a share; None of nothing."""
    return wilson(hits, images, normal_quantile(CONFIDENCE)) if images else None


def worst_mistakes(
    scores: NDArray[np.float32],
    truth: NDArray[np.int64],
    count: int,
    output: OutputSpec = PROBABILITIES,
) -> NDArray[np.int64]:
    """Rows that are answered wrongly, those with the highest score of the wrong class first.

    Args:
        scores: (images, classes).
        truth: (images,) class index.
        count: At most so many rows.
        output: What the scores mean.

    Returns:
        (mistakes,) row numbers; equal scores in the order of the rows.
    """
    wrong = np.flatnonzero(best_class(scores, output) != truth)
    order = np.argsort(-scores[wrong].max(axis=1), kind="stable") if len(wrong) else wrong
    return wrong[order][:count].astype(np.int64)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
