"""What the worst pictures take: the largest that are decoded, and those that are refused.

    python tests/performance/decode_bounds.py [--only TEXT ...] [--seconds 2]

Each picture is made here and read in a fresh process as the runner reads it (decoded, turned and
resized to 224 x 224), after an ordinary one: a JPEG of 12 megapixels. Memory is the most that the
process ever holds beyond what it holds for the ordinary one, seconds are of one core beyond it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image
from support.bombs import hostile, largest
from support.script import Report, Script

from edge.runtime.image_bounds import ORDINARY_BYTES

SECONDS: Final = 2.0
MEMORY: Final = 256 << 20  # bytes
DEAR: Final = ("AVIF", "WebP", "progressive")  # what ORDINARY_BYTES are for
TIMEOUT: Final = 120.0
_CHILD: Final = """
import json, pathlib, sys, time
from edge.errors import ImageError
from edge.runtime.preprocess import load
from edge.runtime.contract import Preprocessing
from edge.runtime.timing import peak_memory
spec, found = Preprocessing(height=224, width=224), []
for path in sys.argv[1:]:
    start, outcome = time.process_time(), "decoded"
    try:
        load(pathlib.Path(path), spec)
    except ImageError as error:
        outcome = "refused: " + error.message.removeprefix(f"{path}: ")
    found.append((peak_memory(), time.process_time() - start, outcome))
(plain, once, _), (peak, seconds, outcome) = found
print(json.dumps([peak - plain, max(0.0, seconds - once), outcome]))
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one picture took beyond an ordinary one.

    Attributes:
        memory: Bytes.
        seconds: Of one core.
        outcome: ``decoded``, or why it was refused.
    """

    memory: int
    seconds: float
    outcome: str


def main() -> int:
    """Measure and print; see ``support.script`` for the exit codes."""
    script = Script(__doc__)
    script.amount(
        "--only", [""], ["palette", "400 MP"], "texts in the names of pictures", nargs="+"
    )
    script.amount("--seconds", SECONDS, SECONDS, "that a picture may take")
    return script.run(_measure)


def _measure(options: argparse.Namespace, report: Report) -> None:
    report.say(f"{'picture':<34}{'file':>10}{'memory':>10}{'seconds':>9}  outcome")
    beyond: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        ordinary = Path(name, "ordinary.jpg")
        Image.new("RGB", (4000, 3000)).save(ordinary)
        for kinds, is_refused in ((largest(), False), (hostile(), True)):
            for kind, make in kinds.items():
                if any(text in kind for text in options.only):
                    path = Path(name, "picture")
                    path.write_bytes(make())
                    cost = measure(path, ordinary)
                    if not _met(kind, path, cost, is_refused, options.seconds, report):
                        beyond.append(kind)
    report.figures["beyond"] = beyond
    report.bar("pictures that take more, or end otherwise", len(beyond), at_most=0)


def measure(path: Path, ordinary: Path) -> Cost:
    """Read a picture in a fresh process, after an ordinary one."""
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, ordinary, path],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    if done.returncode:
        return Cost(0, 0.0, f"ended by {done.returncode}: {done.stderr[-200:]}")
    return Cost(*json.loads(done.stdout))


def _met(
    kind: str, path: Path, cost: Cost, is_refused: bool, seconds: float, report: Report
) -> bool:
    """Print a row; whether it is within the bars."""
    most = ORDINARY_BYTES if any(name in kind for name in DEAR) else MEMORY
    expected = cost.outcome.startswith("refused" if is_refused else "decoded")
    met = expected and cost.memory <= most and cost.seconds <= seconds
    report.say(
        f"{kind:<34}{path.stat().st_size / 1e6:>7.2f} MB{cost.memory / 1e6:>7.0f} MB"
        f"{cost.seconds:>9.2f}  {'' if met else 'NOT MET: '}{cost.outcome[:90]}"
    )
    return met


if __name__ == "__main__":
    sys.exit(main())
