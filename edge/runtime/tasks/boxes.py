"""Boxes: how much they overlap, which of several on one object stays, and the answer made of them.

A box is left, top, right and bottom.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import InferenceError, UsageError
from edge.runtime.placement import Placement
from edge.runtime.tasks.results import Detection, Detections

MOST_RESULTS: Final = 10_000
MOST_CLASSES: Final = 1 << 20
# The boxes that NMS looks at, the surest ones; RetinaNet, detectron2 and mmdetection all keep 1000.
CANDIDATES: Final = 1000
MOST_CANDIDATES: Final = 100_000
# How far a probability lies outside of 0..1 by rounding: that of an integer of 8 bits has steps of
# 1/127 at most, and half a step is lost at each of two factors.
SCORE_ROUNDING: Final = 0.02
CLASS_ROUNDING: Final = 0.05  # how far a class number lies beside a whole one by rounding
_BLOCK: Final = 128  # boxes of one step of NMS: a matrix of 128 x 128 float32 lies in the cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What every decoder of boxes asks of a box.

    Attributes:
        score_threshold: The least score of an object, 0..1.
        max_results: The largest number of objects.
    """

    score_threshold: float = 0.25
    max_results: int = 100

    def __post_init__(self) -> None:
        """Refuse what no detector has."""
        check_bounds("score_threshold", self.score_threshold, 0, 1)
        check_bounds("max_results", self.max_results, 1, MOST_RESULTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppression(Thresholds):
    """What a decoder with non-maximum suppression (NMS) asks.

    Attributes:
        iou_threshold: The overlap from which on only the surer of two boxes of a class stays, 0..1.
        max_candidates: How many boxes NMS looks at: those of the highest score.
    """

    iou_threshold: float = 0.45
    max_candidates: int = CANDIDATES

    def __post_init__(self) -> None:
        """Refuse what no detector has."""
        Thresholds.__post_init__(self)
        check_bounds("iou_threshold", self.iou_threshold, 0, 1)
        check_bounds("max_candidates", self.max_candidates, 1, MOST_CANDIDATES)


def check_bounds(name: str, value: float, least: float, most: float) -> None:
    """Refuse a number outside its bounds.

    Raises:
        UsageError: It is, or is not finite.
    """
    if not least <= value <= most:
        raise UsageError(
            f"{name} is {value}; allowed: {least:g} to {most:g}",
            hint="Give a value within these bounds.",
        )


def overlaps(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the intersection over union (IoU) of each pair, float32 (n, m), 0..1.

    Args:
        first: Boxes (n, 4).
        second: Boxes (m, 4).
    """
    one, other = first[:, np.newaxis], second[np.newaxis]
    width = np.minimum(one[..., 2], other[..., 2])
    width -= np.maximum(one[..., 0], other[..., 0])
    height = np.minimum(one[..., 3], other[..., 3])
    height -= np.maximum(one[..., 1], other[..., 1])
    np.maximum(width, 0, out=width)
    np.maximum(height, 0, out=height)
    width *= height
    union = areas(first)[:, np.newaxis] + areas(second)[np.newaxis]
    union -= width
    np.divide(width, union, out=width, where=union > 0)
    return width


def areas(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the area of each box of (n, 4), float32 (n,)."""
    sides: NDArray[np.float32] = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return sides


def surest(scores: NDArray[np.float32], most: int) -> NDArray[np.intp]:
    """Return the indices of the highest scores, highest first; equal ones in their order.

    Args:
        scores: (n,), float32.
        most: How many at most.
    """
    if len(scores) <= most:
        return np.argsort(-scores, kind="stable")
    # A partition of indices would order equal scores by the machine's own way, and quantized
    # scores are often equal: host and device would keep different boxes.
    least = np.partition(scores, -most)[-most]
    above = np.flatnonzero(scores > least)
    equal = np.flatnonzero(scores == least)[: most - len(above)]
    return np.concatenate((above[np.argsort(-scores[above], kind="stable")], equal))


def suppress(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    classes: NDArray[np.integer[Any]],
    asked: Suppression,
) -> NDArray[np.intp]:
    """Return the indices of the boxes that stay, the surest first: greedy NMS within each class.

    Boxes are gone through in blocks, from the surest on, and no further than the last result: a
    block is compared with what stays so far, then within itself.

    Args:
        boxes: (n, 4), float32.
        scores: (n,), float32.
        classes: (n,).
        asked: The bounds.
    """
    order = surest(scores, asked.max_candidates)
    boxes, classes = boxes[order], classes[order]
    kept: list[int] = []
    for start in range(0, len(order), _BLOCK):
        rest = np.arange(start, min(start + _BLOCK, len(order)))
        if kept:
            rest = rest[~_covered(boxes, classes, rest, kept, asked.iou_threshold).any(axis=1)]
        covered = _covered(boxes, classes, rest, rest, asked.iou_threshold)
        free = np.ones(len(rest), bool)
        for row, index in enumerate(rest.tolist()):
            if free[row]:
                kept.append(index)
                np.greater(free, covered[row], out=free)
        if len(kept) >= asked.max_results:
            break
    return order[kept[: asked.max_results]]


def _covered(boxes: Any, classes: Any, rows: Any, columns: Any, threshold: float) -> Any:
    """Return which pairs are of one class and overlap by more than the threshold."""
    pairs = overlaps(boxes[rows], boxes[columns]) > np.float32(threshold)
    pairs &= classes[rows][:, np.newaxis] == classes[columns]
    return pairs


def detections(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    classes: NDArray[np.integer[Any]],
    placement: Placement,
    labels: tuple[str, ...],
) -> Detections:
    """Return the answer. Boxes are clipped to the picture; what has no area there is left out.

    Args:
        boxes: (n, 4), in pixels of the tensor, the surest first.
        scores: (n,), 0..1.
        classes: (n,), numbers from 0.
        placement: Where the tensor lies in the picture.
        labels: The names of the classes; without any, each is named by its number.

    Raises:
        InferenceError: A number is not finite, a score is no probability, or a class has no label.
    """
    check_finite(boxes, scores)
    check_scores(scores)
    check_classes(classes, labels)
    placed = placement.boxes(boxes)
    seen = np.flatnonzero((placed[:, 2] > placed[:, 0]) & (placed[:, 3] > placed[:, 1]))
    found = zip(classes[seen].tolist(), scores[seen].tolist(), placed[seen].tolist(), strict=True)
    return Detections(
        items=tuple(
            Detection(
                index=index,
                label=labels[index] if labels else str(index),
                score=min(max(score, 0.0), 1.0),
                left=left,
                top=top,
                right=right,
                bottom=bottom,
            )
            for index, score, (left, top, right, bottom) in found
        )
    )


def class_numbers(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return real values as class numbers.

    Raises:
        InferenceError: One is below 0, no whole number, or none that a model has classes for.
    """
    numbers = np.rint(values)
    odd = np.flatnonzero(
        (np.abs(values - numbers) > CLASS_ROUNDING) | (numbers < 0) | (numbers >= MOST_CLASSES)
    )
    if len(odd):
        raise InferenceError(
            f"the model gives {float(values[odd[0]]):g} as a class number, which is none",
            hint="Its outputs are in another order than the decoder reads, or of another layout.",
        )
    return numbers.astype(np.int64)


def check_classes(classes: NDArray[np.integer[Any]], labels: tuple[str, ...]) -> None:
    """Refuse class numbers beyond the labels; without labels, every number stands for itself.

    Raises:
        InferenceError: One has no label.
    """
    highest = int(classes.max()) if len(classes) else -1
    if labels and highest >= len(labels):
        raise InferenceError(
            f"the model answers class {highest}, and there are {len(labels)} labels, from 0 to "
            f"{len(labels) - 1}",
            hint="Take the model file again, such as with edge export, and name all its classes "
            "with --labels FILE.",
        )


def check_scores(scores: NDArray[np.float32]) -> None:
    """Refuse what is no probability, such as values before their sigmoid.

    Raises:
        InferenceError: One lies outside of 0..1, beyond rounding.
    """
    least, most = float(scores.min(initial=0)), float(scores.max(initial=0))
    if least < -SCORE_ROUNDING or most > 1 + SCORE_ROUNDING:
        raise InferenceError(
            f"the model gives scores of {least:.3g} to {most:.3g}, which are no probabilities",
            hint="Export the network with the sigmoid or softmax of its scores inside, or state "
            "the decoder and its options when the model file is taken.",
        )


def check_finite(*arrays: NDArray[Any]) -> None:
    """Refuse what is not finite; integers always are.

    Raises:
        InferenceError: A value is NaN or infinity.
    """
    for array in arrays:
        if array.dtype.kind != "f":
            continue
        # One sum needs no memory and tells it of nearly every array; a sum of large numbers may
        # be infinite too, so then every value is looked at.
        with np.errstate(over="ignore", invalid="ignore"):
            total = np.add.reduce(array, axis=None, dtype=np.float32)
        if not np.isfinite(total) and not np.isfinite(array).all():
            raise InferenceError("the model's answer is not finite (NaN or infinity)")
