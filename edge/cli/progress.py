"""Draws the stages of a job on standard error: bars on a terminal, lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from edge.progress import Progress, Silent, Step
from edge.runtime.printable import one_line
from edge.runtime.streams import say

EVERY_SECONDS: Final = 10.0  # between two lines of one stage, where there is no terminal


def shown_progress(*, quiet: bool = False) -> Progress:
    """Bars on a terminal, plain lines in a log, nothing if quiet."""
    if quiet:
        return Silent()
    return Bars() if sys.stderr.isatty() else Lines()


class Bars:
    """One line per stage, redrawn in place."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(file=sys.stderr)

    @contextmanager
    def stage(self, title: str, total: int | None = None) -> Iterator[Step]:
        """See ``Progress``."""
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress

        columns = [
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description:<20}", markup=False),
        ]
        if total is not None:
            columns += [BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
        columns.append(TimeElapsedColumn())
        with RichProgress(*columns, console=self._console) as bars:
            task = bars.add_task(one_line(title), total=total)
            yield lambda count: bars.advance(task, count)
            known = bars.tasks[0].completed if total is not None else 1
            bars.update(task, total=known, completed=known)

    def note(self, text: str) -> None:
        """See ``Progress``."""
        said = f"note: {one_line(text)}"
        self._console.print(said, markup=False, highlight=False, emoji=False)


class Lines:
    """One line when a stage starts, one when it ends, and one now and then in between."""

    @contextmanager
    def stage(self, title: str, total: int | None = None) -> Iterator[Step]:
        """See ``Progress``."""
        started = shown = time.monotonic()
        done = 0
        say(f"{title} ...", err=True)

        def step(count: int) -> None:
            nonlocal done, shown
            done += count
            if time.monotonic() - shown >= EVERY_SECONDS:
                shown = time.monotonic()
                known = f"/{total}" if total is not None else ""
                say(f"{title}: {done}{known}", err=True)

        yield step
        counted = f" {done}" if done else ""
        seconds = time.monotonic() - started
        say(f"{title}:{counted} done in {seconds:.1f} s", err=True)

    def note(self, text: str) -> None:
        """See ``Progress``."""
        say(f"note: {text}", err=True)
