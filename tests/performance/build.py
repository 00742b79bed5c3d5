"""A whole ``edge build`` against what a user would do by hand, on the same pictures, in turn.

    EDGE_TEST_DATA=FOLDER python tests/performance/build.py [--rounds 3]

By hand (``support/by_hand.py``) is one process that trains, converts and scores. ``edge build`` is
a fresh process with an empty cache that does as much, and more: it corrects int8, audits the
calibration, times the files in turn and writes a sealed bundle.

1. The whole build is at least 5 times as fast as by hand (median of the rounds' ratios).
2. A second build with another head takes at most 10 seconds.
3. No file of edge loses more than one point of top-1 against the float file by hand.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any, Final

from support.data import rounds_on_photos
from support.processes import run, run_support
from support.script import Report, Script

MOST: Final = 0.2  # of the time by hand: 5 times as fast
SECOND_SECONDS: Final = 10.0
MOST_POINTS: Final = 1.0


def main() -> int:
    """Measure and print; see ``support.script`` for the exit codes."""
    script = Script(__doc__)
    script.amount("--rounds", 3, 1, "of both in turn")
    script.amount("--epochs", 5, 1, "of the training by hand")
    return script.run(_measure)


def _measure(options: argparse.Namespace, report: Report) -> None:
    rounds = rounds_on_photos(options, report, _round)
    for key in ("hand_seconds", "edge_seconds", "second_seconds", "peak_bytes", "points_lost"):
        report.figures[key] = [one[key] for one in rounds]
    report.figures["steps_by_hand"] = [one["steps"] for one in rounds]
    report.figures["stages"] = [one["stages"] for one in rounds]
    ratios = [one["edge_seconds"] / one["hand_seconds"] for one in rounds]
    report.bar("edge / by hand", statistics.median(ratios), at_most=MOST, unit="times")
    second = statistics.median(one["second_seconds"] for one in rounds)
    report.bar("a second build with another head", second, at_most=SECOND_SECONDS, unit="s")
    lost = max(one["points_lost"] for one in rounds)
    report.bar("top-1 below the float file by hand", lost, at_most=MOST_POINTS, unit="points")


def _round(pictures: Path, folder: Path, epochs: str, report: Report) -> dict[str, Any]:
    files = folder / "by hand"
    files.mkdir()
    few = ["--float"] if report.smoke else []
    hand = run_support("by_hand", str(pictures), str(files), epochs, *few)
    by_hand = json.loads(hand.output.splitlines()[-1])  # the converters print as well
    report.say(f"by hand: {hand.seconds:.1f} s ({_steps(by_hand['seconds'])})")
    command = [sys.executable, "-m", "edge", "build", str(pictures), "--json", "--quiet"]
    if report.smoke:
        command += ["--size", "32", "--variants", "tflite-fp32,onnx-fp32"]
    cache = {"EDGE_CACHE": str(folder / "cache")}
    built = run([*command, "--output", str(folder / "bundle")], cache)
    first = json.loads(built.output)
    report.say(f"edge build: {built.seconds:.1f} s ({_steps(first['stages'])})")
    other = run([*command, "--output", str(folder / "other"), "--head", "64"], cache)
    report.say(f"with another head: {other.seconds:.1f} s")
    lowest = min(variant["top1"] for variant in first["variants"])
    return {
        "hand_seconds": hand.seconds,
        "edge_seconds": built.seconds,
        "second_seconds": other.seconds,
        "peak_bytes": built.peak_bytes,
        "points_lost": round(100 * (by_hand["top1"]["fp32.tflite"] - lowest), 6),
        "steps": by_hand["seconds"],
        "stages": first["stages"],
    }


def _steps(seconds: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in seconds.items())


if __name__ == "__main__":
    sys.exit(main())
