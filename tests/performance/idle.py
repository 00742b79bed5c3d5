"""What ``watch`` costs at rest, with many answered pictures in its folder, and how soon it answers.

    python tests/performance/idle.py [--pictures 10000] [--seconds 20]

1. At rest: CPU time of the process by /proc/PID/stat, at most 1 % of a core.
2. A new picture among them: from its rename to its answer, at most 1.5 seconds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from PIL import Image
from support.script import Report, Script

from edge.errors import EdgeError

ROOT: Final = Path(__file__).parents[2]
INTERVAL: Final = 0.25  # seconds between two looks: what the service takes by itself
MOST_SHARE: Final = 0.01  # of a core
MOST_SECONDS: Final = 1.5  # two looks, and two readings of all names
PATIENCE: Final = 120.0  # seconds


def main() -> int:
    """Measure and print; see ``support.script`` for the exit codes."""
    script = Script(__doc__)
    script.amount("--pictures", 10_000, 30, "that are answered already")
    script.amount("--seconds", 20.0, 0.5, "at rest")
    return script.run(_measure)


def _measure(options: argparse.Namespace, report: Report) -> None:
    from tests.unit.golden_bundle import golden_bundle

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inbox = folder / "inbox"
        inbox.mkdir()
        for number in range(options.pictures):
            (inbox / f"{number:06d}.png").touch()
            (inbox / f"{number:06d}.png.json").touch()
        share, latency = _measured(golden_bundle(folder / "bundle"), inbox, options.seconds)
    report.bar("processor at rest", 100 * share, at_most=100 * MOST_SHARE, unit="% of a core")
    report.bar("a new picture to its answer", latency, at_most=MOST_SECONDS, unit="s")


def _measured(bundle: Path, inbox: Path, seconds: float) -> tuple[float, float]:
    """Share of a core at rest, and seconds from a new picture to its answer."""
    command = [sys.executable, "-m", "edge.runtime", "watch", str(inbox), "--bundle", str(bundle)]
    command += ["--interval", str(INTERVAL)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as service:
        try:
            latencies = [_latency(inbox, f"new{number}.png") for number in range(6)][1:]
            time.sleep(2.0)
            before = _cpu(service.pid)
            time.sleep(seconds)
            share = (_cpu(service.pid) - before) / seconds
        finally:
            service.terminate()
    return share, statistics.median(latencies)


def _cpu(pid: int) -> float:
    """Seconds of CPU time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _latency(inbox: Path, name: str) -> float:
    """Seconds from the moment that a picture has its name to that at which it has its answer."""
    hidden = inbox / f".{name}"
    Image.new("RGB", (64, 64), (255, 0, 0)).save(hidden, "PNG")
    answer = inbox / f"{name}.json"
    began = time.monotonic()
    hidden.rename(inbox / name)
    while not answer.exists():
        if time.monotonic() > began + PATIENCE:
            raise EdgeError(f"no answer came within {PATIENCE:g} s")
        time.sleep(0.005)
    json.loads(answer.read_text())
    return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
