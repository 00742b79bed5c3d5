"""Runs the fuzz outside of pytest: all of it, one kind, or one case again."""

import argparse
import fcntl
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from benchmarks.environment import environment
from tests.fuzz.harness import Ended, Figures, Servers, tabled, tried
from tests.fuzz.kinds import KINDS


def main() -> int:
    """Run what was asked for; 1 if something happened that must not."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--cases", type=int, default=500, help="cases of each kind")
    parser.add_argument("--case", type=int, help="run this case alone")
    parser.add_argument("--seed", type=int, default=0, help="of all cases")
    parser.add_argument("--fresh", type=int, default=25, help="every so many, Python starts anew")
    parser.add_argument("--keep", type=Path, help="folder for the cases with a fault")
    parser.add_argument("--table", type=Path, help="document whose table gets the figures")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="edge-fuzz-"))
    folder.mkdir(parents=True, exist_ok=True)
    faults = 0
    with Servers(folder) as servers:
        for name in options.kinds or KINDS:
            kind = KINDS[name]
            numbers = range(options.cases) if options.case is None else [options.case]
            fresh = options.fresh if options.case is None else 0
            server = servers.of(kind)
            ended = list(tried(kind, server, seed=options.seed, numbers=numbers, fresh=fresh))
            found = Figures.of(ended)
            print(found.row(), flush=True)
            _print_faults(ended, folder)
            faults += found.faults
            if options.table is not None:
                _write(options.table, found)
    return 1 if faults else 0


def _print_faults(ended: Sequence[Ended], folder: Path) -> None:
    for item in ended:
        if item.fault:
            print(f"  case {item.number}: {item.fault}\n    {' '.join(item.words)[:300]}")
    if any(item.fault for item in ended):
        print(f"  the files lie in {folder}", flush=True)


def _write(document: Path, found: Figures) -> None:
    """Several runs may write rows of one document."""
    machine = environment()["cpu"]
    made = (
        f"Made on {date.today()} by `python -m tests.fuzz --table docs/reliability.md`, with "
        f"Python {platform.python_version()} on {os.cpu_count()} CPUs ({machine['model']})."
    )
    with document.open("r+", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        text = tabled(stream.read(), found.row(), made)
        stream.seek(0)
        stream.truncate()
        stream.write(text)


sys.exit(main())
