"""Holds a file that answers another task against its float file, picture by picture.

The answers are compared in pixels of the image tensor. How much two files agree is a share, 0..1:

- detections: twice the score that both give to the same object (the same class, an intersection
  over union of at least 0.5, each matched once, the surest first) over all scores that either
  gives. It is the F1 of the two, weighted by score: an object at the threshold counts little.
- segments: the mean intersection over union of the classes that the float file sees.
- poses: the share of the float file's points that lie within 5 % of the body's size.
- embeddings: the mean cosine.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.base import ConversionRequest
from converters.judge import Loss
from edge.errors import UsageError
from edge.runtime.contract import Preprocessing
from edge.runtime.placement import Placement
from edge.runtime.session import Session, encode_pixels, open_session
from edge.runtime.tasks.decoder import Tensors
from edge.runtime.tasks.results import (
    Answer,
    Detection,
    Detections,
    Embedding,
    Poses,
    Segmentation,
)
from edge.runtime.tasks.table import DecoderSpec

OVERLAP: Final = 0.5  # least intersection over union of the same object
NEAR: Final = 0.05  # share of a body's size within which a point is the same


class TaskJudge:
    """Holds files against the float file of a request.

    Args:
        request: A request with a float file, a decoder and held-out images.
    """

    def __init__(self, request: ConversionRequest) -> None:
        if request.float_file is None or request.decoder is None or request.held_out is None:
            raise UsageError("a search for a task needs a float file, its decoder and images")
        self._contract: Preprocessing = request.preprocessing
        self._labels = request.labels
        self._decoder: DecoderSpec = request.decoder
        self._float = request.float_file
        self._pixels: NDArray[np.uint8] = np.load(request.held_out.pixels, mmap_mode="r")
        self._wanted = list(self._answers(self._float))
        self._raw: list[list[NDArray[Any]]] = []

    def loss(self, path: Path) -> Loss:
        """See ``converters.judge.Judge``: a hundred points less those of the agreement."""
        share = agreement(self._wanted, list(self._answers(path)))
        return Loss(drop_points=100 * (1 - share), agreement=share)

    def error(self, path: Path, images: int) -> float:
        """See ``converters.judge.Judge``: the mean of what ``relative_error`` says of an output."""
        if len(self._raw) < min(images, len(self._pixels)):
            self._raw = [outputs for _, outputs in self._run(self._float, images)]
        given = [outputs for _, outputs in self._run(path, images)]
        errors = [
            relative_error(np.concatenate(wanted), np.concatenate(found))
            for wanted, found in zip(
                zip(*self._raw, strict=True), zip(*given, strict=True), strict=True
            )
        ]
        return float(np.mean(errors))

    def _answers(self, path: Path) -> Iterator[Answer]:
        height, width, _ = self._contract.shape
        whole = Placement(width=width, height=height, left=0, top=0, scale_x=1, scale_y=1)
        decoder = None
        for session, outputs in self._run(path, len(self._pixels)):
            if decoder is None:
                decoder = self._decoder.open(
                    Tensors(
                        outputs=session.outputs,
                        preprocessing=self._contract,
                        labels=self._labels,
                    )
                )
            yield decoder.decode(outputs, whole)

    def _run(self, path: Path, images: int) -> Iterator[tuple[Session, list[NDArray[Any]]]]:
        session = open_session(path)
        encoding = self._contract.encoding
        for pixels in self._pixels[:images]:
            yield session, session.run(encode_pixels(pixels, session.inputs[0], encoding))


def relative_error(wanted: NDArray[Any], given: NDArray[Any]) -> float:
    """Return the power of the error over that of the signal, the mean of all channels, 0..1.

    Coordinates of hundreds and scores of 0..1 stand in one tensor: each channel counts alike, and
    one that is wrong altogether counts as 1. The channels are those of the shortest axis.

    Args:
        wanted: (images, ...), of the float file.
        given: The same of another file.
    """
    if wanted.shape != given.shape or not wanted.size:
        return 1.0  # as many objects as there are, say
    extents = [extent if extent > 1 else wanted.size for extent in wanted.shape[1:]]
    axis = 1 + int(np.argmin(extents)) if extents else 0
    rows = np.moveaxis(wanted, axis, 0).reshape(wanted.shape[axis], -1).astype(np.float64)
    others = np.moveaxis(given, axis, 0).reshape(rows.shape).astype(np.float64)
    power, error = (rows**2).sum(axis=1), ((rows - others) ** 2).sum(axis=1)
    shares = np.minimum(error / np.maximum(power, 1e-12), 1.0)
    return float(shares[power > 0].mean()) if (power > 0).any() else 0.0


def agreement(wanted: Sequence[Answer], given: Sequence[Answer]) -> float:
    """Return how much the answers of two files to the same pictures agree, 0..1."""
    pairs = list(zip(wanted, given, strict=True))
    masks = [
        (one.mask, other.mask)
        for one, other in pairs
        if isinstance(one, Segmentation) and isinstance(other, Segmentation)
    ]
    if masks:
        return _segments(masks)
    counted = [shares(one, other) for one, other in pairs]
    total = sum(count for _, count in counted)
    return sum(share for share, _ in counted) / total if total else 1.0


def shares(wanted: Answer, given: Answer) -> tuple[float, float]:
    """Return how much of two answers to one picture agrees, of how much; not of segments."""
    if isinstance(wanted, Detections) and isinstance(given, Detections):
        return _objects(wanted.items, given.items)
    if isinstance(wanted, Poses) and isinstance(given, Poses):
        return _points(wanted, given)
    assert isinstance(wanted, Embedding) and isinstance(given, Embedding)
    lengths = np.linalg.norm(wanted.values) * np.linalg.norm(given.values)
    return float(wanted.values @ given.values / max(float(lengths), 1e-12)), 1.0


def _objects(wanted: Sequence[Detection], given: Sequence[Detection]) -> tuple[float, float]:
    left = list(given)
    both = 0.0
    for item in wanted:  # the surest first
        same = [other for other in left if other.index == item.index]
        best = max(same, key=lambda other: _overlap(item, other), default=None)
        if best is not None and _overlap(item, best) >= OVERLAP:
            both += min(item.score, best.score)
            left.remove(best)
    return 2 * both, sum(item.score for item in (*wanted, *given))


def _overlap(one: Detection, other: Detection) -> float:
    across = min(one.right, other.right) - max(one.left, other.left)
    down = min(one.bottom, other.bottom) - max(one.top, other.top)
    shared = max(across, 0.0) * max(down, 0.0)
    areas = sum((box.right - box.left) * (box.bottom - box.top) for box in (one, other))
    return shared / max(areas - shared, 1e-9)


def _points(wanted: Poses, given: Poses) -> tuple[float, float]:
    near = total = 0
    for number, pose in enumerate(wanted.items):
        points = np.array([(point.x, point.y) for point in pose.keypoints])
        total += len(points)
        if number >= len(given.items) or not len(points):
            continue
        others = np.array([(point.x, point.y) for point in given.items[number].keypoints])
        size = max(float(np.ptp(points, axis=0).max()), 1.0)
        near += int((np.linalg.norm(points - others, axis=1) <= NEAR * size).sum())
    return float(near), float(total)


def _segments(pairs: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]]) -> float:
    shared, either, seen = (np.zeros(256) for _ in range(3))
    for wanted, given in pairs:
        ours, theirs = (np.bincount(mask.ravel(), minlength=256) for mask in (wanted, given))
        same = np.bincount(wanted[wanted == given], minlength=256)
        shared += same
        either += ours + theirs - same
        seen += ours
    return float((shared[seen > 0] / either[seen > 0]).mean())
