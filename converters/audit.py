"""The calibration audit: whether the calibration images cover what the model will meet."""

from collections.abc import Iterable
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from converters.observation import Observation

TOLERANCE: Final = 0.02  # of a range's width, by which it may still grow and be called stable
SETTLED: Final = 0.95  # share of the tensors that have to be stable
HELD_OUT_IMAGES: Final = 32  # looked at for clipping


class Observable(Protocol):
    """A model whose activations can be observed."""

    @property
    def observation(self) -> Observation:
        """Of the calibration images."""
        ...

    def clipped(self, images: Iterable[NDArray[np.float32]]) -> dict[str, float]:
        """Share of each activation's values that lie outside its range."""
        ...


def audit(model: Observable, held_out: Iterable[NDArray[np.float32]]) -> dict[str, Any]:
    """What to know of a calibration, as JSON values.

    Args:
        model: Calibrated.
        held_out: Images that did not calibrate it, as the model's input.

    Returns:
        ``images``; ``stable_after`` images (None if the last images still widened ranges);
        ``clipped_share`` of held-out activations, mean over the tensors, and the
        ``worst_clipped`` tensor with its share.
    """
    observation = model.observation
    shares = model.clipped(held_out)
    worst = max(shares, key=lambda name: shares[name], default=None)
    return {
        "images": len(observation.low),
        "tensors": len(observation.names),
        "stable_after": stable_after(observation),
        "clipped_share": float(np.mean(list(shares.values()))) if shares else None,
        "worst_clipped": None if worst is None else {"tensor": worst, "share": shares[worst]},
    }


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
