"""A picture is decoded in a child: what ends the child leaves the service as it is.

The child is a copy of the service, so that nothing has to be loaded for it. It sees the picture and
a pipe, and nothing else of what the service has open.
"""

import ctypes
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from edge.errors import ImageError
from edge.runtime.preprocess import load
from edge.runtime.spec import Preprocessing

SECONDS: Final = 30.0  # for one picture; what is decoded at all takes a few on the slowest board
_PARENT_DEATH_SIGNAL: Final = 1  # PR_SET_PDEATHSIG of prctl(2)
_PIXELS, _REFUSED = b"+", b"-"  # what the child's answer begins with
_PART: Final = 1 << 20  # bytes that are read at a time
_MOST_OPEN: Final = 4096  # descriptors; the service has some twenty


class ChildEnded(Exception):
    """The child gave no answer; its text says why."""


class DecodingChild:
    """Decodes one picture.

    Attributes:
        done: Whether all that it has to say was read.
    """

    def __init__(self, stream: BinaryIO, spec: Preprocessing) -> None:
        """Begin.

        Raises:
            OSError: There is no room for another process.
        """
        self._spec = spec
        self._said = bytearray()
        self.done = False
        self._end = time.monotonic() + SECONDS
        sys.stdout.flush()
        libc = ctypes.CDLL(None)
        parent = os.getpid()
        self._reader, writer = os.pipe()
        try:
            self._pid = os.fork()
        except OSError:
            os.close(self._reader)
            raise
        finally:
            if os.getpid() == parent:
                os.close(writer)
        if self._pid == 0:
            _be_child(stream, spec, writer, libc, parent)
        os.set_blocking(self._reader, False)

    def fileno(self) -> int:
        """Of the pipe, for a selector."""
        return self._reader

    def read(self) -> None:
        """Take what it has said meanwhile."""
        with suppress(BlockingIOError):
            part = os.read(self._reader, _PART)
            self._said += part
            self.done = not part

    @property
    def late(self) -> bool:
        """Whether it has had its time."""
        return time.monotonic() > self._end

    def close(self) -> str:
        """End it, if it still runs; how it ended."""
        if not self.done:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        _, status = os.waitpid(self._pid, 0)
        os.close(self._reader)
        if not self.done:
            return f"decoding took more than {SECONDS:.0f} seconds"
        code = os.waitstatus_to_exitcode(status)
        if code >= 0:
            return f"decoding ended with {code}"
        try:
            return f"decoding was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"decoding was ended by signal {-code}"

    def pixels(self, ended: str) -> NDArray[np.uint8]:
        """What ``load`` gives.

        Args:
            ended: What ``close`` said.

        Raises:
            ImageError: The picture cannot be decoded.
            ChildEnded: It ended before it said anything.
        """
        kind, content = bytes(self._said[:1]), bytes(self._said[1:])
        if self.done and kind == _REFUSED:
            raise ImageError(content.decode(errors="replace"))
        size = int(np.prod(self._spec.shape))
        if not self.done or kind != _PIXELS or len(content) != size:
            raise ChildEnded(ended)
        return np.frombuffer(content, np.uint8).reshape(self._spec.shape)


def _be_child(
    stream: BinaryIO, spec: Preprocessing, writer: int, libc: ctypes.CDLL, parent: int
) -> NoReturn:
    """Decode, say what came of it, and end; nothing of the parent's is run or closed in order."""
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        libc.prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
        _close_all_but(stream.fileno(), writer)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(OSError):  # where memory ends, this process has to go and no other
            Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
        try:
            said = _PIXELS + load(stream, spec).tobytes()
        except ImageError as error:
            said = _REFUSED + error.message.encode(errors="replace")
        while said:
            said = said[os.write(writer, said) :]
        os._exit(0)
    finally:
        os._exit(1)


def _close_all_but(*kept: int) -> None:
    """Locks and sockets of the parent are not to outlive it."""
    first = 3
    for descriptor in sorted(kept):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, _MOST_OPEN)
