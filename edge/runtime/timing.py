"""Seconds and bytes, measured in this process."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

PERCENTILES: Final = (50, 90, 99)


def timed(
    work: Callable[[], object], *, runs: int, warm_up: int = 0, most_seconds: float = float("inf")
) -> list[float]:
    """Measure the seconds of each call.

    Args:
        work: What to time.
        runs: How many calls count.
        warm_up: Calls before them that do not.
        most_seconds: No call is begun after so many; three count in any case.
    """
    for _ in range(warm_up):
        work()
    samples: list[float] = []
    end = time.perf_counter() + most_seconds
    while len(samples) < runs:
        began = time.perf_counter()
        if len(samples) >= 3 and began > end:
            break
        work()
        samples.append(time.perf_counter() - began)
    return samples


def summary(samples: list[float]) -> dict[str, float]:
    """Return runs, least, and percentiles of seconds, for JSON; linear between neighbours."""
    figures = {"runs": len(samples), "min": min(samples)}
    values = np.percentile(samples, PERCENTILES)
    return figures | {f"p{q}": float(value) for q, value in zip(PERCENTILES, values, strict=True)}


def peak_memory() -> int:
    """Return the most resident memory of this process so far, bytes (proc(5), ``VmHWM``).

    Not ``getrusage``: its figure survives ``exec`` and so may be that of the parent.
    """
    return _status("VmHWM")


def resident_memory() -> int:
    """Return the resident memory of this process now, bytes (proc(5), ``VmRSS``)."""
    return _status("VmRSS")


def _status(field: str) -> int:
    for line in (
        Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    ):
        name, _, value = line.partition(":")
        if name == field:
            return 1024 * int(value.split()[0])
    return 0
