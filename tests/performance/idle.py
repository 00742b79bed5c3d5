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

ROOT: Final = Path(__file__).parents[2]
INTERVAL: Final = 0.25  # seconds between two looks: what the service takes by itself
MOST_SHARE: Final = 0.01  # of a core
MOST_SECONDS: Final = 1.5  # two looks, and two readings of all names
PATIENCE: Final = 120.0  # seconds


def main() -> int:
    """Measure and print; exit code 1 if a bar is not met."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from tests.unit.golden_bundle import golden_bundle

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inbox = folder / "inbox"
        inbox.mkdir()
        for number in range(options.pictures):
            (inbox / f"{number:06d}.png").touch()
            (inbox / f"{number:06d}.png.json").touch()
        return _measured(golden_bundle(folder / "bundle"), inbox, options.seconds)


def _measured(bundle: Path, inbox: Path, seconds: float) -> int:
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
    latency = statistics.median(latencies)
    passed = share <= MOST_SHARE and latency <= MOST_SECONDS
    print(f"at rest {100 * share:.2f} % of a core, at most {100 * MOST_SHARE:.0f} %")
    print(f"a new picture is answered after {latency:.2f} s, at most {MOST_SECONDS:.2f} s")
    print("met" if passed else "MISSED")
    return 0 if passed else 1


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
            raise SystemExit("no answer came")
        time.sleep(0.005)
    json.loads(answer.read_text())
    return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
