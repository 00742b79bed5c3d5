"""Mean average precision of detectors, as COCO defines it: by pycocotools.

Source: Lin et al. 2014, and ``pycocotools.cocoeval``. pycocotools matches boxes and annotations of
each image; its matches are kept here for each image, so that any sample of the images can be
accumulated again, as ``COCOeval.accumulate`` does, in milliseconds.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from edge.dataset.truth import PictureTruth
from edge.evaluation.tasks.metric import ClassTaskScore, TaskScore, weights_of
from edge.runtime.tasks.results import Answer, Detections

MOST_DETECTIONS: Final = 100  # an image and class, as COCO counts them
RECALLS: Final = np.linspace(0, 1, 101)  # where COCO reads the precision
THRESHOLDS: Final = np.linspace(0.5, 0.95, 10)  # of the overlap, IoU


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ClassRecords:
    """The detections of one class, the surest first.

    Attributes:
        image: The image of each, (n,).
        hits: Whether it matches an annotation, at each threshold, (10, n).
        misses: Whether it counts as wrong, (10, n).
        annotated: How many annotations of the class each image has, (images,).
    """

    image: NDArray[np.int64]
    hits: NDArray[np.bool_]
    misses: NDArray[np.bool_]
    annotated: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class DetectionRecords:
    """What each image says of a detector.

    Attributes:
        classes: By class index; classes without annotation and detection are left out.
        found: How many results of each class a user sees in each image, (images, classes).
        annotated: How many are annotated, those that count nowhere left out, (images, classes).
    """

    classes: dict[int, ClassRecords]
    found: NDArray[np.int64]
    annotated: NDArray[np.int64]

    @property
    def images(self) -> int:
        """How many images there are."""
        return len(self.found)


class DetectionMetric:
    """See ``TaskMetric``. Values: map, map50, map75, recall (of 100 results) and count_error.

    count_error is the mean over the images of how many results are too many or too few, class by
    class.
    """

    name = "map"

    def __init__(self, labels: tuple[str, ...], threshold: float) -> None:
        self._labels = labels
        self._threshold = threshold

    def records(self, truth: Sequence[PictureTruth], answers: Sequence[Answer]) -> DetectionRecords:
        """See ``TaskMetric``."""
        found = [cast(Detections, answer).items for answer in answers]
        numbers = [box.index for item in truth for box in item.boxes]
        numbers += [item.index for items in found for item in items]
        count = max([len(self._labels), *(number + 1 for number in numbers)])
        seen, wanted = (np.zeros((len(truth), count), np.int64) for _ in range(2))
        for image, items in enumerate(found):
            for item in items:
                seen[image, item.index] += item.score >= self._threshold
        for image, picture in enumerate(truth):
            for box in picture.boxes:
                wanted[image, box.index] += not box.ignored
        return DetectionRecords(
            classes=_matched(truth, found, sorted(set(numbers))), found=seen, annotated=wanted
        )

    def score(
        self, records: DetectionRecords, images: NDArray[np.int64] | None = None
    ) -> TaskScore:
        """See ``TaskMetric``."""
        weights = weights_of(images, records.images)
        precisions = {index: precision(item, weights) for index, item in records.classes.items()}
        tables = {index: table for index, table in precisions.items() if table is not None}
        recalls = [_recall(item, weights) for item in records.classes.values()]
        known = [value for value in recalls if value is not None]
        count = weights.sum()
        # Each class counts on its own: one object too many must not hide another that is missing.
        errors = np.abs(records.found - records.annotated).sum(axis=1)
        return TaskScore(
            primary=_mean([float(table.mean()) for table in tables.values()]),
            values={
                "map": _mean([float(table.mean()) for table in tables.values()]),
                "map50": _mean([float(table[0].mean()) for table in tables.values()]),
                "map75": _mean([float(table[5].mean()) for table in tables.values()]),
                "recall": _mean(known),
                "count_error": float((errors * weights).sum() / count) if count else None,
            },
            classes=tuple(
                self._class(index, table, records, weights) for index, table in precisions.items()
            ),
        )

    def primary(self, records: DetectionRecords, weights: NDArray[np.int64]) -> float | None:
        """See ``TaskMetric``."""
        tables = (precision(item, weights) for item in records.classes.values())
        return _mean([float(table.mean()) for table in tables if table is not None])

    def _class(
        self,
        index: int,
        table: NDArray[np.float64] | None,
        records: DetectionRecords,
        weights: NDArray[np.int64],
    ) -> ClassTaskScore:
        return ClassTaskScore(
            index=index,
            label=self._labels[index] if index < len(self._labels) else str(index),
            value=None if table is None else float(table.mean()),
            count=int((records.annotated[:, index] * weights).sum()),
        )


def precision(records: ClassRecords, weights: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """Return the precision at each IoU threshold and recall, (10, 101); None without annotations.

    It is what ``COCOeval.accumulate`` computes for a list in which each image stands ``weights``
    times: between detections of one image that stand together the precision only rises towards
    the last of them, and the greatest precision from a recall on is what counts.

    Args:
        records: The class.
        weights: How often each image counts, (images,).
    """
    total = int((records.annotated * weights).sum())
    if total == 0:
        return None
    result = np.zeros((len(THRESHOLDS), len(RECALLS)))
    counts = weights[records.image]
    drawn = np.flatnonzero(counts)
    if len(drawn) == 0:
        return result
    counts = counts[drawn]
    hits = np.cumsum(records.hits[:, drawn] * counts, axis=1, dtype=np.float64)
    misses = np.cumsum(records.misses[:, drawn] * counts, axis=1, dtype=np.float64)
    precisions = hits / (hits + misses + np.spacing(1))
    best = np.maximum.accumulate(precisions[:, ::-1], axis=1)[:, ::-1]
    recalls = hits / total
    for row in range(len(THRESHOLDS)):
        places = np.searchsorted(recalls[row], RECALLS, side="left")
        reached = places < len(drawn)
        result[row, reached] = best[row, places[reached]]
    return result


def _recall(records: ClassRecords, weights: NDArray[np.int64]) -> float | None:
    """Return the share of the annotations that is found, over the thresholds."""
    total = int((records.annotated * weights).sum())
    if total == 0:
        return None
    hits = (records.hits * weights[records.image]).sum(axis=1)
    return float((hits / total).mean())


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _matched(
    truth: Sequence[PictureTruth], found: Sequence[Any], classes: Sequence[int]
) -> dict[int, ClassRecords]:
    """Return pycocotools' matches of each class."""
    if not classes:
        return {}
    evaluated = coco_evaluation(truth, found, classes)
    records = {}
    count = len(truth)
    for position, index in enumerate(classes):
        images = evaluated.evalImgs[position * count : (position + 1) * count]
        records[index] = _class_records(images, count)
    return records


def coco_evaluation(
    truth: Sequence[PictureTruth], found: Sequence[Any], classes: Sequence[int]
) -> Any:
    """Return pycocotools' ``COCOeval`` once its ``evaluate`` has run, over objects of all sizes."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    class Evaluation(COCOeval):  # type: ignore[misc]  # pycocotools has no types
        """COCO ignores crowds alone; difficult objects of VOC are ignored, and are no crowds."""

        def _prepare(self) -> None:
            super()._prepare()
            for annotations in self._gts.values():
                for item in annotations:
                    item["ignore"] = item["difficult"]

    with contextlib.redirect_stdout(io.StringIO()):  # it prints how long it takes
        annotations, results = COCO(), COCO()
        images = [{"id": number} for number in range(len(truth))]
        categories = [{"id": index} for index in classes]
        annotations.dataset = {"images": images, "categories": categories}
        annotations.dataset["annotations"] = _annotations(truth)
        annotations.createIndex()
        results.dataset = {"images": images, "categories": categories}
        results.dataset["annotations"] = _results(found)
        results.createIndex()
        evaluation = Evaluation(annotations, results, "bbox")
        evaluation.params.areaRng = [[0, 1e10]]
        evaluation.params.areaRngLbl = ["all"]
        evaluation.params.maxDets = [MOST_DETECTIONS]
        evaluation.evaluate()
    return evaluation


def _annotations(truth: Sequence[PictureTruth]) -> list[dict[str, Any]]:
    rows = [(number, box) for number, item in enumerate(truth) for box in item.boxes]
    return [
        {
            "id": position + 1,  # 0 would read as no match
            "image_id": image,
            "category_id": box.index,
            "bbox": [box.left, box.top, box.right - box.left, box.bottom - box.top],
            "area": box.size,
            "iscrowd": int(box.crowd),
            "difficult": int(box.ignored),
        }
        for position, (image, box) in enumerate(rows)
    ]


def _results(found: Sequence[Any]) -> list[dict[str, Any]]:
    rows = [(number, item) for number, items in enumerate(found) for item in items]
    return [
        {
            "id": position + 1,
            "image_id": image,
            "category_id": item.index,
            "bbox": [item.left, item.top, item.right - item.left, item.bottom - item.top],
            "area": (item.right - item.left) * (item.bottom - item.top),
            "iscrowd": 0,
            "score": item.score,
        }
        for position, (image, item) in enumerate(rows)
    ]


def _class_records(images: Sequence[Any], count: int) -> ClassRecords:
    """Return one class of pycocotools' ``evalImgs``, sorted as ``accumulate`` sorts it."""
    annotated = np.zeros(count, np.int64)
    parts = [(number, item) for number, item in enumerate(images) if item is not None]
    for number, item in parts:
        annotated[number] = int((np.asarray(item["gtIgnore"]) == 0).sum())
    scores = np.concatenate([np.zeros(0), *(np.asarray(item["dtScores"]) for _, item in parts)])
    image = np.concatenate(
        [np.zeros(0, np.int64), *(np.full(len(item["dtScores"]), n) for n, item in parts)]
    )
    empty = np.zeros((len(THRESHOLDS), 0))
    matches = np.concatenate([empty, *(item["dtMatches"] for _, item in parts)], axis=1)
    ignored = np.concatenate([empty, *(item["dtIgnore"] for _, item in parts)], axis=1) > 0
    order = np.argsort(-scores, kind="mergesort")
    matched = matches[:, order] > 0
    return ClassRecords(
        image=image[order],
        hits=matched & ~ignored[:, order],
        misses=~matched & ~ignored[:, order],
        annotated=annotated,
    )
