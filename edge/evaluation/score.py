"""Scores: how often a model is right, and how often it agrees with another."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.runtime.output import PROBABILITIES, OutputSpec
from edge.runtime.postprocess import answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Counts over one set of images.

    Attributes:
        images: How many were scored.
        labelled: How many of them have a known class.
        top1: Share of the labelled ones whose best class is right; None without labels.
        top5: Share whose class is among the best five; None without labels or below six classes.
        agreement: Share of all whose best class is that of the reference; None without one.
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
    """Score an answer table.

    Args:
        scores: (images, classes), float32.
        truth: Class index of each image, or None.
        reference: (images, classes) of the model to agree with.
        output: What the scores mean. Where labels do not exclude one another there is no best
            class: truth is None then, and the agreement is of whole sets of labels.
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
    """Which images have their class among the best k; equal scores in the order of their index.

    Args:
        scores: (images, classes).
        labels: (images,) class index.
        k: How many classes count.

    Returns:
        (images,) bool.
    """
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    right: NDArray[np.bool_] = (best == labels[:, None]).any(axis=1)
    return right
