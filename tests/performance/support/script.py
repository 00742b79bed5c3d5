"""What all measuring scripts share: ``--smoke`` and ``--json``, their bars, and how they end.

They exit with 0 if every bar is met, 1 if one is missed, 2 where this machine lacks what they
measure, 4 if a step failed, and 130 after Ctrl-C. A smoke run takes the least of everything, only
to tell that the script still runs: its figures mean nothing, so that no bar is judged.
"""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from edge.cli.terminal import INTERRUPTED, report_error
from edge.errors import EdgeError

MISSED: Final = 1
DATA: Final = "EDGE_TEST_DATA"


class NotHere(EdgeError):
    """This machine lacks what the script measures."""

    exit_code = 2

    def __init__(self, reason: str) -> None:
        super().__init__(f"not to be measured here: {reason}")


def data_with(*names: str) -> Path:
    """Return the folder of pictures and models, which has to hold files or folders of these names.

    Raises:
        NotHere: The variable of the environment that names it is not set, or one is missing.
    """
    folder = os.environ.get(DATA)
    if not folder:
        raise NotHere(f"{DATA} is not set; it names the folder of pictures and models")
    for name in names:
        if not Path(folder, name).exists():
            raise NotHere(f"{DATA} has no {name}")
    return Path(folder).resolve()


class Report:
    """What a script finds: lines as soon as they are known, and figures for other programs.

    Args:
        smoke: No bar is judged.
        as_json: The figures go to stdout at the end, and the lines to stderr.
    """

    def __init__(self, *, smoke: bool = False, as_json: bool = False) -> None:
        self.smoke = smoke
        self.figures: dict[str, Any] = {}
        self.bars: dict[str, dict[str, Any]] = {}
        self._as_json = as_json

    def say(self, text: str) -> None:
        """Print a line at once."""
        print(text, file=sys.stderr if self._as_json else sys.stdout, flush=True)

    def bar(
        self,
        name: str,
        value: float,
        *,
        at_most: float | None = None,
        at_least: float | None = None,
        unit: str = "",
    ) -> None:
        """Print a value beside its bar, and whether it is met.

        Args:
            name: What the value is.
            value: In the unit; not a number misses any bar.
            at_most: The bar; there is either this one or the other.
            at_least: The bar.
            unit: What follows the numbers.
        """
        if (at_most is None) == (at_least is None):
            raise ValueError("a bar is either the most or the least")
        word, limit = ("at most", at_most) if at_least is None else ("at least", at_least)
        assert limit is not None
        exact = round(value, 9)  # a difference of binary fractions misses no bar
        met = exact <= limit if at_least is None else exact >= limit
        said = "not judged in a smoke run" if self.smoke else "met" if met else "MISSED"
        after = f" {unit}".rstrip()
        self.say(f"bar: {name}: {value:.4g}{after}, {word} {limit:.4g}{after}: {said}")
        judged = None if self.smoke else met
        key = word.replace(" ", "_")
        self.bars[name] = {"value": value, key: limit, "unit": unit, "met": judged}

    def end(self) -> int:
        """Print what remains to be said; returns the exit code."""
        missed = [name for name, one in self.bars.items() if one["met"] is False]
        if self._as_json:
            print(json.dumps({**self.figures, "bars": self.bars}, indent=2))
        self.say(
            "a smoke run: no bar is judged"
            if self.smoke
            else f"MISSED: {', '.join(missed)}"
            if missed
            else "every bar is met"
        )
        return MISSED if missed else 0


class Script:
    """The command line of a script.

    Args:
        description: The docstring of its file.
    """

    def __init__(self, description: str | None) -> None:
        self.parser = argparse.ArgumentParser(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        self.parser.add_argument(
            "--smoke", action="store_true", help="run through with the least of everything"
        )
        self.parser.add_argument("--json", action="store_true", help="print one JSON document")
        self._amounts: dict[str, tuple[Any, Any]] = {}

    def amount(self, name: str, usual: Any, smoke: Any, help: str, **more: Any) -> None:
        """Add an option that a smoke run takes less of.

        Args:
            name: Of the option, such as ``--rounds``.
            usual: Its value by default, which says its type.
            smoke: Its value by default in a smoke run.
            help: What it is; the usual value is added.
            more: For ``add_argument``.
        """
        kind = type(usual[0] if isinstance(usual, list) else usual)
        shown = " ".join(map(str, usual)) if isinstance(usual, list) else usual
        self.parser.add_argument(name, type=kind, help=f"{help} ({shown})", **more)
        self._amounts[name.removeprefix("--").replace("-", "_")] = usual, smoke

    def run(self, measure: Callable[[argparse.Namespace, Report], None]) -> int:
        """Read the options, measure, and return the exit code."""
        options = self.parser.parse_args()
        for name, (usual, smoke) in self._amounts.items():
            if getattr(options, name) is None:
                setattr(options, name, smoke if options.smoke else usual)
        report = Report(smoke=options.smoke, as_json=options.json)
        try:
            # Other packages print to stdout, where the document is to be alone.
            with contextlib.redirect_stdout(sys.stderr if options.json else sys.stdout):
                measure(options, report)
        except EdgeError as error:
            return report_error(error)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return INTERRUPTED
        return report.end()
