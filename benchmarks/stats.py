"""Order statistics of timings. Times are skewed, so a mean says little."""

from collections.abc import Sequence

import numpy as np


def median(samples: Sequence[float]) -> float:
    """The middle sample."""
    return float(np.median(samples))


def percentile(samples: Sequence[float], percent: float) -> float:
    """The sample below which ``percent`` of them lie, interpolated linearly."""
    return float(np.percentile(samples, percent))
