"""The runner of a bundle against a loop by hand (Pillow and LiteRT's interpreter), in one run.

    python tests/performance/runner.py [BUNDLE] [--rounds 9]

BUNDLE has a tflite-int8 of 224 x 224; without one, MobileNet is exported first (a minute or two).
Both sides run in fresh processes, in turn, on one thread, on the same JPEG of 640 x 480.

1. End to end (file to three best classes): at most 1.1 times the loop by hand.
2. Cold start (new process to first label): at most 1.25 times.
3. Resident memory: at most 1.15 times.
4. Pre- and post-processing of the decoded picture: under 10 % of the inference.
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

from edge.runtime.bundle import Bundle
from edge.runtime.commands.bench import made_jpeg

SUPPORT: Final = Path(__file__).with_name("support")
VARIANT: Final = "tflite-int8"
ANSWERS: Final = 100  # of one process
COLD_STARTS: Final = 3  # of one round
LARGE: Final = (4000, 3000)  # width, height of a phone's photo
TIMEOUT: Final = 300.0  # seconds, of one process


@dataclass(frozen=True, slots=True)
class Bar:
    """A ratio and the most that it may be."""

    name: str
    most: float


END_TO_END: Final = Bar("end to end", 1.1)
COLD: Final = Bar("cold start", 1.25)
MEMORY: Final = Bar("resident memory", 1.15)
PROCESSING: Final = Bar("pre- and post-processing / inference", 0.1)


def main() -> int:
    """Measure and print; exit code 1 if a bar is not met."""
    options = _options()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = options.bundle or exported(folder, f"{VARIANT},tflite-fp32")
        jpeg = folder / "picture.jpg"
        jpeg.write_bytes(made_jpeg())
        large = folder / "large.jpg"
        with Image.open(jpeg) as image:
            image.resize(LARGE).save(large, quality=90)
        sides = Sides(bundle, folder)
        passed = [*_against_hand(sides, jpeg, options.rounds), _processing(sides, options.rounds)]
        _large(sides, large)
    return 0 if all(passed) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, nargs="?", help="a bundle with tflite-int8")
    parser.add_argument("--rounds", type=int, default=9, help="of fresh processes")
    return parser.parse_args()


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


def _against_hand(sides: Sides, jpeg: Path, rounds: int) -> list[bool]:
    """Rounds of both sides in turn; each round begins with the other one."""
    answers: dict[str, list[float]] = {"hand": [], "edge": []}
    memory: dict[str, list[float]] = {"hand": [], "edge": []}
    cold: dict[str, list[float]] = {"hand": [], "edge": []}
    for side in ("hand", "edge"):  # compiled files and page cache
        getattr(sides, side)(0, jpeg)
    for number in range(rounds):
        order = ("hand", "edge") if number % 2 else ("edge", "hand")
        for side in order:
            *seconds, resident = map(float, getattr(sides, side)(ANSWERS, jpeg).split())
            answers[side].append(statistics.median(seconds))
            memory[side].append(resident * 1024)
        for _ in range(COLD_STARTS):
            for side in order:
                began = time.perf_counter()
                getattr(sides, side)(0, jpeg)
                cold[side].append(time.perf_counter() - began)
    return [
        _judged(END_TO_END, answers, 1e3, "ms"),
        _judged(COLD, cold, 1e3, "ms"),
        _judged(MEMORY, memory, 1e-6, "MB"),
    ]


def _judged(bar: Bar, found: dict[str, list[float]], factor: float, unit: str) -> bool:
    """Median over the rounds of the ratio within a round: what slows both down cancels out."""
    ratio = statistics.median(
        edge / hand for edge, hand in zip(found["edge"], found["hand"], strict=True)
    )
    hand, edge = (factor * statistics.median(found[side]) for side in ("hand", "edge"))
    met = ratio <= bar.most
    print(
        f"{bar.name:18} by hand {hand:7.2f} {unit}, edge {edge:7.2f} {unit}: {ratio:.3f} times, "
        f"at most {bar.most:g}: {'met' if met else 'MISSED'}",
        flush=True,
    )
    return met


def _processing(sides: Sides, rounds: int) -> bool:
    shares = []
    for _ in range(rounds):
        steps = sides.bench(60)
        own = steps["preprocess"]["p50"] + steps["postprocess"]["p50"]
        shares.append((own / steps["invoke"]["p50"], own, steps["invoke"]["p50"]))
    share, own, invoke = sorted(shares)[len(shares) // 2]
    met = share < PROCESSING.most
    print(
        f"{PROCESSING.name}: {1e3 * own:.3f} ms / {1e3 * invoke:.3f} ms = {100 * share:.1f} %, "
        f"under {100 * PROCESSING.most:g} %: {'met' if met else 'MISSED'}",
        flush=True,
    )
    return met


def _large(sides: Sides, large: Path) -> None:
    """No bar: what decoding at a reduced scale is worth."""
    seconds = {}
    for side in ("hand", "edge"):
        *samples, _ = map(float, getattr(sides, side)(10, large).split())
        seconds[side] = statistics.median(samples)
    print(
        f"a photo of {LARGE[0]} x {LARGE[1]}: by hand {1e3 * seconds['hand']:.0f} ms, edge "
        f"{1e3 * seconds['edge']:.0f} ms"
    )


if __name__ == "__main__":
    sys.exit(main())
