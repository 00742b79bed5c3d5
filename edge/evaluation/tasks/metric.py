"""What the metrics of all tasks are, and the table of them."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from edge.dataset.truth import PictureTruth
from edge.evaluation.confidence import CONFIDENCE, Interval
from edge.runtime.tasks.results import Answer
from edge.runtime.tasks.table import Task

DRAWS: Final = 1000  # resamples of the images; the ends of 95 % then move by some hundredths
# How the values are called in tables.
SHOWN: Final[Mapping[str, str]] = {
    "map": "mAP",
    "map50": "mAP50",
    "map75": "mAP75",
    "miou": "mIoU",
    "oks": "OKS",
    "pck": "PCK",
    "count_error": "count error",
}
LEAST_IMAGES: Final = 2  # a bootstrap of one image has no width


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassTaskScore:
    """The score of one class.

    Attributes:
        index: The class index.
        label: The name of the class.
        value: The metric's value for it, 0..1; None where no image shows it.
        count: How many objects of it are annotated, or how many pixels.
    """

    index: int
    label: str
    value: float | None
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskScore:
    """The score of some images.

    Attributes:
        primary: The value of the metric that verdicts are about, 0..1; None where nothing is
            annotated.
        values: Every value by its name, the primary one included.
        classes: The value of the primary metric for each class.
    """

    primary: float | None
    values: Mapping[str, float | None] = field(default_factory=dict)
    classes: tuple[ClassTaskScore, ...] = ()


class TaskMetric(Protocol):
    """One task's metric.

    Attributes:
        name: The name of its primary value, such as ``map``.
    """

    name: str

    def records(self, truth: Sequence[PictureTruth], answers: Sequence[Answer]) -> Any:
        """Return what each image says, from which any sample of the images can be scored.

        Args:
            truth: The annotations of each image.
            answers: A model's answer to each of the same images, in the same order.
        """
        ...

    def score(self, records: Any, images: NDArray[np.int64] | None = None) -> TaskScore:
        """Return the score of some images.

        Args:
            records: What ``records`` gave.
            images: (n,) positions of images, with repetitions; None for each of them once.
        """
        ...

    def primary(self, records: Any, weights: NDArray[np.int64]) -> float | None:
        """Return the primary value alone, fast: of images that count ``weights`` times, (images,).

        A bootstrap asks for it a thousand times.
        """
        ...


# Task -> ``module:Class``; the class is called with the labels and the threshold of results.
METRICS: Final[Mapping[Task, str]] = {
    Task.DETECTION: "edge.evaluation.tasks.detection:DetectionMetric",
    Task.SEGMENTATION: "edge.evaluation.tasks.segmentation:SegmentationMetric",
    Task.POSE: "edge.evaluation.tasks.pose:PoseMetric",
    Task.EMBEDDING: "edge.evaluation.tasks.embedding:EmbeddingMetric",
}


def metric_of(task: Task, labels: Sequence[str], *, threshold: float) -> TaskMetric:
    """Return the metric of a task.

    Args:
        task: Any but classification.
        labels: The names of classes, or of keypoints.
        threshold: The least score of a result that a user sees: counts are of these.
    """
    module, _, name = METRICS[task].partition(":")
    metric: TaskMetric = getattr(importlib.import_module(module), name)(tuple(labels), threshold)
    return metric


def resamples(images: int, draws: int = DRAWS, seed: int = 0) -> NDArray[np.int64]:
    """Return how often each image is drawn in each resample, (draws, images).

    Each resample draws as many images as there are, with repetition (Efron 1979). Two sides that
    are compared use the same draws.
    """
    random = np.random.default_rng(seed)
    counts = random.multinomial(images, np.full(images, 1 / images), size=draws)
    return counts.astype(np.int64)


def bootstrap_interval(
    metric: TaskMetric, records: Any, images: int, confidence: float = CONFIDENCE
) -> Interval | None:
    """Return the percentile interval of the primary value over resamples of the images.

    It is None where it cannot be had: too few images, or nothing is annotated.
    """
    if images < LEAST_IMAGES:
        return None
    values = [metric.primary(records, weights) for weights in resamples(images)]
    known = [value for value in values if value is not None]
    if len(known) < len(values) / 2:
        return None
    low, high = np.quantile(known, ((1 - confidence) / 2, (1 + confidence) / 2))
    return Interval(float(low), float(high))


def weights_of(images: NDArray[np.int64] | None, count: int) -> NDArray[np.int64]:
    """Return how often each of ``count`` images counts."""
    if images is None:
        return np.ones(count, np.int64)
    return np.bincount(images, minlength=count).astype(np.int64)
