"""Start-up: ``edge --help`` against a bare ``import typer``, in turn, in fresh processes.

    python tests/performance/startup.py [--rounds 15]

The ratios are the medians of those of each round. Bars: 1.8 and 2.5.
"""

import argparse
import statistics
import sys
from typing import Final

from support.processes import run
from support.script import Report, Script

BARE: Final = "import typer"
COMMANDS: Final = {
    BARE: [sys.executable, "-c", "import typer"],
    "edge --help": [sys.executable, "-m", "edge", "--help"],
    "edge build --help": [sys.executable, "-m", "edge", "build", "--help"],
}
BARS: Final = {"edge --help": 1.8, "edge build --help": 2.5}


def main() -> int:
    """Measure and print; see ``support.script`` for the exit codes."""
    script = Script(__doc__)
    script.amount("--rounds", 15, 1, "of fresh processes")
    return script.run(_measure)


def _measure(options: argparse.Namespace, report: Report) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(options.rounds + 1):
        for name, command in COMMANDS.items():
            measured = run(command).seconds
            if number:  # the first round reads the files from the disk
                seconds[name].append(measured)
    for name, values in seconds.items():
        report.say(f"{name:<20} {1e3 * statistics.median(values):4.0f} ms")
    for name, bar in BARS.items():
        ratios = [one / bare for one, bare in zip(seconds[name], seconds[BARE], strict=True)]
        report.bar(name, statistics.median(ratios), at_most=bar, unit="times")
    report.figures["seconds"] = seconds


if __name__ == "__main__":
    sys.exit(main())
