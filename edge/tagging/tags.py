"""Tags: the classes that a picture shows with at least a certain probability."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.errors import InferenceError
from edge.runtime.postprocess import top_k


@dataclass(frozen=True, slots=True)
class Tag:
    """A word for a picture, and its probability 0..1."""

    label: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged:
    """A picture and its tags.

    Attributes:
        path: Of the picture, relative to the folder that was tagged.
        tags: Best first; empty where no class reached the threshold.
        problem: Why the picture could not be read; empty otherwise.
    """

    path: Path
    tags: tuple[Tag, ...] = ()
    problem: str = ""


def choose(
    scores: NDArray[np.float32], labels: Sequence[str], *, threshold: float, most: int
) -> tuple[Tag, ...]:
    """The best classes of at least that probability.

    Args:
        scores: (classes,), float32, 0..1.
        labels: One per class.
        threshold: 0..1.
        most: At most so many tags.

    Raises:
        InferenceError: The scores are no probabilities, or not as many as the labels.
    """
    best = top_k(scores, labels, most)
    if best and not -0.01 <= best[-1].score <= best[0].score <= 1.01:
        raise InferenceError(
            f"the model's best score is {best[0].score:.3g}, no probability of 0 to 1",
            hint="Tag with a classifier whose output is a softmax.",
        )
    return tuple(Tag(item.label, item.score) for item in best if item.score >= threshold)
