"""Standard output and error of commands: names cannot steer a terminal, interpreters are quiet."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from edge.errors import OutputError
from edge.runtime.printable import one_line, visible

# What interpreters say with every start and what no user can act on; warnings and errors stay.
LONGEST: Final = 1 << 20  # bytes that are kept of it
CHATTER: Final = (b"INFO: ", b"I0000 ", b"WARNING: All log messages before absl::")


def _encodable(character: str, encoding: str) -> str:
    """Return the character, or JSON's escape of it.

    The rule of a table is made of hyphens instead.
    """
    if character == "─":
        return "-"
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        units = character.encode("utf-16-be", "surrogatepass").hex()
        return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
    return character


class VisibleStream:
    """A text stream that writes control characters as escapes.

    Where its reader has gone, as ``head`` does, what is written goes nowhere: a command does its
    work all the same and ends with the exit code of that.

    Attributes:
        rich_proxied_file: The stream itself; rich, whose colours are control characters, looks
            for this name.
        left: Whether the reader has gone.
        dispensable: The errors after which what is written goes nowhere.
    """

    dispensable: tuple[type[OSError], ...] = (BrokenPipeError,)

    def __init__(self, stream: Any) -> None:
        self.rich_proxied_file = stream
        self.left = False

    def write(self, text: str) -> int:
        """Write, and return the number of characters.

        Raises:
            OutputError: It cannot be written, as on a full disk.
        """
        if text == "":  # by which click tries streams: it would hide what goes wrong
            return 0
        shown = visible(text)
        try:
            self.rich_proxied_file.write(shown)
        except UnicodeEncodeError:  # a terminal or a log that is not of UTF-8
            encoding = self.rich_proxied_file.encoding or "ascii"
            self.write("".join(_encodable(part, encoding) for part in shown))
        except OSError as error:
            self._lost(error)
        return len(text)

    def flush(self) -> None:
        """Pass on what was written; errors as ``write``."""
        try:
            self.rich_proxied_file.flush()
        except OSError as error:
            self._lost(error)

    def _lost(self, error: OSError) -> None:
        """Let the rest go nowhere, and say why unless that is no error."""
        self.abandon()
        if not isinstance(error, self.dispensable):
            raise OutputError(
                f"standard output cannot be written: {error.strerror}", hint="Free some space."
            ) from error

    def abandon(self) -> None:
        """Let what is written from now on, and what waits, go nowhere."""
        self.left = True
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.rich_proxied_file.fileno())
        os.close(null)

    def writelines(self, lines: Any) -> None:
        """Write one after the other."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


class MessageStream(VisibleStream):
    """Standard error: where it cannot be written, as on a full disk, nobody can be told so.

    The command ends with the exit code of its work.
    """

    dispensable = (OSError,)


def say(text: object = "", *, err: bool = False) -> None:
    """Print one line, whatever the values in it hold: none of them begins another one.

    Args:
        text: The line.
        err: To standard error, at once.
    """
    line = one_line(str(text))
    if line.lstrip().startswith("::") and os.environ.get("GITHUB_ACTIONS"):
        line = line.replace(":", "\\u003a", 1)  # no command to GitHub's runner
    print(line, file=sys.stderr if err else sys.stdout, flush=err)


def open_closed_streams() -> None:
    """Give standard streams that are closed a place, lest the next file opened become one."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
            mode = "w" if descriptor else "r"
            setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8"))


def reader_left() -> bool:
    """Return whether nobody reads standard output any more: what only answers there may end."""
    return isinstance(sys.stdout, VisibleStream) and sys.stdout.left


def finish_answers() -> int:
    """Write what standard output, a ``VisibleStream``, still holds; 0.

    Python would do it too, when it ends, and would say of a full disk what means nothing to users.

    Raises:
        OutputError: It cannot be written.
    """
    sys.stdout.flush()
    return 0


@contextmanager
def visible_streams() -> Iterator[None]:
    """Let standard output and error write control characters as escapes."""
    original = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = VisibleStream(sys.stdout), MessageStream(sys.stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = original


@contextmanager
def without_chatter() -> Iterator[None]:
    """Leave out what an interpreter's C++ code tells of itself while it loads.

    Everything else that it writes to file descriptor 2 meanwhile follows when the block ends.
    ``EDGE_DEBUG=1`` lets all of it through.
    """
    try:
        shown = -1 if os.environ.get("EDGE_DEBUG") else os.dup(2)
    except OSError:  # standard error is closed
        shown = -1
    if shown < 0:
        yield
        return
    sys.stderr.flush()
    log = os.memfd_create("edge-log")
    try:
        os.dup2(log, 2)
        try:
            yield
        finally:
            os.dup2(shown, 2)
            _replay(log, shown)
    finally:
        os.close(log)
        os.close(shown)


def _replay(log: int, shown: int) -> None:
    """Write what is no chatter."""
    os.lseek(log, 0, os.SEEK_SET)
    content = os.read(log, LONGEST)
    kept = b"".join(
        line for line in content.splitlines(keepends=True) if not line.startswith(CHATTER)
    )
    if kept:  # it quotes names that a model file holds
        with suppress(OSError):  # a disk that is full
            os.write(shown, visible(kept.decode(errors="surrogateescape")).encode())
