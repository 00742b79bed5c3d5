"""Order statistics of timings. Times are skewed, so a mean says little."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.result import Stability

FEWEST: Final = 10  # below, a 95 % interval of the median spans all but the two outermost samples
TAIL: Final = 100  # samples for a p99: at least one of them lies above it
BLOCKS: Final = 12  # of a run; a burst of other work falls into one or two of them
# Half of the samples are further off than this: the median of 50 is then only known to about 2.6 %
# (1.96 * 1.253 * 1.4826 * 0.05 / sqrt(50), as if normal), nearly the 3 % that ``verdict`` calls
# the same.
SCATTER: Final = 0.05
# One sample in twenty takes half as long again: something else ran.
OUTLYING: Final = 1.5
DRIFT: Final = 0.05  # twice the uncertainty of a level that is quiet by ``SCATTER``


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The statistics of samples, in seconds.

    Attributes:
        runs: The number of samples.
        median: The median.
        mad: The median absolute deviation from the median, not multiplied by 1.4826.
        mean: The arithmetic mean.
        minimum: The smallest sample.
        p5: The 5th percentile.
        p90: The 90th percentile.
        p95: The 95th percentile.
        p99: The 99th percentile; None below ``TAIL`` samples, since it would be the largest alone.
        maximum: The largest sample.
    """

    runs: int
    median: float
    mad: float
    mean: float
    minimum: float
    p5: float
    p90: float
    p95: float
    p99: float | None
    maximum: float


def median(samples: Sequence[float]) -> float:
    """Return the median."""
    return float(np.median(samples))


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return the percentile, interpolated linearly."""
    return float(np.percentile(samples, percent))


def mad(samples: Sequence[float]) -> float:
    """Return the median absolute deviation, not scaled to a standard deviation."""
    return float(np.median(np.abs(np.asarray(samples) - np.median(samples))))


def throughput(samples: Sequence[float], batch: int) -> float:
    """Return images per second at the median."""
    return batch / median(samples)


def summary(samples: Sequence[float]) -> Summary:
    """Return all statistics of one or more samples."""
    p5, p90, p95, p99 = np.percentile(samples, [5, 90, 95, 99]).tolist()
    return Summary(
        runs=len(samples),
        median=median(samples),
        mad=mad(samples),
        mean=float(np.mean(samples)),
        minimum=min(samples),
        p5=p5,
        p90=p90,
        p95=p95,
        p99=p99 if len(samples) >= TAIL else None,
        maximum=max(samples),
    )


def stability(samples: Sequence[float]) -> Stability:
    """Return whether the samples are of one steady state.

    They drift if the medians of all blocks of the last third lie on one side of all those of the
    first third, and the thirds differ by more than ``DRIFT`` of the median. By chance alone the
    first happens in 1 of 35 runs (2 / C(8, 4)), the two together less often; a burst of other
    work in the middle or in one block is scatter, not drift.

    They are noisy if the median absolute deviation is over ``SCATTER`` of the median, or p95 over
    ``OUTLYING`` times the median.
    """
    if len(samples) < FEWEST:
        return Stability.TOO_FEW
    middle = median(samples)
    blocks = [median(part.tolist()) for part in np.array_split(samples, min(BLOCKS, len(samples)))]
    third = len(blocks) // 3
    first, last = blocks[:third], blocks[-third:]
    apart = min(last) > max(first) or max(last) < min(first)
    if apart and abs(median(last) - median(first)) > DRIFT * middle:
        return Stability.DRIFTING
    if mad(samples) > SCATTER * middle or percentile(samples, 95) > OUTLYING * middle:
        return Stability.NOISY
    return Stability.STABLE
