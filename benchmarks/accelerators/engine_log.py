"""What an engine's native code writes to standard error: often its only statement on coverage."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class Log:
    """Text of the block, complete when the block has ended."""

    text: str = ""


@contextmanager
def captured() -> Iterator[Log]:
    """Collect file descriptor 2 in the block, and pass it on when the block ends.

    A file takes it, not a pipe: native code that holds Python's lock would fill a pipe that
    nobody can read meanwhile.
    """
    log = Log()
    sys.stderr.flush()
    standard_error = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield log
        finally:
            sys.stderr.flush()
            os.dup2(standard_error, 2)
            os.close(standard_error)
            file.seek(0)
            written = file.read()
            log.text = written.decode("utf-8", "replace")
            os.write(2, written)
