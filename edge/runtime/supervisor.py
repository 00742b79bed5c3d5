"""A command in a process of its own, and what is said when a model ends that process.

Interpreters are native code: a file that was made for it, or is only damaged, ends the process
that opens it by a signal, fills its memory, or never lets it go on. ``supervise`` splits a command
in two. The child does the work; the process that the user started opens nothing, waits, and turns
the child's end into an error with an exit code. ``NativeCall`` tells it which file the child is at.
"""

import itertools
import math
import os
import signal
import struct
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

from edge.errors import EdgeError, InferenceError, ModelLoadError, UsageError
from edge.runtime.child import die_with, ended, resident
from edge.runtime.streams import say

SECONDS: Final = 60.0  # for one opening or one inference; real ones take 10 on the slowest board
TENSORFLOW_SECONDS: Final = 600.0  # for what imports TensorFlow, or computes many pictures at once
ROOM_BYTES: Final = 2 << 30  # that one call may take beside what a file of its size needs
TENSORFLOW_BYTES: Final = 16 << 30  # many pictures at once have large activations
_LARGEST: Final = 1e6  # seconds or GiB that a variable may state: more than any machine has
FILE_TIMES: Final = 8  # an interpreter holds a file, its unpacked weights, and repacked copies
POLL_SECONDS: Final = 0.1
_SLOTS: Final = 64  # threads that are inside a model at once
_SLOT: Final = struct.Struct("<QdQ??256p")  # as ``_Call`` states it
_FORWARDED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_CHATTER: Final = ("INFO: ", "WARNING: All log messages", "I0000 ", "W0000 ")


class _Call:
    """What a thread of the child is at, or was last.

    Attributes:
        number: No other call of this process has it.
        seconds: That it may take.
        room: Bytes that it may take.
        opens: Whether it opens the file; it runs the model otherwise.
        lasts: Whether it has not come back.
        file: The model's name.
    """

    # No dataclass: making one takes longer than the whole of this module, with every start.
    __slots__ = ("file", "lasts", "number", "opens", "room", "seconds")

    def __init__(
        self, number: int, seconds: float, room: int, opens: bool, lasts: bool, file: bytes
    ) -> None:
        self.number, self.seconds, self.room = number, seconds, room
        self.opens, self.lasts, self.file = opens, lasts, file.decode(errors="replace")


class _Own(threading.local):
    """A thread's slot, and the calls that it is in, the outermost first."""

    free = itertools.count()

    def __init__(self) -> None:
        self.slot = next(self.free) % _SLOTS
        self.calls: list[tuple[Any, ...]] = []


class _Calls:
    """The calls in progress, in memory that parent and child share."""

    def __init__(self) -> None:
        import mmap

        self._memory = mmap.mmap(-1, _SLOTS * _SLOT.size)
        self._own = _Own()
        self._numbers = itertools.count(1)

    def begin(self, *stated: Any) -> None:
        own = self._own
        own.calls.append((next(self._numbers), *stated))
        self._write(own, own.calls[-1], lasts=True)

    def end(self) -> None:
        own = self._own
        ended = own.calls.pop()
        self._write(own, own.calls[-1] if own.calls else ended, lasts=bool(own.calls))

    def _write(self, own: _Own, call: tuple[Any, ...], *, lasts: bool) -> None:
        number, seconds, room, opens, name = call
        place = own.slot * _SLOT.size
        _SLOT.pack_into(self._memory, place, number, seconds, room, opens, lasts, name)

    def known(self) -> list[_Call]:
        """Return the last call of each thread, in the order in which they began."""
        calls = [_Call(*stated) for stated in _SLOT.iter_unpack(self._memory[:])]
        return sorted((call for call in calls if call.number), key=lambda call: call.number)


_calls: _Calls | None = None  # None where nobody supervises this process


class NativeCall:
    """``with NativeCall(path, opens=True): ...``: native code on a file that may end the process.

    It costs a microsecond. Where nobody supervises the process, it does nothing.
    """

    __slots__ = ("_most", "_opens", "_path", "_room", "_seconds")

    def __init__(
        self, path: Path, *, opens: bool, seconds: float = SECONDS, most: int = ROOM_BYTES
    ) -> None:
        """State what is to be called.

        Args:
            path: The model's file or folder.
            opens: Whether it is being opened; otherwise it runs.
            seconds: That a call may take.
            most: Bytes that it may take beside what a file of its size needs.
        """
        self._path, self._opens, self._seconds, self._most = path, opens, seconds, most
        self._room: int | None = None

    def __enter__(self) -> None:
        if _calls is not None:
            if self._room is None:
                self._room = _room(self._path, self._most)
            name = os.fsencode(self._path.name)[:255]
            _calls.begin(
                _setting("EDGE_MODEL_SECONDS", self._seconds), self._room, self._opens, name
            )

    def __exit__(self, *_: object) -> None:
        if _calls is not None:
            _calls.end()


def keras_call() -> NativeCall:
    """Return what to hold during a call of a Keras model, whose file is not known there."""
    return NativeCall(
        Path("the Keras model"), opens=False, seconds=TENSORFLOW_SECONDS, most=TENSORFLOW_BYTES
    )


def _setting(name: str, usual: float) -> float:
    """Return an environment variable's number; the usual one where it is not set.

    Raises:
        UsageError: It is set to something else than a number above 0.
    """
    text = os.environ.get(name, "")
    if not text:
        return usual
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= _LARGEST:
        raise UsageError(
            f"{name} is {text[:60]!r}; a number above 0, at most {_LARGEST:,.0f}, is allowed",
            hint=f"Unset {name} for the usual limit.",
        )
    return number


def _room(path: Path, most: int) -> int:
    """Return the bytes that a call on a model may take.

    On a small machine these are no more than half of its memory.
    """
    size = 0
    for item in [path] if path.is_file() else path.rglob("*"):
        with suppress(OSError):
            size += item.stat().st_size
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    usual = min(most, machine // 2) / 2**30
    return int(_setting("EDGE_MODEL_GIB", usual) * 2**30) + FILE_TIMES * size


def supervise(log: BinaryIO | None = None) -> None:
    """Go on as a child; the process that came here waits for it and ends as it does.

    Call it before a thread is started. The child is in a session of its own, so that Ctrl-C
    reaches the parent alone, which passes it on. Where processes cannot be forked, the command
    goes on unsupervised.

    Args:
        log: Where native code writes its last words, for the error.

    Raises:
        UsageError: A variable of the environment states no limit.
    """
    global _calls
    _setting("EDGE_MODEL_SECONDS", SECONDS)
    _setting("EDGE_MODEL_GIB", ROOM_BYTES / 2**30)
    if not hasattr(os, "fork") or _calls is not None:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    calls = _Calls()
    alive, held = os.pipe()  # the end of the child ends the pipe
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (*_FORWARDED, signal.SIGTSTP))
    parent, child = os.getpid(), os.fork()
    if child:
        os.close(held)
        _Supervisor(child, alive, calls, log).wait(before)
    os.close(alive)
    os.setsid()
    die_with(parent)
    _calls = calls
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Supervisor:
    """The parent.

    Attributes:
        child: Its process.
        alive: Ends when the child does.
        calls: What the child is at.
        log: What the child's native code wrote.
        spent: Seconds that each call in progress has taken, and the memory at its begin.
    """

    def __init__(self, child: int, alive: int, calls: _Calls, log: BinaryIO | None) -> None:
        self.child, self.alive, self.calls, self.log = child, alive, calls, log
        self.spent: dict[int, tuple[float, int]] = {}

    def wait(self, mask: Any) -> NoReturn:
        """Wait for the child's end, and end alike."""
        for number in _FORWARDED:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._forward)
        signal.signal(signal.SIGTSTP, self._pause)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        reason = self._watch()
        code = os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])
        if code == -signal.SIGINT:
            code = 130
        elif -code in _FORWARDED and not reason:
            signal.signal(-code, signal.SIG_DFL)
            os.kill(os.getpid(), -code)
        elif code < 0:
            code = self._report(reason or ended(code))
        os._exit(code)

    def _forward(self, number: int, _: Any) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.child, number)

    def _pause(self, *_: object) -> None:
        """Pause both processes, as Ctrl-Z asks."""
        self._forward(signal.SIGSTOP, None)
        os.kill(os.getpid(), signal.SIGSTOP)
        self._forward(signal.SIGCONT, None)

    def _watch(self) -> str:
        """Return why the child was killed; empty where it ended by itself."""
        import select

        last = time.monotonic()
        while not select.select([self.alive], [], [], POLL_SECONDS)[0]:
            if os.waitid(os.P_PID, self.child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                break  # a process that it left behind holds the pipe
            now = time.monotonic()
            # Time in which this process itself stood still does not count: Ctrl-Z, a busy machine.
            reason = self._beyond(min(now - last, 5 * POLL_SECONDS))
            last = now
            if reason:
                os.kill(self.child, signal.SIGKILL)
                with suppress(ProcessLookupError):
                    os.killpg(self.child, signal.SIGKILL)
                return reason
        return ""

    def _beyond(self, passed: float) -> str:
        """Return what a call in progress exceeds; empty where none does."""
        calls = [call for call in self.calls.known() if call.lasts]
        if not calls:
            self.spent.clear()
            return ""
        holds = resident(self.child)
        room = sum(call.room for call in calls)
        before = self.spent
        self.spent = {}
        for call in calls:
            seconds, held = before.get(call.number, (-passed, holds))
            self.spent[call.number] = seconds + passed, held
            if seconds + passed > call.seconds:
                return f"did not end within {call.seconds:.0f} s and was killed"
            if holds - held > room:
                return f"needed more than {room / 2**30:.1f} GiB of memory and was killed"
        return ""

    def _report(self, what: str) -> int:
        """Say what became of the child; the exit code."""
        error = _blamed(self.calls.known(), what + self._last_words())
        say(f"error: {error.told}", err=True)
        if error.hint:
            say(f"hint: {error.hint}", err=True)
        sys.stderr.flush()
        return error.exit_code

    def _last_words(self) -> str:
        if self.log is None:
            return ""
        self.log.seek(max(0, self.log.seek(0, os.SEEK_END) - 4096))
        lines = self.log.read().decode(errors="replace").splitlines()
        told = [line.strip() for line in lines if line.strip() and not line.startswith(_CHATTER)]
        return "".join(f": {line[:300]}" for line in told[-1:])


def _blamed(calls: list[_Call], what: str) -> EdgeError:
    """Return the error for a child that was ended.

    What a model has broken may show after its call.
    """
    lasting = [call for call in calls if call.lasts]
    hint = (
        "Copy or export it again: it is damaged, made to harm, or too large. EDGE_MODEL_SECONDS "
        "and EDGE_MODEL_GIB allow a model more."
    )
    if not calls:
        return EdgeError(f"the process that did the work {what}")
    call = lasting[0] if lasting else calls[-1]
    if call.opens and lasting:
        return ModelLoadError(
            f"{call.file} does not load: the process that opened it {what}", hint=hint
        )
    told = "ran" if lasting else "had run"
    return InferenceError(f"{call.file} failed: the process that {told} it {what}", hint=hint)
