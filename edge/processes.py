"""Other processes, which may be devices, and the bounds they are held to.

Whatever writes for ever, or a line without an end, is ended. It costs no more bytes, lines and
seconds than it may.
"""

import os
import select
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

PART: Final = 1 << 16  # bytes that are read at a time
KEPT: Final = 1 << 16  # bytes of standard error, the last ones
MOST: Final = 1 << 20  # bytes of an output that is a few lines
NOISE: Final = 64 << 20  # bytes of standard error, after which nothing sensible comes any more


class Flood(Exception):
    """More came than anybody asked for; the text is a clause that begins with a verb."""


class Silence(Exception):
    """Nothing came in time."""


class Killable(Protocol):
    """A process that can be ended."""

    def kill(self) -> None:
        """End it."""


@dataclass(frozen=True, slots=True)
class Completed:
    """What a process left.

    Attributes:
        code: The exit status.
        stdout: All bytes of its standard output.
        stderr: The last bytes of its standard error.
    """

    code: int
    stdout: bytes
    stderr: bytes


class Lines:
    """The lines that come from a file descriptor.

    Args:
        descriptor: What to read; nobody else reads it.
        longest: The most bytes of a line.
        most: The most bytes of all lines together; None for any number.
    """

    def __init__(self, descriptor: int, *, longest: int, most: int | None = None) -> None:
        self._descriptor = descriptor
        self._longest = longest
        self._left = most
        self._buffer = bytearray()
        self._ended = False

    def next(self, seconds: float | None = None) -> bytes | None:
        """Read the next line, without its end; None where there are no more.

        Args:
            seconds: The time to wait for each part of it, in seconds; None waits for ever.

        Raises:
            Flood: The line is longer than allowed, or all lines together are.
            Silence: Nothing came.
        """
        looked = 0
        while (end := self._buffer.find(b"\n", looked)) < 0 and not self._ended:
            looked = len(self._buffer)
            if looked > self._longest:
                raise Flood(f"sends a line of more than {self._longest:,} bytes")
            if seconds is not None:
                _wait(self._descriptor, seconds)
            part = os.read(self._descriptor, PART)
            self._ended = not part
            self._buffer += part
            if self._left is not None:
                self._left -= len(part)
                if self._left < 0:
                    raise Flood("sends more than anybody asked for")
        if end < 0 and not self._buffer:
            return None
        line = bytes(self._buffer[: end if end >= 0 else None])
        if len(line) > self._longest:
            raise Flood(f"sends a line of more than {self._longest:,} bytes")
        del self._buffer[: len(line) + 1]
        return line

    def fill(self) -> bool:
        """Keep what has come, to be read later, and return whether more may come.

        Raises:
            Flood: It is more than the longest line.
        """
        part = os.read(self._descriptor, PART)
        self._ended = not part
        self._buffer += part
        if len(self._buffer) > self._longest:
            raise Flood("sends more than anybody asked for")
        return bool(part)

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._descriptor


class Tail:
    """The last of what comes from a file descriptor; a thread reads it.

    Args:
        descriptor: What to read; nobody else reads it.
        process: What is killed where it writes more than ``NOISE``.
    """

    def __init__(self, descriptor: int, process: Killable) -> None:
        self._descriptor = descriptor
        self._process = process
        self._kept = bytearray()
        self.flooded = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def text(self, seconds: float = 5.0) -> str:
        """Return what came, once it has ended or this time is over."""
        self._thread.join(timeout=seconds)
        return bytes(self._kept).decode(errors="replace")

    def _read(self) -> None:
        count = 0
        with suppress(OSError):  # closed meanwhile
            while part := os.read(self._descriptor, PART):
                self._kept += part
                del self._kept[:-KEPT]
                count += len(part)
                if count > NOISE and not self.flooded:
                    self.flooded = True
                    self._process.kill()


def send(descriptor: int, content: bytes, seconds: float, heard: Lines) -> None:
    """Write all of it, and keep what is said meanwhile: who is not heard may not listen either.

    Args:
        descriptor: Where the content goes.
        content: What to write.
        seconds: The time to wait for each part of it, in seconds.
        heard: The lines that the same process says.

    Raises:
        Flood: The process says too much meanwhile.
        OSError: Nobody reads it any more.
        Silence: Nobody read anything for so many seconds.
    """
    rest = memoryview(content)
    os.set_blocking(descriptor, False)
    ready = select.poll()
    ready.register(descriptor, select.POLLOUT)
    ready.register(heard.fileno(), select.POLLIN)
    until = time.monotonic() + seconds
    while rest:
        events = dict(ready.poll(max(0.0, until - time.monotonic()) * 1e3))
        if descriptor in events:
            with suppress(BlockingIOError):
                rest = rest[os.write(descriptor, rest[:PART]) :]
                until = time.monotonic() + seconds
        elif heard.fileno() in events:
            if not heard.fill():
                ready.unregister(heard.fileno())
        else:
            raise Silence


def run(
    command: Sequence[str],
    *,
    stdin: bytes = b"",
    timeout: float,
    most: int = MOST,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Completed:
    """Run a process to its end, as ``subprocess.run`` with ``capture_output``.

    Args:
        command: The program and its arguments.
        stdin: What it reads.
        timeout: The time after which it is killed, in seconds.
        most: The most bytes of its standard output; it is killed where it writes more.
        environment: Its environment variables; None for those of this process.
        folder: The folder that it starts in.

    Raises:
        OSError: There is no such program.
        Flood: It wrote more.
        Silence: It did not end in time.
    """
    until = time.monotonic() + timeout
    with subprocess.Popen(
        command,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=folder,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        writer = threading.Thread(target=_feed, args=(process, stdin), daemon=True)
        try:
            tail = Tail(process.stderr.fileno(), process)
            writer.start()
            stdout = _read_all(process.stdout.fileno(), until, most)
            try:
                code = process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired as error:
                raise Silence from error
        finally:
            process.kill()  # does nothing where it has ended
            writer.join()
        stderr = tail.text().encode(errors="replace")
    if tail.flooded:
        raise Flood("writes to standard error without an end")
    return Completed(code, stdout, stderr)


def _read_all(descriptor: int, until: float, most: int) -> bytes:
    """Read what comes to its end.

    Args:
        descriptor: What to read.
        until: The end of the time, by the monotonic clock.
        most: The most bytes.

    Raises:
        Flood: More bytes came.
        Silence: The end did not come in time.
    """
    content = bytearray()
    while True:
        _wait(descriptor, until - time.monotonic())
        part = os.read(descriptor, PART)
        if not part:
            return bytes(content)
        content += part
        if len(content) > most:
            raise Flood(f"sends more than {most:,} bytes")


def _feed(process: "subprocess.Popen[bytes]", content: bytes) -> None:
    assert process.stdin is not None
    rest = memoryview(content)
    with suppress(OSError):  # it reads no more
        while rest:
            rest = rest[os.write(process.stdin.fileno(), rest[:PART]) :]
    with suppress(OSError):
        process.stdin.close()


def _wait(descriptor: int, seconds: float, event: int = select.POLLIN) -> None:
    ready = select.poll()
    ready.register(descriptor, event)
    if seconds <= 0 or not ready.poll(seconds * 1e3):
        raise Silence
