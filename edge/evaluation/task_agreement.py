"""How much two files' answers to the same pictures agree, and what differs, without annotations.

The agreement is a share, 0..1:

- detections: twice the score that both give to the same object (the same class, an intersection
  over union of at least 0.5, each matched once, the surest first) over all scores that either
  gives. It is the F1 of the two, weighted by score: an object at the threshold counts little.
- segments: the mean intersection over union of the classes that the first file sees.
- poses: the share of the first file's points that lie within 5 % of the body's size.
- embeddings: the mean cosine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.runtime.tasks.results import (
    Answer,
    Detection,
    Detections,
    Embedding,
    Pose,
    Poses,
    Segmentation,
)

OVERLAP: Final = 0.5  # least intersection over union of the same object
SAME_PLACE: Final = 0.75  # below it, an object that both find has moved; COCO's strict threshold
NEAR: Final = 0.05  # share of a body's size within which a point is the same
SAME_VECTOR: Final = 0.99  # least cosine of an embedding that is called unchanged
SAME_MASK: Final = 0.01  # share of the pixels that may differ in a mask that is called unchanged
_SEGMENTS: Final = 256  # class indices of a mask of uint8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Agreements:
    """What agrees on each picture, of how much: sums over pictures give the agreement of them all.

    Attributes:
        shared: float64 (pictures, channels): what both answer. A mask has a channel for each class,
            and every other answer has one.
        either: The same shape: what at least one of them answers.
        seen: The same shape: more than 0 where the channel counts.
    """

    shared: NDArray[np.float64]
    either: NDArray[np.float64]
    seen: NDArray[np.float64]

    @property
    def pictures(self) -> int:
        """How many pictures there are."""
        return len(self.shared)

    @property
    def empty(self) -> bool:
        """Whether there is nothing on any picture to agree on."""
        return not self.seen.any()

    def share(self, weights: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Return the agreement, float64 (resamples,); 1 where nothing is seen.

        Args:
            weights: How often each picture is drawn, (resamples, pictures); None for each once.
        """
        drawn = np.ones((1, self.pictures)) if weights is None else weights
        counts = drawn @ self.seen > 0
        shares = np.where(counts, drawn @ self.shared, 0) / np.where(counts, drawn @ self.either, 1)
        channels = counts.sum(axis=1)
        means: NDArray[np.float64] = np.where(
            channels > 0, shares.sum(axis=1) / np.maximum(channels, 1), 1.0
        )
        return means


def agreements(wanted: Sequence[Answer], given: Sequence[Answer]) -> Agreements:
    """Hold the answers of two files to the same pictures against one another."""
    rows = [_counts(one, other) for one, other in zip(wanted, given, strict=True)]
    shared, either, seen = (np.array(part, np.float64) for part in zip(*rows, strict=True))
    return Agreements(shared=shared, either=either, seen=seen)


def agreement(wanted: Sequence[Answer], given: Sequence[Answer]) -> float:
    """Return how much the answers of two files to the same pictures agree, 0..1."""
    return float(agreements(wanted, given).share()[0])


def shares(wanted: Answer, given: Answer) -> tuple[float, float]:
    """Return how much of two answers to one picture agrees, of how much; not of segments."""
    (shared,), (either,), _ = _counts(wanted, given)
    return shared, either


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """What differs between two answers to one picture, in words.

    Attributes:
        lost: What only the first file finds.
        gained: What only the second file finds.
        moved: What both find, but elsewhere.
    """

    lost: tuple[str, ...] = ()
    gained: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return bool(self.lost or self.gained or self.moved)


def differences(wanted: Answer, given: Answer) -> Differences:
    """Return what differs between two answers to one picture."""
    if isinstance(wanted, Detections) and isinstance(given, Detections):
        return _other_objects(wanted, given)
    if isinstance(wanted, Poses) and isinstance(given, Poses):
        return _other_points(wanted, given)
    if isinstance(wanted, Segmentation) and isinstance(given, Segmentation):
        share = float((wanted.mask != given.mask).mean())
        return Differences(moved=(f"{share:.2%} of the pixels",) if share > SAME_MASK else ())
    assert isinstance(wanted, Embedding) and isinstance(given, Embedding)
    near = cosine(wanted, given)
    return Differences(moved=(f"cosine {near:.4f}",) if near < SAME_VECTOR else ())


def cosine(one: Embedding, other: Embedding) -> float:
    """Return the cosine of the angle between two embeddings."""
    lengths = float(np.linalg.norm(one.values) * np.linalg.norm(other.values))
    return float(one.values @ other.values / max(lengths, 1e-12))


_Counts = tuple[Sequence[float], Sequence[float], Sequence[float]]


def _counts(wanted: Answer, given: Answer) -> _Counts:
    if isinstance(wanted, Segmentation) and isinstance(given, Segmentation):
        return _segments(wanted.mask, given.mask)
    if isinstance(wanted, Detections) and isinstance(given, Detections):
        both = sum(min(one.score, other.score) for one, other in _matched(wanted, given))
        shared, either = 2 * both, sum(item.score for item in (*wanted.items, *given.items))
    elif isinstance(wanted, Poses) and isinstance(given, Poses):
        shared, either = _points(wanted, given)
    else:
        assert isinstance(wanted, Embedding) and isinstance(given, Embedding)
        shared, either = cosine(wanted, given), 1.0
    return (shared,), (either,), (either,)


def _matched(wanted: Detections, given: Detections) -> list[tuple[Detection, Detection]]:
    """The objects that both find, the surest of the first file first."""
    left, pairs = list(given.items), []
    for item in wanted.items:
        same = [other for other in left if other.index == item.index]
        best = max(same, key=lambda other: _overlap(item, other), default=None)
        if best is not None and _overlap(item, best) >= OVERLAP:
            pairs.append((item, best))
            left.remove(best)
    return pairs


def _overlap(one: Detection, other: Detection) -> float:
    across = min(one.right, other.right) - max(one.left, other.left)
    down = min(one.bottom, other.bottom) - max(one.top, other.top)
    shared = max(across, 0.0) * max(down, 0.0)
    areas = sum((box.right - box.left) * (box.bottom - box.top) for box in (one, other))
    return shared / max(areas - shared, 1e-9)


def _other_objects(wanted: Detections, given: Detections) -> Differences:
    pairs = _matched(wanted, given)
    found = {id(item) for pair in pairs for item in pair}

    def rest(answer: Detections) -> tuple[str, ...]:
        return tuple(
            f"{item.label} {item.score:.1%}" for item in answer.items if id(item) not in found
        )

    moved = tuple(
        f"{one.label} {one.score:.1%} (overlap {_overlap(one, other):.2f})"
        for one, other in pairs
        if _overlap(one, other) < SAME_PLACE
    )
    return Differences(lost=rest(wanted), gained=rest(given), moved=moved)


def _near(one: Pose, other: Pose) -> NDArray[np.bool_]:
    """(points,) whether the second pose has the point where the first one has it."""
    points = np.array([(point.x, point.y) for point in one.keypoints])
    others = np.array([(point.x, point.y) for point in other.keypoints])
    size = max(float(np.ptp(points, axis=0).max()), 1.0)
    near: NDArray[np.bool_] = np.linalg.norm(points - others, axis=1) <= NEAR * size
    return near


def _points(wanted: Poses, given: Poses) -> tuple[float, float]:
    total = sum(len(pose.keypoints) for pose in wanted.items)
    pairs = zip(wanted.items, given.items, strict=False)  # a body that is missing has no points
    return float(sum(int(_near(*pair).sum()) for pair in pairs if pair[0].keypoints)), float(total)


def _other_points(wanted: Poses, given: Poses) -> Differences:
    common = min(len(wanted.items), len(given.items))
    moved = [
        point.label
        for one, other in zip(wanted.items, given.items, strict=False)
        if one.keypoints
        for point, near in zip(one.keypoints, _near(one, other), strict=True)
        if not near
    ]
    lost, gained = (
        tuple(f"a body {pose.score:.1%}" for pose in answer.items[common:])
        for answer in (wanted, given)
    )
    return Differences(lost=lost, gained=gained, moved=tuple(moved))


def _segments(wanted: NDArray[np.uint8], given: NDArray[np.uint8]) -> _Counts:
    ours, theirs = (np.bincount(mask.ravel(), minlength=_SEGMENTS) for mask in (wanted, given))
    same = np.bincount(wanted[wanted == given], minlength=_SEGMENTS)
    return same.tolist(), (ours + theirs - same).tolist(), ours.tolist()
