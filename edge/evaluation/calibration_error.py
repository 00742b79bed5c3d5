"""Expected calibration error: how far a model's confidence lies from how often it is right."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

BINS: Final = 15  # as in Guo et al. 2017
# Integer outputs are rounded, so their sum over many classes is not 1; each score is within 0..1.
TOLERANCE: Final = 1e-3


def are_probabilities(scores: NDArray[np.float32]) -> bool:
    """Whether (images, classes) scores lie within 0..1, as a confidence must."""
    return bool(scores.min() >= -TOLERANCE and scores.max() <= 1 + TOLERANCE)


def bin_gaps(scores: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """What each image adds to each bin of the error.

    Args:
        scores: (images, classes), probabilities.
        labels: (images,) class index.

    Returns:
        (images, ``BINS``): right (0 or 1) less confidence in the bin of the confidence, else 0.
        Any weighting of the images gives an error: see ``error_of``.
    """
    best = scores.argmax(axis=1)
    confidence, bins = _confidences(scores)
    gaps = np.zeros((len(labels), BINS))
    gaps[np.arange(len(labels)), bins] = (best == labels) - confidence
    return gaps


def _confidences(scores: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(images,) confidence, and (images,) the bin that it lies in."""
    confidence = scores.max(axis=1).astype(np.float64).clip(0, 1)
    # Bins are closed above, as in the paper.
    return confidence, np.ceil(confidence * BINS).astype(np.int64).clip(1, BINS) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """The images of one bin: a point of the reliability diagram.

    Attributes:
        images: How many, above zero.
        confidence: Their mean confidence, 0..1.
        accuracy: Share of them that is right, 0..1.
    """

    images: int
    confidence: float
    accuracy: float


def reliability(scores: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[Reliability, ...]:
    """The reliability diagram (Guo et al., ICML 2017, figure 1): the bins that hold images.

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
    """Expected calibration error, 0..1 (Guo et al., ICML 2017, eq. 3).

    Args:
        weights: (..., images), how often each image counts.
        gaps: Of ``bin_gaps``.

    Returns:
        (...): sum over the bins of their share times |accuracy - mean confidence|.
    """
    error: NDArray[np.float64] = np.abs(weights @ gaps).sum(axis=-1) / weights.sum(axis=-1)
    return error


def calibration_error(scores: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Expected calibration error of (images, classes) probabilities, 0..1."""
    return float(error_of(np.ones(len(labels)), bin_gaps(scores, labels)))
