"""Scores of a model on labelled images: accuracy, agreement, confusion, calibration error."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.evaluation.confidence import CONFIDENCE, Interval, ends, normal_quantile, wilson
from edge.runtime.output import PROBABILITIES, OutputSpec
from edge.runtime.postprocess import answers, best_class


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The scores of one set of images.

    Attributes:
        images: The number of images that were scored.
        labelled: The number of those that have a known class.
        top1: The share of labelled images whose best class is right; None without labels.
        top5: The share of labelled images whose class is among the best five; None without labels,
            or with fewer than six classes.
        agreement: The share of all images whose best class is that of the reference; None without
            a reference.
    """

    images: int
    labelled: int
    top1: float | None
    top5: float | None
    agreement: float | None


def score(
    scores: NDArray[np.float32],
    truth: Sequence[int | None],
    reference: NDArray[np.float32] | None = None,
    output: OutputSpec = PROBABILITIES,
) -> Score:
    """Score a table of answers.

    Args:
        scores: (images, classes), float32.
        truth: The class index of each image, or None.
        reference: (images, classes) of the model to agree with.
        output: What the scores mean. If labels do not exclude one another, there is no best class:
            truth is None then, and the agreement is of whole sets of labels.
    """
    labelled = np.array([label is not None for label in truth], bool)
    labels = np.array([label for label in truth if label is not None], int)
    best = answers(scores, output)
    top1 = top5 = None
    if labelled.any():
        top1 = float((best[labelled] == labels).mean())
        if scores.shape[1] > 5:
            top5 = float(right_within(scores[labelled], labels, 5).mean())
    agreement = None if reference is None else float((best == answers(reference, output)).mean())
    return Score(
        images=len(truth),
        labelled=int(labelled.sum()),
        top1=top1,
        top5=top5,
        agreement=agreement,
    )


def right_within(
    scores: NDArray[np.float32], labels: NDArray[np.int64], k: int
) -> NDArray[np.bool_]:
    """Return which images have their class among the best k; equal scores rank by index.

    Args:
        scores: (images, classes).
        labels: (images,) class index.
        k: The number of classes that count.

    Returns:
        (images,) bool.
    """
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    right: NDArray[np.bool_] = (best == labels[:, None]).any(axis=1)
    return right


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """The scores of one class; None if there is nothing to divide by.

    Attributes:
        index: The index of the class.
        images: The number of images of the class (its support).
        answers: The number of images for which the model names the class.
        right: The number of images that are both.
        precision: right / answers, 0..1.
        recall: right / images, 0..1.
        f1: The harmonic mean of the two, 2 right / (images + answers).
        precision_interval: The Wilson interval of the precision, at ``CONFIDENCE``.
        recall_interval: The Wilson interval of the recall, at ``CONFIDENCE``.
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

    def to_json(self, label: str) -> dict[str, Any]:
        """Return the scores as JSON values, with the name of the class in place of its index."""
        values = asdict(self) | {
            "precision_interval": ends(self.precision_interval),
            "recall_interval": ends(self.recall_interval),
        }
        del values["index"]
        return {"label": label} | values


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfusionCell:
    """A cell of the confusion matrix that is not empty: class indices and number of images."""

    truth: int
    answer: int
    images: int


def confusion(answers: NDArray[np.int64], truth: NDArray[np.int64]) -> tuple[ConfusionCell, ...]:
    """Return the confusion matrix without its empty cells, in order of truth, then answer.

    Args:
        answers: (images,) class index that the model names.
        truth: (images,) class index.
    """
    pairs, counts = np.unique(np.stack([truth, answers]), axis=1, return_counts=True)
    rows = zip(pairs[0].tolist(), pairs[1].tolist(), counts.tolist(), strict=True)
    return tuple(ConfusionCell(truth=row[0], answer=row[1], images=row[2]) for row in rows)


def class_scores(cells: Sequence[ConfusionCell], classes: int) -> tuple[ClassScore, ...]:
    """Return precision, recall and F1 of every class, in the order of the index.

    Args:
        cells: The result of ``confusion``.
        classes: The number of classes.
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
    """Return the Wilson interval of a share, at ``CONFIDENCE``; None without images."""
    return wilson(hits, images, normal_quantile(CONFIDENCE)) if images else None


def worst_mistakes(
    scores: NDArray[np.float32],
    truth: NDArray[np.int64],
    count: int,
    output: OutputSpec = PROBABILITIES,
) -> NDArray[np.int64]:
    """Return the rows that are answered wrong; the highest score of a wrong class comes first.

    Args:
        scores: (images, classes).
        truth: (images,) class index.
        count: The maximum number of rows.
        output: What the scores mean.

    Returns:
        (mistakes,) row numbers; equal scores keep the order of the rows.
    """
    wrong = np.flatnonzero(best_class(scores, output) != truth)
    order = np.argsort(-scores[wrong].max(axis=1), kind="stable") if len(wrong) else wrong
    return wrong[order][:count].astype(np.int64)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


BINS: Final = 15  # as in Guo et al. 2017
# Integer outputs are rounded: their sum over many classes is not 1, but each is within 0..1.
TOLERANCE: Final = 1e-3


def are_probabilities(scores: NDArray[np.float32]) -> bool:
    """Return whether (images, classes) scores lie within 0..1, as a confidence must."""
    return bool(scores.min() >= -TOLERANCE and scores.max() <= 1 + TOLERANCE)


def bin_gaps(scores: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return what each image adds to each bin of the calibration error.

    Args:
        scores: (images, classes), probabilities.
        labels: (images,) class index.

    Returns:
        (images, ``BINS``): right (0 or 1) less confidence in the bin of the confidence, and 0 in
        all others. Any weighting of the images gives an error: see ``error_of``.
    """
    best = scores.argmax(axis=1)
    confidence, bins = _confidences(scores)
    gaps = np.zeros((len(labels), BINS))
    gaps[np.arange(len(labels)), bins] = (best == labels) - confidence
    return gaps


def _confidences(scores: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the confidence (images,), and the bin (images,) that it lies in."""
    confidence = scores.max(axis=1).astype(np.float64).clip(0, 1)
    # Bins are closed above, as in the paper.
    return confidence, np.ceil(confidence * BINS).astype(np.int64).clip(1, BINS) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """The images of one bin, which is a point of the reliability diagram.

    Attributes:
        images: The number of images in the bin, above zero.
        confidence: Their mean confidence, 0..1.
        accuracy: The share of them that is right, 0..1.
    """

    images: int
    confidence: float
    accuracy: float


def reliability(scores: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[Reliability, ...]:
    """Return the bins of the reliability diagram that hold images (Guo et al. 2017, figure 1).

    Args:
        scores: (images, classes), probabilities.
        labels: (images,) class index.
    """
    right = scores.argmax(axis=1) == labels
    confidence, bins = _confidences(scores)
    return tuple(
        Reliability(
            images=int(inside.sum()),
            confidence=float(confidence[inside].mean()),
            accuracy=float(right[inside].mean()),
        )
        for inside in (bins == number for number in range(BINS))
        if inside.any()
    )


def error_of(weights: NDArray[np.float64], gaps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the expected calibration error, 0..1 (Guo et al., ICML 2017, eq. 3).

    Args:
        weights: (..., images), how often each image counts.
        gaps: The result of ``bin_gaps``.

    Returns:
        (...): the sum over the bins of their share times |accuracy - mean confidence|.
    """
    error: NDArray[np.float64] = np.abs(weights @ gaps).sum(axis=-1) / weights.sum(axis=-1)
    return error


def calibration_error(scores: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the expected calibration error of (images, classes) probabilities, 0..1."""
    return float(error_of(np.ones(len(labels)), bin_gaps(scores, labels)))
