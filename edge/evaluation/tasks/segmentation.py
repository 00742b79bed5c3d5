"""Mean intersection over union of segmentations (mIoU; Everingham et al., PASCAL VOC 2012)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from edge.dataset.truth import IGNORED, PictureTruth
from edge.errors import DataError
from edge.evaluation.tasks.metric import ClassTaskScore, TaskScore, weights_of
from edge.runtime.tasks.results import Answer, Segmentation


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SegmentationRecords:
    """Pixels of each image and class, int64 (images, classes).

    Attributes:
        both: Pixels of the class in the annotation and in the answer.
        annotated: Pixels of it in the annotation.
        answered: Pixels of it in the answer, those that count nowhere left out.
    """

    both: NDArray[np.int64]
    annotated: NDArray[np.int64]
    answered: NDArray[np.int64]


class SegmentationMetric:
    """See ``TaskMetric``. Values: miou, and accuracy, the share of right pixels."""

    name = "miou"

    def __init__(self, labels: tuple[str, ...], threshold: float) -> None:
        del threshold  # every pixel has a class
        self._labels = labels

    def records(
        self, truth: Sequence[PictureTruth], answers: Sequence[Answer]
    ) -> SegmentationRecords:
        """See ``TaskMetric``.

        Raises:
            DataError: A mask cannot be read, or is not as large as its picture.
        """
        rows = [
            _counted(true_mask(item), cast(Segmentation, answer).mask, item)
            for item, answer in zip(truth, answers, strict=True)
        ]
        both, annotated, answered = (np.stack(part) for part in zip(*rows, strict=True))
        return SegmentationRecords(both=both, annotated=annotated, answered=answered)

    def score(
        self, records: SegmentationRecords, images: NDArray[np.int64] | None = None
    ) -> TaskScore:
        """See ``TaskMetric``."""
        weights = weights_of(images, len(records.both))
        shares = _shares(records, weights)
        total = int(weights @ records.annotated.sum(axis=1))
        right = int(weights @ records.both.sum(axis=1))
        mean = float(np.mean(list(shares.values()))) if shares else None
        return TaskScore(
            primary=mean,
            values={"miou": mean, "accuracy": right / total if total else None},
            classes=tuple(
                ClassTaskScore(
                    index=index,
                    label=self._labels[index] if index < len(self._labels) else str(index),
                    value=value,
                    count=int(weights @ records.annotated[:, index]),
                )
                for index, value in shares.items()
            ),
        )

    def primary(self, records: SegmentationRecords, weights: NDArray[np.int64]) -> float | None:
        """See ``TaskMetric``."""
        shares = _shares(records, weights)
        return float(np.mean(list(shares.values()))) if shares else None


def _shares(records: SegmentationRecords, weights: NDArray[np.int64]) -> dict[int, float]:
    """Return the IoU of each class that an annotation or an answer has, over all pixels."""
    both = weights @ records.both
    union = weights @ (records.annotated + records.answered - records.both)
    return {int(index): float(both[index] / union[index]) for index in np.flatnonzero(union)}


def true_mask(truth: PictureTruth) -> NDArray[np.uint8]:
    """Return the class index of each pixel, uint8 (height, width).

    Raises:
        DataError: There is none, it cannot be read, or it is of another size.
    """
    if truth.mask is None:
        raise DataError(f"{truth.picture.path} has no mask")
    mask = truth.mask
    if isinstance(mask, Path):
        from edge.dataset.annotations.masks import read_mask

        mask = read_mask(mask)
    if mask.shape != (truth.height, truth.width):
        raise DataError(
            f"the mask of {truth.picture.path} is {mask.shape[1]} x {mask.shape[0]}, and the "
            f"picture {truth.width} x {truth.height} pixels",
            hint="Write masks of the size of their pictures.",
        )
    return mask


def _counted(
    wanted: NDArray[np.uint8], given: NDArray[np.uint8], truth: PictureTruth
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    if given.shape != wanted.shape:
        raise DataError(f"the answer to {truth.picture.path} has another size than its mask")
    known = wanted != IGNORED
    wanted, given = wanted[known], given[known]
    both = np.bincount(wanted[wanted == given], minlength=256)
    return both, np.bincount(wanted, minlength=256), np.bincount(given, minlength=256)
