"""One conversation with a host: a request a line, in JSON; notes and one reply to each.

Replies are lines of JSON with one field: ``note`` (a text, any number of them), then ``result``
or ``error``. After a ``put`` its file's bytes follow, ``size - offset`` of them.
"""

import io
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, BinaryIO, Final, cast

from edge.device.jobs import Jobs
from edge.device.layout import PRIVATE
from edge.device.messages import read_request
from edge.device.receive import MAX_LISTING
from edge.errors import DeviceError, EdgeError, UsageError, described, expected
from edge.runtime import checked

MAX_REQUEST: Final = MAX_LISTING + 65_536  # bytes of a line
IDLE_SECONDS: Final = 120  # without a request: the host has gone without saying so


def serve(stream: BinaryIO, output: int) -> None:
    """Answer requests until the host ends the conversation, or is silent for too long.

    A job that has begun is finished although the host goes away: a release on trial is committed
    or given up.

    Args:
        stream: Requests; buffered, of a file descriptor.
        output: File descriptor of the replies.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    channel = _Channel(output)
    patient = cast(BinaryIO, _Patient(stream))
    jobs = Jobs(patient, lambda text: channel.say({"note": text}))
    while (request := _next(patient)) is not None:
        try:
            channel.say({"result": asdict(jobs.do(read_request(request)))})
            continue
        except (EOFError, TimeoutError):
            return
        except (EdgeError, MemoryError) as error:
            channel.say(
                {"error": described(expected(error, DeviceError) or DeviceError(str(error)))}
            )
        except OSError as error:
            text = f"{error.strerror or error} ({error.filename or 'on the device'})"
            channel.say({"error": described(DeviceError(text))})
        except ValueError as error:
            text = f"the request is not understood: {type(error).__name__}: {error}"
            channel.say({"error": described(UsageError(text))})
        if request.get("do") == "put":
            return  # bytes of the file may still come, and they are no requests


class _Channel:
    """Replies; nobody may be there any more to read them."""

    def __init__(self, output: int) -> None:
        self._output = output

    def say(self, value: Mapping[str, Any]) -> None:
        rest = (json.dumps(value, ensure_ascii=False) + "\n").encode()
        try:
            while rest:
                rest = rest[os.write(self._output, rest) :]
        except OSError:
            pass


def _next(stream: BinaryIO) -> dict[str, Any] | None:
    """Return the next request; None at the end, and where the host is silent for too long."""
    try:
        line = stream.readline(MAX_REQUEST)
        whole = line.endswith(b"\n")
        value = checked.parse_json(line, max_bytes=MAX_REQUEST) if whole else None
        return value if isinstance(value, dict) else None
    except (ValueError, TimeoutError):
        return None


class _Patient(io.RawIOBase):
    """A stream whose reads end with TimeoutError where nothing comes for IDLE_SECONDS.

    A network that was cut says nothing, and a session that waited for it would keep the lock.
    select() would not do: bytes may lie in the buffer already.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        signal.signal(signal.SIGALRM, self._alarm)

    def readline(self, size: int | None = -1) -> bytes:
        signal.alarm(IDLE_SECONDS)
        try:
            return self._stream.readline(-1 if size is None else size)
        finally:
            signal.alarm(0)

    def read(self, size: int = -1) -> bytes:
        signal.alarm(IDLE_SECONDS)
        try:
            return self._stream.read(size)
        finally:
            signal.alarm(0)

    def _alarm(self, *_: object) -> None:
        raise TimeoutError("the host has been silent for too long")


def main() -> None:
    """Hold the conversation on standard input and output; nothing else may write there."""
    os.umask(PRIVATE)
    output = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    serve(sys.stdin.buffer, output)
