"""A model that answers JPEGs, says how long each step took, and may smooth answers over time."""

import time
from collections import deque
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import UsageError
from edge.runtime.classifier import Classifier
from edge.runtime.live.settings import check_smoothing
from edge.runtime.postprocess import top_k
from edge.runtime.preprocess import PlacedPixels, load_placed
from edge.runtime.tasks.model import TaskModel
from edge.runtime.tasks.results import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """The seconds that a picture took from its bytes to its answer, by step."""

    preprocess: float
    inference: float
    postprocess: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveAnswer:
    """What a picture shows.

    Attributes:
        stated: The JSON object of ``edge predict --json``.
        answer: The typed answer; None of a classifier.
        steps: The time.
    """

    stated: dict[str, Any]
    answer: Answer | None
    steps: Steps


class LiveModel:
    """A loaded model of any task, for one thread.

    Args:
        model: The model.
        variant: The name of its file in the bundle.
        k: How many classes an answer names.
        smoothing: The number of frames whose probabilities a classifier averages for its answer
            to a frame of the camera; 1 for none.

    Raises:
        UsageError: Smoothing is asked for where answers are no probabilities of classes.
    """

    def __init__(
        self, model: Classifier | TaskModel, *, variant: str, k: int = 3, smoothing: int = 1
    ) -> None:
        check_smoothing(smoothing, classifier=isinstance(model, Classifier))
        self.model = model
        self.variant = variant
        self.smoothing = smoothing
        self._k = k
        self._recent: deque[NDArray[np.float32]] = deque(maxlen=smoothing)
        self._labels: tuple[str, ...] = ()

    def answer(self, jpeg: bytes, *, name: str, smooth: bool = False) -> LiveAnswer:
        """Return what a picture shows.

        Args:
            jpeg: The bytes of an image file.
            name: What the answer calls it.
            smooth: Whether it is the next frame of the camera, for ``smoothing``.

        Raises:
            ImageError: It cannot be decoded.
            InferenceError: The model failed.
        """
        began = time.perf_counter()
        placed = load_placed(BytesIO(jpeg), self.model.preprocessing)
        if isinstance(self.model, Classifier):
            return self._classified(self.model, placed, name, began, smooth=smooth)
        return self._decoded(self.model, placed, name, began)

    def embedding(self, jpeg: bytes) -> NDArray[np.float32]:
        """Return the first output's real values (values,), float32, of a picture.

        Raises:
            ImageError: It cannot be decoded.
            UsageError: The model is no classifier.
        """
        if not isinstance(self.model, Classifier):
            raise UsageError("only a classifier has an embedding to learn from")
        placed = load_placed(BytesIO(jpeg), self.model.preprocessing)
        return self.model.values(placed.pixels)

    def _classified(
        self, model: Classifier, placed: PlacedPixels, name: str, began: float, *, smooth: bool
    ) -> LiveAnswer:
        loaded = time.perf_counter()
        values = model.values(placed.pixels)
        inferred = time.perf_counter()
        scores, labels = model.scored(values)
        if smooth and self.smoothing > 1:
            scores = self._smoothed(scores, labels)
        best = top_k(scores, labels, self._k, model.answers) if labels else []
        stated = model.stated(best, name=name, variant=self.variant)
        return LiveAnswer(stated=stated, answer=None, steps=_steps(began, loaded, inferred))

    def _decoded(
        self, model: TaskModel, placed: PlacedPixels, name: str, began: float
    ) -> LiveAnswer:
        loaded = time.perf_counter()
        outputs = model.outputs(placed)
        inferred = time.perf_counter()
        answer = model.decode(outputs, placed)
        stated = model.statement(answer, placed, name=name, variant=self.variant)
        return LiveAnswer(stated=stated, answer=answer, steps=_steps(began, loaded, inferred))

    def _smoothed(
        self, scores: NDArray[np.float32], labels: tuple[str, ...]
    ) -> NDArray[np.float32]:
        """Return the mean with the frames before; a class that was taught begins anew."""
        if labels != self._labels:
            self._recent.clear()
            self._labels = labels
        self._recent.append(scores)
        mean: NDArray[np.float32] = np.mean(self._recent, axis=0, dtype=np.float32)
        return mean


def _steps(began: float, loaded: float, inferred: float) -> Steps:
    return Steps(
        preprocess=loaded - began,
        inference=inferred - loaded,
        postprocess=time.perf_counter() - inferred,
    )
