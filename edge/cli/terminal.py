"""Standard error: messages for people, and the noise of native libraries kept out of them."""

import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from edge.errors import EdgeError

INTERRUPTED: Final = 130
UNEXPECTED: Final = 4


@contextmanager
def captured_native_output() -> Iterator[BinaryIO]:
    """Send what C++ code writes to standard error to a temporary file; Python's own still shows.

    TensorFlow, MLIR and the interpreters write start-up chatter straight to file descriptor 2.
    ``EDGE_DEBUG=1`` lets it through.
    """
    with tempfile.TemporaryFile(prefix="edge-log-") as log:
        if os.environ.get("EDGE_DEBUG"):
            yield log
            return
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        original = sys.stderr
        shown = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="replace")
        try:
            os.dup2(log.fileno(), 2)
            sys.stderr = shown
            yield log
        finally:
            shown.flush()
            os.dup2(shown.fileno(), 2)
            sys.stderr = original


def report_error(error: BaseException) -> int:
    """Print an expected error and its way out; the exit code."""
    if isinstance(error, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        print("hint: Run the same command again; finished stages are kept.", file=sys.stderr)
        return INTERRUPTED
    if isinstance(error, EdgeError):
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.exit_code
    raise error


def report_unexpected(error: Exception, log: BinaryIO) -> int:
    """Print what a bug report needs, without a traceback in the user's face; the exit code."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        place = f" ({error.filename})" if error.filename else ""
        print(f"error: {error.strerror}{place}", file=sys.stderr)
        print("hint: Free some space, or choose another --output or --cache.", file=sys.stderr)
        return 2
    if hasattr(error, "format_message"):  # click's usage errors carry their own text and code
        print(f"error: {error.format_message()}", file=sys.stderr)
        print("hint: Add --help to see the options.", file=sys.stderr)
        return int(getattr(error, "exit_code", 2))
    handle, name = tempfile.mkstemp(prefix="edge-crash-", suffix=".log")
    with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as stream:
        traceback.print_exception(error, file=stream)
        log.seek(0)
        stream.write("\nnative output:\n" + log.read().decode(errors="replace"))
    print(f"error: unexpected {type(error).__name__}: {error}", file=sys.stderr)
    print(f"hint: This is a bug of edge; the details are in {Path(name)}.", file=sys.stderr)
    return UNEXPECTED
