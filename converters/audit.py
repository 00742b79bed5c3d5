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
FALSE_ALARM: Final = 0.01  # chance at most that images of one kind are called unlike


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
    """Whether the calibration images look like the others: the tensor that says most that not.

    Images of one kind could be exchanged, whatever the network makes of them. Then the largest
    value of an image is one of so many draws: how many of m other images exceed all n that
    calibrated follows from counting alone, and both series are spread alike (Kolmogorov-Smirnov).
    A value that exceeds a range by less than ``TOLERANCE`` of its width exceeds nothing. The
    p-values are corrected for their number (Bonferroni), so that images of one kind are called
    unlike with a chance of ``FALSE_ALARM`` at most, and two small sets never are.

    Returns:
        ``tensor``, ``images`` that leave its range, ``expected`` to, ``share`` of its values
        outside, ``p_value`` (corrected); None if images of one kind may do so too.
    """
    rows = {name: row for row, name in enumerate(observation.names)}
    tests = []
    for name, item in found.items():
        if name not in rows:
            continue
        low, high = observation.low[:, rows[name]], observation.high[:, rows[name]]
        slack = TOLERANCE * max(float(high.max() - low.min()), 1e-12)
        below, above = np.array(item.low), np.array(item.high)
        leaving = (below < low.min() - slack, above > high.max() + slack)
        images = int((leaving[0] | leaving[1]).sum())
        for calibrated, other, outside in ((low, below, leaving[0]), (high, above, leaving[1])):
            p = min(
                _chance_beyond(int(outside.sum()), len(other), len(calibrated)),
                _chance_of_spread(calibrated, other),
            )
            tests.append((p, name, images))
    if not tests:
        return None
    p, name, images = min(tests)
    corrected = min(1.0, 2 * len(tests) * p)  # two tests of either end
    if corrected >= FALSE_ALARM:
        return None
    others = len(found[name].low)
    return {
        "tensor": name,
        "images": images,
        "expected": 2 * others / (len(observation.low) + 1),
        "share": found[name].share,
        "p_value": corrected,
    }


def _chance_beyond(beyond: int, images: int, calibrated: int) -> float:
    """Chance that so many images or more exceed all that calibrated, if all are of one kind.

    The ``beyond`` largest of all values then have to be among the others: one order of many.
    """
    return math.prod((images - i) / (images + calibrated - i) for i in range(beyond))


def _chance_of_spread(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    from scipy.stats import ks_2samp

    if np.ptp(first) == 0 and np.ptp(second) == 0 and first[0] == second[0]:
        return 1.0  # the zeros of a ReLU
    return float(ks_2samp(first, second).pvalue)


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
