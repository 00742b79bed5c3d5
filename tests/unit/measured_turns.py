"""Times of files as if they had been measured in turn."""

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.turns import Turns

PASSES = 20


def turns_of(seconds: Mapping[str, float | Sequence[float]]) -> Turns:
    """Return times of which every pass is given, or the same in all passes."""
    columns = [np.broadcast_to(np.array(value, float), PASSES) for value in seconds.values()]
    return Turns(names=tuple(seconds), medians=np.stack(columns, axis=1), benchmarks={})


def as_fast(*names: str) -> Turns:
    """Return times of files of which none is faster than another."""
    return turns_of(dict.fromkeys(names, 1.0))
