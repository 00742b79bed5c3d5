"""The calibration audit: whether the calibration images cover what the model will meet.

Images of one kind could be exchanged, whatever the network makes of them. Two tests rest on that
alone. One counts: how many of m other images exceed all n that calibrated follows from the number
of orders; what exceeds a range by less than ``TOLERANCE`` of its width does not count, and p is
corrected for the number of ranges (Bonferroni). The other takes each image's extremes in all
tensors together and permutes: the energy distance (Szekely & Rizzo, J. Stat. Plan. Inference 143,
2013) of the two sets against that of random divisions. Each gets half of ``FALSE_ALARM``, which is
the chance at most that images of one kind are called unlike.

Images that a head was trained on cannot quite be exchanged with others: the audit is surer of
them. So a difference has to be of some size besides, ``LEAST_BEYOND`` or ``LEAST_DISTANCE``.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from converters.observation import Observation, Spread

TOLERANCE: Final = 0.02  # share of a range's width by which a stable range may still grow
SETTLED: Final = 0.95  # share of the tensors that have to be stable
HELD_OUT_IMAGES: Final = 32  # images that are looked at for clipping
PERMUTATIONS: Final = 19_999
BATCH: Final = 1000  # permutations that are tried at once
FALSE_ALARM: Final = 2e-4  # chance at most that images of one kind are called unlike
LEAST_DISTANCE: Final = 0.05  # below, a difference has no consequence; 0 to 1, see ``_distance``
LEAST_BEYOND: Final = 0.125  # share of the images that have to leave a range, likewise


class Observable(Protocol):
    """A model whose activations can be observed."""

    @property
    def observation(self) -> Observation:
        """The activations over the calibration images."""
        ...

    def spread(self, images: Iterable[NDArray[np.float32]]) -> dict[str, Spread]:
        """Return what each activation does over other images, held against its range."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ClippedTensor:
    """A tensor of which values lie outside the range of the calibration images.

    Attributes:
        tensor: The name of the tensor.
        share: The share of its values that lie outside, 0..1.
    """

    tensor: str
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlikeness:
    """How the calibration images differ from the others.

    Attributes:
        test: The test that says so: ``ranges`` or ``activations``.
        distance: The distance of the two sets of images; see ``_distance``.
        tensor: The name of the tensor that differs most.
        images: How many of the other images leave its range.
        expected: How many would do so by chance.
        share: The share of its values that lie outside, 0..1.
        p_value: The chance of such a difference between images of one kind, corrected.
    """

    test: str
    distance: float
    tensor: str
    images: int
    expected: float
    share: float
    p_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeAudit:
    """What to know of the ranges that a calibration gave.

    Attributes:
        images: How many images calibrated.
        tensors: How many activations have a range.
        stable_after: After how many images the ranges were stable; None if the last images still
            widened them.
        held_out: How many other images were looked at.
        clipped_share: The share of their activations outside the ranges, mean over the tensors;
            None without other images.
        worst_clipped: The tensor with the largest such share.
        unlike: How the two sets of images differ; None if they may well be of one kind.
    """

    images: int
    tensors: int
    stable_after: int | None
    held_out: int
    clipped_share: float | None
    worst_clipped: ClippedTensor | None
    unlike: Unlikeness | None


def audit(model: Observable, held_out: Iterable[NDArray[np.float32]]) -> RangeAudit:
    """Look at a calibration.

    Args:
        model: A calibrated model.
        held_out: Images that did not calibrate it, as the model's input.
    """
    observation = model.observation
    spreads = model.spread(held_out)
    worst = max(spreads, key=lambda name: spreads[name].share, default=None)
    shares = [item.share for item in spreads.values()]
    return RangeAudit(
        images=len(observation.low),
        tensors=len(observation.names),
        stable_after=stable_after(observation),
        held_out=max((len(item.low) for item in spreads.values()), default=0),
        clipped_share=float(np.mean(shares)) if shares else None,
        worst_clipped=None
        if worst is None
        else ClippedTensor(tensor=worst, share=spreads[worst].share),
        unlike=unlike(observation, spreads),
    )


def unlike(observation: Observation, spreads: Mapping[str, Spread]) -> Unlikeness | None:
    """Return how the calibration images differ from the others; None if they may be of one kind.

    Args:
        observation: The activations over the calibration images.
        spreads: What each activation does over the other images, by name.
    """
    rows = {name: row for row, name in enumerate(observation.names)}
    names = [name for name in spreads if name in rows]
    if not names:
        return None
    columns = [rows[name] for name in names]
    low, high = observation.low[:, columns], observation.high[:, columns]
    other_low = np.array([spreads[name].low for name in names]).T
    other_high = np.array([spreads[name].high for name in names]).T
    slack = TOLERANCE * np.maximum(high.max(axis=0) - low.min(axis=0), 1e-12)
    below, above = other_low < low.min(axis=0) - slack, other_high > high.max(axis=0) + slack
    by_count = _count_test(below, above, calibrated=len(low))
    by_energy, distance, differing = _energy(
        np.hstack([low, high]), np.hstack([other_low, other_high])
    )
    p = min(1.0, 2 * min(by_count, by_energy))
    if p >= FALSE_ALARM:
        return None
    leaving = (below | above).sum(axis=0)
    column = int(leaving.argmax()) if by_count <= by_energy else differing % len(names)
    return Unlikeness(
        test="ranges" if by_count <= by_energy else "activations",
        distance=distance,
        tensor=names[column],
        images=int(leaving[column]),
        expected=2 * len(other_low) / (len(low) + 1),
        share=spreads[names[column]].share,
        p_value=p,
    )


def _count_test(below: NDArray[np.bool_], above: NDArray[np.bool_], calibrated: int) -> float:
    """p-value of the most images beyond one end of a range; 1 where these are few.

    Args:
        below: (images, tensors), whether an image goes below the range.
        above: (images, tensors), whether an image goes above the range.
        calibrated: How many images the ranges are of.
    """
    images, tensors = below.shape
    counted = max(int(side.sum(axis=0).max()) for side in (below, above))
    if counted < LEAST_BEYOND * images:
        return 1.0
    p: float = 2 * tensors * _chance_beyond(counted, images, calibrated)
    return p


def _chance_beyond(beyond: int, images: int, calibrated: int) -> float:
    """The chance that so many images or more exceed all that calibrated, if all are of one kind.

    The ``beyond`` largest of all values then have to be among the others: one order of many.
    """
    return math.prod((images - i) / (images + calibrated - i) for i in range(beyond))


def _energy(first: NDArray[np.float64], second: NDArray[np.float64]) -> tuple[float, float, int]:
    """p-value of a permutation test on the energy distance, that, and the column that differs most.

    The p-value is 1 where the distance is below ``LEAST_DISTANCE``.

    Args:
        first: (images, columns).
        second: (images, columns).
    """
    rows = np.vstack([first, second])
    spread = rows.std(axis=0)
    spread[spread == 0] = np.inf  # the zeros of a ReLU
    rows = (rows - rows.mean(axis=0)) / spread
    squares = (rows**2).sum(axis=1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * rows @ rows.T, 0))
    counts = len(first), len(second)
    gaps = np.abs(rows[: counts[0]].mean(axis=0) - rows[counts[0] :].mean(axis=0))
    size = _distance(distances, counts[0])
    if size < LEAST_DISTANCE:
        return 1.0, size, int(gaps.argmax())
    own = np.zeros((len(rows), 1))
    own[counts[0] :] = 1
    (least,) = _between(distances, own) - 1e-9
    random = np.random.default_rng(0)
    as_far = 0
    for done in range(0, PERMUTATIONS, BATCH):
        some = np.repeat(own, min(BATCH, PERMUTATIONS - done), axis=1)
        chosen = random.permuted(some, axis=0)
        as_far += int((_between(distances, chosen) >= least).sum())
    return (1 + as_far) / (1 + PERMUTATIONS), size, int(gaps.argmax())


def _between(distances: NDArray[np.float64], chosen: NDArray[np.float64]) -> NDArray[np.float64]:
    """The energy distance of each division of the images.

    Args:
        distances: (images, images).
        chosen: (images, divisions), 1 for an image of the second set.
    """
    second = chosen[:, 0].sum()
    first = len(chosen) - second
    summed = distances @ chosen
    within = (chosen * summed).sum(axis=0)
    between = summed.sum(axis=0) - within
    rest = distances.sum() - within - 2 * between
    energy: NDArray[np.float64] = (
        2 * between / (first * second) - within / second**2 - rest / first**2
    )
    return energy


def _distance(distances: NDArray[np.float64], first: int) -> float:
    """The part of the mean distance between two sets that those within them do not explain.

    It is about 0 for images of one kind, whatever their number, and 1 for sets that share nothing.
    """
    count = len(distances) - first
    if first < 2 or count < 2:
        return 0.0
    across = float(distances[:first, first:].mean())
    inner = float(distances[:first, :first].sum()) / (first * (first - 1))
    outer = float(distances[first:, first:].sum()) / (count * (count - 1))
    return 1 - (inner + outer) / (2 * across) if across else 0.0


def stable_after(observation: Observation) -> int | None:
    """Return after how many images ``SETTLED`` of the ranges grow by ``TOLERANCE`` at most.

    None if that takes more than nine tenths of the images: what the last tenth still widens, the
    next images would widen too.
    """
    low = np.minimum.accumulate(np.minimum(observation.low, 0), axis=0)
    high = np.maximum.accumulate(np.maximum(observation.high, 0), axis=0)
    width = high - low
    final = np.maximum(width[-1], 1e-12)
    stable = (width >= (1 - TOLERANCE) * final).mean(axis=1) >= SETTLED
    first = int(np.argmax(stable)) + 1
    return first if first <= 0.9 * len(low) else None
