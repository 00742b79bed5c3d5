"""Which paths to a processor work on this machine, each tried in a process of its own."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.accelerators.base import Device, EngineSettings
from benchmarks.accelerators.table import ACCELERATORS, Accelerator
from benchmarks.request import probe
from edge.errors import EdgeError
from edge.progress import Progress

SCHEMA_VERSION: Final = 1
TIMEOUT: Final = 60.0  # seconds, of one path: TensorFlow alone takes ten to import on a slow board


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """What became of the attempt to use one path.

    Attributes:
        accelerator: The path.
        device: The processor that answered; None if none did.
        reason: Why none did, in one sentence; empty if one did.
        hint: The way out, in one sentence; may be empty.
    """

    accelerator: Accelerator
    device: Device | None = None
    reason: str = ""
    hint: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return what is known as JSON values."""
        path = self.accelerator
        return {
            "name": path.name,
            "unit": path.unit.value,
            "formats": list(path.formats),
            "packages": list(path.packages),
            "estimate": path.estimate,
            "available": self.device is not None,
            "device": self.device.name if self.device else None,
            "label": self.device.label.value if self.device else None,
            "reason": self.reason,
            "hint": self.hint,
            "get": path.get,
        }


def survey(
    settings: EngineSettings,
    pythons: Mapping[str, Path],
    progress: Progress,
    *,
    timeout: float = TIMEOUT,
) -> tuple[Availability, ...]:
    """Try every path of the table, some at a time.

    Args:
        settings: The delegate and its options.
        pythons: Interpreters of other environments, by the name of the path; this one otherwise.
        progress: Told of every path.
        timeout: The time of one path, in seconds; one that takes longer does not work.

    Returns:
        What became of each path, in the order of the table.
    """
    tried: dict[str, Availability] = {}
    with (
        progress.stage("accelerators", len(ACCELERATORS)) as step,
        ThreadPoolExecutor(max_workers=(os.cpu_count() or 1) + 1) as pool,
    ):
        # From the end of the table, where TensorFlow stands, which takes longest to import.
        jobs = [
            pool.submit(_try, path, settings, pythons.get(path.name), timeout)
            for path in reversed(ACCELERATORS.values())
        ]
        try:
            for job in as_completed(jobs):
                finding = job.result()
                tried[finding.accelerator.name] = finding
                step(1)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return tuple(tried[name] for name in ACCELERATORS)


def _try(
    path: Accelerator, settings: EngineSettings, python: Path | None, timeout: float
) -> Availability:
    try:
        return Availability(accelerator=path, device=probe(path, settings, python, timeout))
    except EdgeError as error:  # not there, crashed, hung: each is an answer
        return Availability(accelerator=path, reason=error.message, hint=error.hint)
