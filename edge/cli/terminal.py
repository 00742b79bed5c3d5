"""Standard error: messages and progress for people, and the noise of native libraries kept out."""

import os
import re
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, TextIO

from edge.errors import EdgeError, cause_of, refused_place
from edge.progress import Progress, Silent, Step
from edge.runtime.printable import one_line
from edge.runtime.streams import MessageStream, say, visible_streams

INTERRUPTED: Final = 130
UNEXPECTED: Final = 4
CHATTER: Final = ("WARNING:absl:", "INFO:absl:", "WARNING:tensorflow:", "INFO:tensorflow:")


class OwnWords(MessageStream):
    """Standard error without the messages of libraries, which go to file descriptor 2."""

    def write(self, text: str) -> int:
        """Write a text, unless a library says it."""
        if text.startswith(CHATTER):
            _log(text)
            return len(text)
        return super().write(text)


@contextmanager
def captured_native_output() -> Iterator[BinaryIO]:
    """Send what libraries write to standard error to a temporary file; edge's own still shows.

    TensorFlow, MLIR and the interpreters write start-up chatter straight to file descriptor 2;
    Keras and numpy warn, absl logs. ``EDGE_DEBUG=1`` lets it through.
    """
    with visible_streams(), tempfile.TemporaryFile(prefix="edge-log-") as log:
        if os.environ.get("EDGE_DEBUG"):
            yield log
            return
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        original, warned = sys.stderr, warnings.showwarning
        shown = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="replace")
        try:
            os.dup2(log.fileno(), 2)
            sys.stderr = OwnWords(shown)
            warnings.showwarning = _log_warning
            yield log
        finally:
            shown.flush()
            os.dup2(shown.fileno(), 2)
            sys.stderr, warnings.showwarning = original, warned


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Log a warning: they are for developers, and what users have to know edge says itself."""
    text = warnings.formatwarning(message, category, filename, lineno, line)
    if file is not None:
        file.write(text)
    else:
        _log(text)


def _log(text: str) -> None:
    """Write to the log of native output; where it cannot grow, the command goes on without."""
    with suppress(OSError):
        os.write(2, text.encode(errors="replace"))


def report_error(error: BaseException) -> int:
    """Print an expected error and its way out, and return the exit code."""
    if isinstance(error, KeyboardInterrupt):
        return report_interrupt()
    if isinstance(error, EdgeError):
        _say_error(error.told)
        if error.hint:  # as it is: it may hold a command, to be copied whole
            say(f"hint: {error.hint}", err=True)
        return error.exit_code
    raise error


def _say_error(text: str) -> None:
    """Say what is wrong, folded by words on a terminal, which would cut words in two."""
    if not sys.stderr.isatty():
        say(f"error: {text}", err=True)
        return
    from edge.cli.output import folded

    columns = shutil.get_terminal_size().columns
    for line in folded(f"error: {text}", columns, "", " " * 4):
        say(line, err=True)


def report_interrupt(hint: str = "") -> int:
    """Say that Ctrl-C ended the command, and return the exit code.

    Args:
        hint: What the command leaves to go on from; empty for nothing.
    """
    say("interrupted", err=True)
    if hint:
        say(f"hint: {hint}", err=True)
    return INTERRUPTED


def report_unexpected(error: Exception, log: BinaryIO) -> int:
    """Print what a bug report needs, without a traceback, and return the exit code."""
    other = "--output or --cache"
    refused = refused_place(error, other) if isinstance(error, OSError) else None
    if refused is not None:
        return report_error(refused)
    if hasattr(error, "format_message"):
        return _report_usage(error)
    cache = _cache_of(error) if isinstance(error, OSError) else None
    if cache is not None:
        print(f"error: the cache {cache} changed while it was used: {error}", file=sys.stderr)
        print("hint: Run the same command again; what is missing is computed.", file=sys.stderr)
        return 2
    what = f"{type(error).__name__}: {error}" if str(error).strip() else type(error).__name__
    say(f"error: unexpected {what}", err=True)
    try:
        details = f"the details are in {_crash_log(error, log)}"
    except OSError as refusal:
        details = f"the details cannot be kept: {cause_of(refusal)}"
    say(f"hint: This is a bug of edge; {details}.", err=True)
    return UNEXPECTED


def _crash_log(error: Exception, log: BinaryIO) -> Path:
    """Write what a bug report needs into a file of its own, and return its path.

    Raises:
        OSError: It cannot be written whole; none is left.
    """
    handle, name = tempfile.mkstemp(prefix="edge-crash-", suffix=".log")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as stream:
            traceback.print_exception(error, file=stream)
            log.seek(0)
            stream.write("\nnative output:\n" + log.read().decode(errors="replace"))
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)


def _cache_of(error: OSError) -> Path | None:
    """Return the cache in use that a missing or strange file lies in."""
    from edge.cache import lies_in_cache  # most commands use none

    return lies_in_cache(error.filename)


def _report_usage(error: Any) -> int:
    """Print an error of typer, which has its own text, and return its exit code."""
    message = error.format_message().strip()
    code = int(getattr(error, "exit_code", 2))
    if type(error).__name__ == "NoArgsIsHelpError":  # no command was named: the message is help
        print(message, file=sys.stderr)
        return code
    # Pydantic, which checks values for typer, puts its own class before a message, and its
    # messages do not say what was found.
    message = message.replace(": Value error, ", ": ")
    message = re.sub(
        r"Got unexpected extra argument\S* \((.*)\)", r"The command takes no \1", message
    )
    cause = getattr(error.__cause__, "errors", None)
    if cause is not None and message.find("Input should") >= 0:
        message += f", found {cause()[0].get('input')!r}"
    say(f"error: {message or 'the command line cannot be understood'}", err=True)
    say("hint: Add --help to see the options.", err=True)
    return code


EVERY_SECONDS: Final = 10.0  # between two lines of one stage, where there is no terminal


def shown_progress(*, quiet: bool = False) -> Progress:
    """Return what shows progress: bars on a terminal, lines in a log, notes alone if quiet."""
    if quiet:
        return Notes()
    return StageBars() if sys.stderr.isatty() else StageLines()


class Notes(Silent):
    """Shows what a user should know, and nothing else."""

    def note(self, text: str) -> None:
        """See ``Progress``."""
        say(f"note: {text}", err=True)


class StageBars:
    """Shows each stage as one line that is redrawn in place."""

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

    def inform(self, text: str) -> None:
        """See ``Progress``."""
        self.note(text)


class StageLines:
    """Shows a line when a stage starts, one when it ends, and one now and then in between."""

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

    def inform(self, text: str) -> None:
        """See ``Progress``."""
        self.note(text)
