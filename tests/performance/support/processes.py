"""Runs a command as a user would, and watches its whole process tree."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.errors import EdgeError

SCRIPTS: Final = Path(__file__).parents[1]


@dataclass(frozen=True)
class Finished:
    """A command that ended well.

    Attributes:
        seconds: Wall time.
        peak_bytes: Most memory of all its processes together, sampled five times a second;
            what several of them share counts once (proportional set size). 0 of one that ended
            before the first sample.
        output: Its stdout.
    """

    seconds: float
    peak_bytes: int
    output: str


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Finished:
    """Run a command to its end; its messages are shown only if it fails.

    Compiled modules are kept, as those of an installed edge are, whatever
    PYTHONDONTWRITEBYTECODE says here.

    Raises:
        EdgeError: It ended with another code than 0.
    """
    variables = {**os.environ, **(environment or {})}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    started = time.monotonic()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=variables,
    )
    peak, ended = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.2):
            peak = max(peak, sum(resident(pid) for pid in tree(process.pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, messages = process.communicate()
    seconds = time.monotonic() - started  # without what the watcher still sleeps
    ended.set()
    watcher.join()
    if process.returncode:
        raise EdgeError(f"{' '.join(command)} ended with {process.returncode}:\n{messages[-2000:]}")
    return Finished(seconds, peak, output)


def run_support(module: str, *arguments: str) -> Finished:
    """Run a module of this package, in a process of its own."""
    path = os.pathsep.join([str(SCRIPTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    return run([sys.executable, "-m", f"support.{module}", *arguments], {"PYTHONPATH": path})


def tree(root: int) -> list[int]:
    """A process and all its descendants."""
    found = [root]
    for pid in found:
        try:
            for task in Path(f"/proc/{pid}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue
    return found


def resident(pid: int) -> int:
    """Bytes of a process's proportional set size, as /proc/PID/smaps_rollup counts them."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
