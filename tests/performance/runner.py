"""The runner of a bundle against a loop by hand (Pillow and LiteRT's interpreter), in one run.

    python tests/performance/runner.py [BUNDLE] [--rounds 9]

BUNDLE has a tflite-int8 of 224 x 224; without one, MobileNet is exported first (a minute or two).
Both sides run in fresh processes, in turn, on one thread, on the same JPEG of 640 x 480.

1. End to end (file to three best classes): at most 1.1 times the loop by hand.
2. Cold start (new process to first label): at most 1.15 times. Compiled modules are kept, as on a
   device, whatever PYTHONDONTWRITEBYTECODE says here: those of the loop by hand are kept too.
3. Resident memory: at most 1.12 times.
4. Pre- and post-processing of the decoded picture: under 20 % of the inference; 10 % is the aim.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image
from support.data import exported
from support.script import Report, Script

from edge.runtime.bundle import Bundle
from edge.runtime.commands.bench import made_jpeg

SUPPORT: Final = Path(__file__).with_name("support")
VARIANT: Final = "tflite-int8"
COLD_STARTS: Final = 3  # of one round
LARGE: Final = (4000, 3000)  # width, height of a phone's photo
TIMEOUT: Final = 300.0  # seconds, of one process


@dataclass(frozen=True, slots=True)
class Bar:
    """A ratio and the most that it may be."""

    name: str
    most: float


END_TO_END: Final = Bar("end to end", 1.1)
COLD: Final = Bar("cold start", 1.15)
MEMORY: Final = Bar("resident memory", 1.12)
PROCESSING: Final = Bar("pre- and post-processing / inference", 0.2)


def main() -> int:
    """Measure and print; see ``support.script`` for the exit codes."""
    script = Script(__doc__)
    script.parser.add_argument("bundle", type=Path, nargs="?", help="a bundle with tflite-int8")
    script.amount("--rounds", 9, 1, "of fresh processes")
    script.amount("--answers", 100, 2, "of one process")
    return script.run(_measure)


def _measure(options: argparse.Namespace, report: Report) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = options.bundle or exported(folder, f"{VARIANT},tflite-fp32", report)
        jpeg = folder / "picture.jpg"
        jpeg.write_bytes(made_jpeg())
        large = folder / "large.jpg"
        with Image.open(jpeg) as image:
            image.resize(LARGE).save(large, quality=90)
        sides = Sides(bundle, folder)
        _against_hand(sides, jpeg, options, report)
        _processing(sides, options.rounds, report)
        _large(sides, large, report)


class Sides:
    """The two programs, each started the way that a device would."""

    def __init__(self, bundle: Path, folder: Path) -> None:
        self.bundle = bundle.resolve()
        manifest = Bundle.open(self.bundle).manifest
        labels = folder / "labels.txt"
        labels.write_text("".join(f"{label}\n" for label in manifest.labels), encoding="utf-8")
        model = self.bundle / manifest.variant(VARIANT).path
        fraction = str(manifest.preprocessing.crop_fraction)
        self._hand = [str(SUPPORT / "hand_loop.py"), str(model), str(labels)]
        self._fraction = fraction
        # The bundle's own copy, not the one that is installed here.
        self._environ = {**os.environ, "PYTHONPATH": str(self.bundle / "runtime")}
        self._environ.pop("PYTHONDONTWRITEBYTECODE", None)

    def hand(self, count: int, jpeg: Path) -> str:
        """Answer by hand; 0: the first label only."""
        return self._run([*self._hand, str(count), self._fraction, str(jpeg)])

    def edge(self, count: int, jpeg: Path) -> str:
        """The same by the runner."""
        if count:
            loop = str(SUPPORT / "runner_loop.py")
            return self._run([loop, str(self.bundle), VARIANT, str(count), str(jpeg)])
        return self._runtime("predict", str(self.bundle), str(jpeg), "--top-k", "1")

    def bench(self, runs: int) -> dict[str, dict[str, float]]:
        """Seconds of the runner's steps."""
        text = self._runtime("bench", str(self.bundle), "--runs", str(runs), "--json")
        steps: dict[str, dict[str, float]] = json.loads(text)["steps"]
        return steps

    def _runtime(self, *arguments: str) -> str:
        options = ["--variant", VARIANT, "--threads", "1"]
        return self._run(["-P", "-s", "-m", "edge.runtime", *arguments, *options])

    def _run(self, arguments: Sequence[str]) -> str:
        return subprocess.run(
            [sys.executable, *arguments],
            env=self._environ,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=True,
        ).stdout


def _against_hand(sides: Sides, jpeg: Path, options: argparse.Namespace, report: Report) -> None:
    """Rounds of both sides in turn; each round begins with the other one."""
    answers: dict[str, list[float]] = {"hand": [], "edge": []}
    memory: dict[str, list[float]] = {"hand": [], "edge": []}
    cold: dict[str, list[float]] = {"hand": [], "edge": []}
    for side in ("hand", "edge"):  # compiled files and page cache
        getattr(sides, side)(0, jpeg)
    for number in range(options.rounds):
        order = ("hand", "edge") if number % 2 else ("edge", "hand")
        for side in order:
            *seconds, resident = map(float, getattr(sides, side)(options.answers, jpeg).split())
            answers[side].append(statistics.median(seconds))
            memory[side].append(resident * 1024)
        for _ in range(COLD_STARTS):
            for side in order:
                began = time.perf_counter()
                getattr(sides, side)(0, jpeg)
                cold[side].append(time.perf_counter() - began)
    _judge(END_TO_END, answers, 1e3, "ms", report)
    _judge(COLD, cold, 1e3, "ms", report)
    _judge(MEMORY, memory, 1e-6, "MB", report)


def _judge(
    bar: Bar, found: dict[str, list[float]], factor: float, unit: str, report: Report
) -> None:
    """Median over the rounds of the ratio within a round: what slows both down cancels out."""
    ratio = statistics.median(
        edge / hand for edge, hand in zip(found["edge"], found["hand"], strict=True)
    )
    hand, edge = (factor * statistics.median(found[side]) for side in ("hand", "edge"))
    report.say(f"{bar.name:18} by hand {hand:7.2f} {unit}, edge {edge:7.2f} {unit}")
    report.figures[bar.name] = found
    report.bar(bar.name, ratio, at_most=bar.most, unit="times")


def _processing(sides: Sides, rounds: int, report: Report) -> None:
    shares = []
    for _ in range(rounds):
        steps = sides.bench(60)
        own = steps["preprocess"]["p50"] + steps["postprocess"]["p50"]
        shares.append((own / steps["invoke"]["p50"], own, steps["invoke"]["p50"]))
    share, own, invoke = sorted(shares)[len(shares) // 2]
    report.say(f"pre- and post-processing {1e3 * own:.3f} ms, inference {1e3 * invoke:.3f} ms")
    report.figures[PROCESSING.name] = {"own": own, "inference": invoke}
    report.bar(PROCESSING.name, share, at_most=PROCESSING.most)


def _large(sides: Sides, large: Path, report: Report) -> None:
    """No bar: what decoding at a reduced scale is worth."""
    seconds = {}
    for side in ("hand", "edge"):
        *samples, _ = map(float, getattr(sides, side)(10, large).split())
        seconds[side] = statistics.median(samples)
    report.say(
        f"a photo of {LARGE[0]} x {LARGE[1]}: by hand {1e3 * seconds['hand']:.0f} ms, edge "
        f"{1e3 * seconds['edge']:.0f} ms"
    )
    report.figures["large photo"] = {side: [value] for side, value in seconds.items()}


if __name__ == "__main__":
    sys.exit(main())
