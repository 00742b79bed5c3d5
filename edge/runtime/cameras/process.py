"""A program that writes JPEGs to a pipe, as a camera: ``program`` says which programs."""

import fcntl
import os
import re
import select
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BytesIO
from typing import IO, Final

from edge.errors import CameraError, EdgeError
from edge.runtime.cameras.camera import (
    Camera,
    CameraDescription,
    CameraFault,
    Frame,
    closed,
    shown_text,
)
from edge.runtime.cameras.jpeg_stream import Splitter
from edge.runtime.printable import one_line

_CHUNK: Final = 1 << 18
_LOG_BYTES: Final = 1 << 16  # of what the program says, that are kept
_TAIL_BYTES: Final = 2000  # of what it said last, that are looked at
_LONGEST_LINE: Final = 200  # characters of it in a message
_LOOK_SECONDS: Final = 0.5  # between looks at the length of what it says
_INTERRUPT_SECONDS: Final = 3.0  # rpicam-vid lets the camera go within half a second
_KILL_SECONDS: Final = 3.0
_STEP_SECONDS: Final = 0.01

# What programs say as they end, and the fault that it stands for; the first that is found counts.
_FAULTS: Final = (
    (
        r"no cameras available|selected camera is not available|not find|no such file",
        CameraFault.MISSING,
    ),
    (r"failed to acquire|in use by|resource busy|device busy", CameraFault.BUSY),
    (r"permission denied|\b401\b|\b403\b|unauthorized|forbidden", CameraFault.FORBIDDEN),
    (
        r"unrecogni[sz]ed option|option .* not found|invalid data found|not supported",
        CameraFault.UNSUPPORTED,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program that is run as a camera.

    Attributes:
        command: The program and its arguments; no shell reads them.
        description: What is known of the camera before a picture came.
        secrets: What messages must not show, should the program say it.
        hint: What a user can do where it ends or gives nothing.
    """

    command: tuple[str, ...]
    description: CameraDescription
    secrets: tuple[str, ...] = ()
    hint: str = ""


class ProcessCamera(Camera):
    """Reads what a program writes, in a thread: the pipe never fills, and the newest picture wins.

    A program that waits for its reader would give pictures of some seconds ago.
    """

    def __init__(self, program: Program, patience: float) -> None:
        """Start the program, and wait for its first picture.

        Args:
            program: What to run.
            patience: Seconds that the first picture may take.

        Raises:
            CameraError: The program does not start, ends, or gives no picture in time.
        """
        self._program, self._description = program, program.description
        self._given = 0  # number of the frame that was given last
        self._newest: Frame | None = None
        self._ended = self._closed = self._abandoned = False
        self._news = threading.Condition()
        self._log = _log()
        try:
            self._process = self._started()
        except BaseException:
            self._log.close()
            raise
        self._reader = threading.Thread(target=self._read_pipe, name="camera", daemon=True)
        self._reader.start()
        try:
            self._description = self._with_size(self._first(patience))
        except BaseException:
            self.close()
            raise

    @property
    def description(self) -> CameraDescription:
        """What the program was asked for, with the size of its first picture."""
        return self._description

    def read(self, timeout: float) -> Frame:
        """Return the newest frame; see ``Camera``."""
        with self._news:
            self._await(timeout)
            newest = self._newest
            assert newest is not None
            lost, self._given = newest.number - self._given - 1, newest.number
        return replace(newest, lost=lost)

    def close(self) -> None:
        """End the program: SIGINT lets it let the camera go, SIGKILL follows."""
        if self._closed:
            return
        self._closed = True
        for sign, seconds in ((signal.SIGINT, _INTERRUPT_SECONDS), (signal.SIGKILL, _KILL_SECONDS)):
            # Its session and not it alone: what it started holds the pipe and the camera too.
            self._signal(sign)
            if self._exit_code(seconds) is not None:
                break
        self._signal(signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_KILL_SECONDS)
        self._abandoned = True  # where something that left the session holds the pipe
        self._reader.join(_KILL_SECONDS)
        if not self._reader.is_alive() and self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()

    def _signal(self, sign: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, sign)

    def _exit_code(self, seconds: float) -> int | None:
        """Return how the program ended, as ``Popen.returncode`` says it; None while it runs.

        It is not reaped: until ``close``, nothing else has its number, which signals are sent to.
        """
        end = time.monotonic() + seconds
        while True:
            try:
                found = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:  # this process ignores SIGCHLD
                return 0
            if found is not None:
                return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
            if time.monotonic() >= end:
                return None
            time.sleep(_STEP_SECONDS)

    def _started(self) -> "subprocess.Popen[bytes]":
        try:
            return subprocess.Popen(
                self._program.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._log,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise CameraError(
                f"{self._program.command[0]} does not start: {error.strerror}",
                fault=CameraFault.MISSING,
                hint=self._program.hint,
            ) from error

    def _await(self, timeout: float) -> None:
        """Wait for a picture that was not given yet; ``self._news`` is held.

        Raises:
            CameraError: There is none in time, or there will be none.
        """

        def settled() -> bool:
            return self._ended or self._closed or self._waits()

        self._news.wait_for(settled, max(0.0, timeout))
        if self._closed:
            raise closed(self._description.address)
        if self._waits():
            return
        if self._ended:
            raise self._end()
        raise CameraError(
            f"{self._description.address}: no picture came within {timeout:g} s; "
            f"{self._name()} {self._last_line()}",
            fault=CameraFault.NO_PICTURE,
            hint=self._program.hint,
        )

    def _waits(self) -> bool:
        return self._newest is not None and self._newest.number > self._given

    def _first(self, patience: float) -> Frame:
        with self._news:
            self._await(patience)
            assert self._newest is not None
            return self._newest

    def _with_size(self, frame: Frame) -> CameraDescription:
        from edge.runtime.image import stored_and_shown_size

        try:
            width, height = stored_and_shown_size(BytesIO(frame.jpeg))[1]
        except EdgeError as error:
            raise CameraError(
                f"{self._description.address}: {self._name()} writes pictures that cannot be read: "
                f"{error.message}",
                fault=CameraFault.UNSUPPORTED,
            ) from error
        return replace(self._description, width=width, height=height)

    def _end(self) -> CameraError:
        """Return why the program ended."""
        code = self._exit_code(_KILL_SECONDS)
        how = f"a signal {-code}" if code is not None and code < 0 else f"code {code}"
        said = self._tail().lower()
        fault = next(
            (fault for words, fault in _FAULTS if re.search(words, said)), CameraFault.GONE
        )
        return CameraError(
            f"{self._description.address}: {self._name()} ended with {how}; it {self._last_line()}",
            fault=fault,
            hint=self._program.hint,
        )

    def _name(self) -> str:
        return os.path.basename(self._program.command[0])  # noqa: PTH119 - a word, not a place

    def _last_line(self) -> str:
        lines = [line for line in self._tail().splitlines() if line.strip()]
        return f"said: {one_line(lines[-1].strip(), _LONGEST_LINE)}" if lines else "said nothing"

    def _tail(self) -> str:
        """Return what the program said last, without any secret."""
        size = os.fstat(self._log.fileno()).st_size
        said = os.pread(self._log.fileno(), _TAIL_BYTES, max(0, size - _TAIL_BYTES))
        text = shown_text(said.decode(errors="replace"))
        for secret in self._program.secrets:
            text = text.replace(secret, "***")
        return text

    def _read_pipe(self) -> None:
        """Keep the newest picture, until the program ends; this is the thread."""
        splitter, count = Splitter(one_size=True), 0
        try:
            for chunk in self._chunks():
                pieces = splitter.feed(chunk)
                count += len(pieces)
                if pieces:
                    number = count + splitter.dropped
                    newest = Frame(number=number, jpeg=pieces[-1].jpeg, captured=time.monotonic())
                    with self._news:
                        self._newest = newest
                        self._news.notify_all()
        finally:
            with self._news:
                self._ended = True
                self._news.notify_all()

    def _chunks(self) -> Iterator[bytes]:
        """Yield what the program writes; meanwhile, cut what it says."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while not self._abandoned:
            ready = poll.poll(_LOOK_SECONDS * 1000)
            with suppress(OSError, ValueError):
                if os.fstat(self._log.fileno()).st_size > _LOG_BYTES:
                    os.ftruncate(self._log.fileno(), 0)
            if not ready:
                continue
            chunk = os.read(descriptor, _CHUNK)
            if not chunk:
                return
            yield chunk


def _log() -> IO[bytes]:
    """Return a file for what the program says: a pipe that nobody reads would stop it.

    It is appended to, whoever cuts it meanwhile.
    """
    made = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - it lives as long as the camera
    flags = fcntl.fcntl(made.fileno(), fcntl.F_GETFL)
    fcntl.fcntl(made.fileno(), fcntl.F_SETFL, flags | os.O_APPEND)
    return made
