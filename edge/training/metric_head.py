"""Fits a head without gradient steps: features and labels -> k-NN or imprinted head.

What a head has to choose, it chooses by leave-one-out on the training images: each is judged by
the head of all the others. No validation images are needed, so that all of them may teach.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import TrainingError
from edge.runtime.head import Head, class_sums, normalised, softmax, votes
from edge.runtime.output import HeadKind, HeadSpec

PATH: Final = "head/head.npz"
VOTING_SCALE: Final = 1 / 0.07  # Wu et al. 2018, arXiv:1805.01978
USUAL_SCALE: Final = 20.0  # where no class has two images to leave one out of
SCALES: Final = (1.0, 500.0)
KS: Final = (1, 3, 5, 7, 9, 15, 25)
AT_ONCE: Final = 512  # images whose similarities to all others are in memory
GOLDEN: Final = (5**0.5 - 1) / 2


def fit_head(
    kind: HeadKind,
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    names: tuple[str, ...],
    *,
    k: int | None = None,
) -> Head:
    """The head of the training images.

    Args:
        kind: Which.
        features: (images, features) float32, as the base gives them.
        labels: (images,) class index; each class has an image.
        names: Class names.
        k: Of k-NN; None chooses.

    Raises:
        TrainingError: A class without images, or features that are not finite.
    """
    if set(np.unique(labels).tolist()) != set(range(len(names))):
        raise TrainingError("a class has no image to learn from")
    if not np.isfinite(features).all():
        raise TrainingError("the base gives features that are not finite (NaN or infinity)")
    vectors = normalised(features)
    if kind is HeadKind.KNN:
        voters = k or choose_k(vectors, labels, len(names))
        spec = HeadSpec(kind=kind, path=PATH, scale=VOTING_SCALE, k=voters)
        return Head(spec=spec, labels=names, vectors=vectors, classes=labels)
    sums = class_sums(vectors, labels, len(names))
    spec = HeadSpec(kind=kind, path=PATH, scale=fit_scale(vectors, labels, sums))
    classes = np.arange(len(names), dtype=np.int64)
    return Head(spec=spec, labels=names, vectors=sums, classes=classes)


def choose_k(vectors: NDArray[np.float32], labels: NDArray[np.int64], count: int) -> int:
    """How many vote: most images right, each judged by all others; then the least Brier score.

    Args:
        vectors: (images, features), of length 1.
        labels: (images,).
        count: How many classes.
    """
    usable = [k for k in KS if k < len(vectors)] or [1]
    right = dict.fromkeys(usable, 0)
    brier = dict.fromkeys(usable, 0.0)
    for start in range(0, len(vectors), AT_ONCE):
        truth = labels[start : start + AT_ONCE]
        similarities = vectors[start : start + AT_ONCE] @ vectors.T
        rows = np.arange(len(truth))
        similarities[rows, start + rows] = -np.inf
        for k in usable:
            shares = votes(similarities, labels, count, k=k, scale=VOTING_SCALE)
            right[k] += int((shares.argmax(axis=1) == truth).sum())
            shares[rows, truth] -= 1
            brier[k] += float((shares**2).sum())
    return max(usable, key=lambda k: (right[k], -brier[k], -k))


def fit_scale(
    vectors: NDArray[np.float32], labels: NDArray[np.int64], sums: NDArray[np.float32]
) -> float:
    """The factor of the cosines with the least negative log-likelihood, leave-one-out.

    An image is compared with the mean of the others of its class, and with the means of the other
    classes. The function is convex in the scale (a sum of log-sum-exp of linear functions), so
    that a golden-section search finds its least value.

    Args:
        vectors: (images, features), of length 1.
        labels: (images,).
        sums: (classes, features), the sums of the vectors of each class.
    """
    several = np.bincount(labels)[labels] > 1
    if not several.any():
        return USUAL_SCALE
    kept, truth = vectors[several], labels[several]
    cosines = kept @ normalised(sums).T
    rows = np.arange(len(truth))
    cosines[rows, truth] = (kept * normalised(sums[truth] - kept)).sum(axis=1)

    def loss(scale: float) -> float:
        right = softmax(scale * cosines)[rows, truth]
        return float(-np.log(np.maximum(right, np.finfo(np.float32).tiny)).mean())

    return least(loss, *SCALES)


def least(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a convex function is least between low and high, to a thousandth of the width."""
    width = high - low
    while high - low > width / 1000:
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        if function(left) <= function(right):
            high = right
        else:
            low = left
    return round((low + high) / 2, 3)
