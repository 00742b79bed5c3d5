"""A process that imports what its jobs need while others work, and forks itself for each job.

TensorFlow takes three seconds of a processor to import. Two converters then share one import, which
runs while the pictures go through the network. The prepared process has one thread and runs no
operator of TensorFlow, so that it may be forked. Linux only: elsewhere each job is a new process.

``PreparedProcess`` is the side that asks; ``serve`` is the side of the process that is prepared.
Standard library and ``edge.runtime`` only.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any, Final, NoReturn

from edge.runtime import checked

SUPPORTED: Final = sys.platform == "linux" and hasattr(os, "pidfd_open")
_JOB_BYTES: Final = 64 << 10  # the arguments of a job and the variables that differ
_STREAMS: Final = 3  # standard input, output and error of a job
_CODE_BYTES: Final = 16
_POLL_SECONDS: Final = 0.02


@dataclass(slots=True)
class Forked:
    """A job of a prepared process; what ``subprocess.Popen`` has, as far as workers use it.

    Attributes:
        pid: Its process, which leads a group of its own.
        stdin: The end to write to.
        stdout: The end to read from.
        stderr: The end to read from.
        returncode: None while it runs, as far as ``poll`` and ``wait`` have seen.
    """

    pid: int
    stdin: IO[bytes]
    stdout: IO[bytes]
    stderr: IO[bytes]
    _status: socket.socket
    returncode: int | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def poll(self) -> int | None:
        """Return how it ended, without waiting."""
        with self._lock:
            if self.returncode is None and select.select([self._status], [], [], 0)[0]:
                said = self._status.recv(_CODE_BYTES)
                # Nothing is said where the prepared process was killed.
                self.returncode = int(said) if said else -signal.SIGKILL
                self._status.close()
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended.

        Raises:
            subprocess.TimeoutExpired: It still runs after ``timeout`` seconds.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if until is not None and time.monotonic() > until:
                raise subprocess.TimeoutExpired("a forked job", timeout or 0)
            time.sleep(_POLL_SECONDS)
        return code

    def kill(self) -> None:
        """Kill it, if it still runs."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class PreparedProcess:
    """The side that asks.

    Args:
        command: A program that calls ``serve``, and its arguments.
        environment: All of its environment variables.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,  # a job says itself what is wrong
                    env=self._environment,
                    start_new_session=True,  # Ctrl-C reaches the parent alone
                )
            except BaseException:
                self._socket.close()
                raise

    def start(self, arguments: Sequence[str], environment: Mapping[str, str]) -> Forked | None:
        """Start a job, once the process is ready; None where it is not able to.

        Args:
            arguments: The arguments of the job.
            environment: All of its environment variables.
        """
        changed = {
            name: value
            for name, value in environment.items()
            if self._environment.get(name) != value
        }
        job = json.dumps({"arguments": list(arguments), "environment": changed}).encode()
        if len(job) > _JOB_BYTES:
            return None
        ours, theirs = _streams()
        status, their_status = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            socket.send_fds(self._socket, [job], [*theirs, their_status.fileno()])
        except OSError:
            their_status.close()
            _closed(status, ours, theirs)
            return None
        their_status.close()
        _closed(None, (), theirs)
        said = b""
        with suppress(OSError):
            said = status.recv(_CODE_BYTES)
        if not said:
            _closed(status, ours, ())
            return None
        stdin, stdout, stderr = (
            os.fdopen(end, mode, buffering=0)
            for end, mode in zip(ours, ("wb", "rb", "rb"), strict=True)
        )
        return Forked(int(said), stdin, stdout, stderr, status)

    def close(self) -> None:
        """End the process; its jobs go on, and end as they do without it."""
        self._socket.close()
        self._process.kill()
        self._process.wait()


def _streams() -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Return our ends and the job's of its three standard streams."""
    (their_in, our_in), (our_out, their_out), (our_err, their_err) = (os.pipe() for _ in range(3))
    return (our_in, our_out, our_err), (their_in, their_out, their_err)


def _closed(status: socket.socket | None, *ends: Sequence[int]) -> None:
    if status is not None:
        status.close()
    for end in (end for some in ends for end in some):
        os.close(end)


# ---- the prepared process's side


def serve(work: Callable[[], object]) -> NoReturn:
    """Fork for each job that comes on standard input, until it closes.

    Args:
        work: Does a job in its own process; ``sys.argv`` holds its arguments.
    """
    asked = socket.socket(fileno=os.dup(0))
    jobs: dict[int, tuple[int, socket.socket]] = {}  # by the pidfd
    while True:
        watched: list[Any] = [asked, *jobs]
        ready, _, _ = select.select(watched, [], [])
        for ended in [item for item in ready if isinstance(item, int)]:
            pid, status = jobs.pop(ended)
            _, raw = os.waitpid(pid, 0)
            _say(status, os.waitstatus_to_exitcode(raw))
            status.close()
            os.close(ended)
        if asked not in ready:
            continue
        content, fds, _, _ = socket.recv_fds(asked, _JOB_BYTES, _STREAMS + 1)
        if len(fds) != _STREAMS + 1:  # the one that asks has ended
            os._exit(0)
        status = socket.socket(fileno=fds[_STREAMS])
        pid = os.fork()
        if pid == 0:
            for item in (asked, *(other for _, other in jobs.values())):
                item.close()
            for pidfd in jobs:
                os.close(pidfd)
            _become(content, fds[:_STREAMS], status, work)
        for end in fds[:_STREAMS]:
            os.close(end)
        jobs[os.pidfd_open(pid)] = pid, status


def _say(status: socket.socket, number: int) -> None:
    with suppress(OSError):  # nobody asks any more
        status.send(str(number).encode())


def _become(
    content: bytes, streams: Sequence[int], status: socket.socket, work: Callable[[], object]
) -> NoReturn:
    """Be the job."""
    try:
        os.setsid()  # before it is known: whoever ends it ends its group
        _say(status, os.getpid())
        status.close()
        for number, end in enumerate(streams):
            os.dup2(end, number)
            os.close(end)
        job: Any = checked.parse_json(content, max_bytes=_JOB_BYTES)
        os.environ.update(job["environment"])
        tempfile.tempdir = None  # TMPDIR may be another one
        sys.argv[1:] = job["arguments"]
        work()
    except BaseException:  # what ``work`` did not turn into a message
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(1)
