"""The calibration audit: whether the calibration images cover what the model will meet."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from converters.observation import Observation, Spread

TOLERANCE: Final = 0.02  # of a range's width, by which it may still grow and be called stable
SETTLED: Final = 0.95  # share of the tensors that have to be stable
HELD_OUT_IMAGES: Final = 32  # looked at for clipping
PERMUTATIONS: Final = 19_999
BATCH: Final = 1000  # of them at once
FALSE_ALARM: Final = 2e-4  # chance at most that images of one kind are called unlike
LEAST_DISTANCE: Final = 0.05  # below, a difference has no consequence; 0 to 1, see ``_distance``
LEAST_BEYOND: Final = 0.125  # share of the images that have to leave a range, likewise


class Observable(Protocol):
    """A model whose activations can be observed."""

    @property
    def observation(self) -> Observation:
        """Of the calibration images."""
        ...

    def spread(self, images: Iterable[NDArray[np.float32]]) -> dict[str, Spread]:
        """What each activation does over other images, held against its range."""
        ...


def audit(model: Observable, held_out: Iterable[NDArray[np.float32]]) -> dict[str, Any]:
    """What to know of a calibration, as JSON values.

    Args:
        model: Calibrated.
        held_out: Images that did not calibrate it, as the model's input.

    Returns:
        ``images``; ``stable_after`` images (None if the last images still widened ranges);
        ``held_out`` images that were looked at; ``clipped_share`` of their activations, mean over
        the tensors, and the ``worst_clipped`` tensor with its share; ``unlike``: see there.
    """
    observation = model.observation
    found = model.spread(held_out)
    worst = max(found, key=lambda name: found[name].share, default=None)
    shares = [item.share for item in found.values()]
    return {
        "images": len(observation.low),
        "tensors": len(observation.names),
        "stable_after": stable_after(observation),
        "held_out": max((len(item.low) for item in found.values()), default=0),
        "clipped_share": float(np.mean(shares)) if shares else None,
        "worst_clipped": None if worst is None else {"tensor": worst, "share": found[worst].share},
        "unlike": unlike(observation, found),
    }


def unlike(observation: Observation, found: Mapping[str, Spread]) -> dict[str, Any] | None:
    """Whether the calibration images look like the others; None if they may well be of one kind.

    Images of one kind could be exchanged, whatever the network makes of them. Two tests rest on
    that alone. One counts: how many of m other images exceed all n that calibrated follows from
    the number of orders; what exceeds a range by less than ``TOLERANCE`` of its width does not
    count, and p is corrected for the number of ranges (Bonferroni). The other takes each image's
    extremes in all tensors together and permutes: the energy distance (Szekely & Rizzo, J. Stat.
    Plan. Inference 143, 2013) of the two sets against that of random divisions. Each gets half of
    ``FALSE_ALARM``, which is the chance at most that images of one kind are called unlike.

    Images that a head was trained on cannot quite be exchanged with others: it is surer of them.
    So a difference has to be of some size besides, ``LEAST_BEYOND`` or ``LEAST_DISTANCE``.

    Returns:
        ``test`` that says so (``ranges`` or ``activations``), ``distance`` of the sets,
        ``tensor`` that says most, ``images`` that leave its range, ``expected`` to, ``share`` of
        its values outside, ``p_value`` (corrected).
    """
    rows = {name: row for row, name in enumerate(observation.names)}
    names = [name for name in found if name in rows]
    if not names:
        return None
    columns = [rows[name] for name in names]
    low, high = observation.low[:, columns], observation.high[:, columns]
    other_low = np.array([found[name].low for name in names]).T
    other_high = np.array([found[name].high for name in names]).T
    slack = TOLERANCE * np.maximum(high.max(axis=0) - low.min(axis=0), 1e-12)
    beyond = (other_low < low.min(axis=0) - slack, other_high > high.max(axis=0) + slack)
    calibrated, others = len(low), len(other_low)
    counted = max(int(side.sum(axis=0).max()) for side in beyond)
    by_count = 1.0
    if counted >= LEAST_BEYOND * others:
        by_count = 2 * len(names) * _chance_beyond(counted, others, calibrated)
    found_energy = _energy(np.hstack([low, high]), np.hstack([other_low, other_high]))
    by_energy, distance, differing = found_energy
    p = min(1.0, 2 * min(by_count, by_energy))
    if p >= FALSE_ALARM:
        return None
    leaving = (beyond[0] | beyond[1]).sum(axis=0)
    column = int(leaving.argmax()) if by_count <= by_energy else differing % len(names)
    return {
        "test": "ranges" if by_count <= by_energy else "activations",
        "distance": distance,
        "tensor": names[column],
        "images": int(leaving[column]),
        "expected": 2 * others / (calibrated + 1),
        "share": found[names[column]].share,
        "p_value": p,
    }


def _chance_beyond(beyond: int, images: int, calibrated: int) -> float:
    """Chance that so many images or more exceed all that calibrated, if all are of one kind.

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
    """Energy distance of each division of the images.

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
    """Part of the mean distance between two sets that those within them do not explain.

    About 0 for images of one kind, whatever their number, and 1 for sets that share nothing.
    """
    count = len(distances) - first
    if first < 2 or count < 2:
        return 0.0
    across = float(distances[:first, first:].mean())
    inner = float(distances[:first, :first].sum()) / (first * (first - 1))
    outer = float(distances[first:, first:].sum()) / (count * (count - 1))
    return 1 - (inner + outer) / (2 * across) if across else 0.0


def stable_after(observation: Observation) -> int | None:
    """Images after which at least ``SETTLED`` of the ranges grow by ``TOLERANCE`` at most.

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
