"""Work in a process of its own: both sides of the conversation with it, and how it ended.

The worker is a program that writes messages to its standard output, each of which is one line of
JSON, and that ends when its standard input closes. Where it fails, its last message describes the
error, so that the exit code is the same whether a command works in its own process or in another
one. ``answer`` is the worker's side; ``Worker`` and ``answers`` are the side that asks.

Standard library and ``edge.runtime`` only: a worker runs in any Python environment.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from edge.errors import (
    EdgeError,
    MeasurementError,
    UsageError,
    described,
    expected,
    rebuilt,
    refused_place,
)
from edge.prepared import Forked
from edge.processes import Flood, Lines, Tail
from edge.runtime import checked
from edge.runtime.child import ended, tree_memory
from edge.runtime.printable import one_line
from edge.threads import deferred_interrupt

Message = Mapping[str, Any]
"""One line of JSON from a worker: an object."""

# What TensorFlow says of itself whenever it is imported.
_CHATTER: Final = re.compile(r"[IW]\d{4} |WARNING: All log messages before|To enable the following")
_MESSAGE_BYTES: Final = 256 << 20  # the times of a million inferences, or a search's many files
_REQUEST_BYTES: Final = 64 << 20  # the classes of many pictures
_SENTENCE: Final = 4000  # characters of an error's message
_LAST_LINE: Final = 500  # characters of each line that the worker wrote last
_REASON: Final = 300  # characters of the text of an error that is none of edge's
_POLL_SECONDS: Final = 0.2
_GRACE_SECONDS: Final = 1.0  # for a worker to end by itself once its standard input is closed
_OS_ERROR: Final = "OSError"  # name of an error of the operating system in a message


# ---- the worker's side


def read_request(path: Path) -> Any:
    """Read the JSON file that says what a worker has to do.

    Raises:
        OSError: The file cannot be read.
        Malformed: It is no JSON.
    """
    return checked.read_json(path, "the request", max_bytes=_REQUEST_BYTES)


def answer(
    work: Callable[[Callable[[Message], None]], None], *, failure: type[EdgeError], doing: str = ""
) -> NoReturn:
    """Do the work of this process, describe the error if it fails, and end the process.

    The process ends at once: TensorFlow takes seconds to be torn down, and an engine that crashes
    meanwhile has given its answer all the same.

    Args:
        work: Gets a function that sends a message.
        failure: The class of what goes wrong for a reason that edge does not know.
        doing: What stands before such a reason, such as "the tflite converter failed with ".
    """
    say = _messages_only()
    try:
        work(say)
        code = 0
    except OSError as error:
        if error.errno is None:
            code = _say_failure(error, say, failure, doing)
        else:
            text = os.strerror(error.errno)
            name = None if error.filename is None else os.fsdecode(error.filename)
            say({"error": _OS_ERROR, "message": text, "errno": error.errno, "filename": name})
            code = UsageError.exit_code if refused_place(error) else failure.exit_code
    except Exception as error:  # engines and converters raise many types of their own
        code = _say_failure(error, say, failure, doing)
    sys.stderr.flush()
    os._exit(code)


def _say_failure(
    error: Exception, say: Callable[[Message], None], failure: type[EdgeError], doing: str
) -> int:
    """Describe an error; the exit code."""
    known = expected(error, failure)
    if known is None:
        traceback.print_exc()
        reason = " ".join(str(error).split())[:_REASON]
        known = failure(f"{doing}{type(error).__name__}{reason and ': '}{reason}")
    say(described(known))
    return known.exit_code


def _messages_only() -> Callable[[Message], None]:
    """Keep standard output for messages, and end with the parent.

    Whatever a library prints goes to standard error from now on. The process ends when its
    standard input closes, so that a killed parent leaves no worker behind.

    Returns:
        A function that sends one message.
    """
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def say(message: Message) -> None:
        stream.write(json.dumps(message) + "\n")
        stream.flush()

    return say


def _end_with_parent() -> None:
    while os.read(0, 4096):  # not sys.stdin: its lock, held here, aborts a normal exit
        pass
    os._exit(130)


# ---- the side that asks


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLimits:
    """What a worker may take; it is killed where it takes more.

    Attributes:
        seconds: The time to its end; None for any.
        memory_bytes: The resident memory, that of its children included; None for any.
        message_bytes: The length of a message.
        total_bytes: The length of all messages together; None for any.
    """

    seconds: float | None = None
    memory_bytes: int | None = None
    message_bytes: int = _MESSAGE_BYTES
    total_bytes: int | None = None


class Worker:
    """A worker that has been started; a thread reads its messages.

    Start it within ``deferred_interrupt``: nobody would end a process whose start Ctrl-C cut short.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        name: str = "process",
        folder: Path | None = None,
        environment: Mapping[str, str],
        limits: WorkerLimits,
        failure: type[EdgeError] = MeasurementError,
        heard: Callable[[Message], None],
        closed: Callable[[], None] = lambda: None,
        forked: Forked | None = None,
    ) -> None:
        """Start the program.

        Args:
            command: The program and its arguments.
            name: What it is called in errors, without an article.
            folder: The folder that it starts in; that of this process by default.
            environment: All of its environment variables.
            limits: What it may take.
            failure: The class of the error where it crashes or breaks the rules.
            heard: Called with each message but an error, by the thread that reads. A ValueError
                of its refuses the message.
            closed: Called by that thread when no further message comes.
            forked: The program where it runs already; see ``edge.prepared``.

        Raises:
            UsageError: There is no such program.
        """
        self._name, self._limits, self._failure_class = name, limits, failure
        self._heard, self._closed = heard, closed
        self._messages = 0
        self._fault = ""
        self._error: Message | None = None
        self._process: subprocess.Popen[bytes] | Forked
        try:
            self._process = forked or subprocess.Popen(
                command,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=folder,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches the parent alone, which ends it
            )
        except OSError as error:
            raise UsageError(f"{command[0]} cannot be run: {error.strerror}") from error
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._stderr = Tail(self._process.stderr.fileno(), self._process)
        self._lines = Lines(
            self._process.stdout.fileno(), longest=limits.message_bytes, most=limits.total_bytes
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait(self, heed: Callable[[], None]) -> None:
        """Wait until the worker sends nothing more; it is killed where it takes more than allowed.

        Args:
            heed: Called meanwhile; see ``deferred_interrupt``.
        """
        limits = self._limits
        until = None if limits.seconds is None else time.monotonic() + limits.seconds
        while self._reader.is_alive():
            self._reader.join(_POLL_SECONDS)
            heed()
            if until is not None and time.monotonic() > until:
                self._fault = f"did not end within {limits.seconds:.0f} s and was killed"
            elif (most := limits.memory_bytes) and tree_memory(self._process.pid) > most:
                self._fault = f"took more than {most / 2**30:.1f} GiB of memory and was killed"
            if self._fault:
                self.stop()
                return

    def stop(self) -> None:
        """Kill the worker and its children, if it still runs."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._reader.join(_GRACE_SECONDS)
        self._stderr.text(_GRACE_SECONDS)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def error(self) -> EdgeError | OSError | None:
        """Return why the worker failed, once it has ended; None where it did its work.

        Raises:
            KeyboardInterrupt: It was interrupted, as by Ctrl-C.
        """
        stderr, code = self._stderr.text(_GRACE_SECONDS), self._process.wait()
        if self._stderr.flooded:
            self._fault = self._fault or "writes to standard error without an end"
        if self._fault:
            return self._failure_class(f"the {self._name} {self._fault}")
        if self._error is not None:
            return _rebuilt(self._error, self._failure_class)
        if code == -signal.SIGINT:
            raise KeyboardInterrupt
        if code or not self._messages:
            said = _last_lines(stderr) or "it wrote no reason"
            return self._failure_class(f"the {self._name} {ended(code)}: {said}")
        return None

    def _read(self) -> None:
        line: bytes | None = None
        try:
            while (line := self._lines.next()) is not None:
                self._take(line)
        except Flood as error:
            self._fault = str(error)
        except ValueError:
            said = one_line((line or b"").decode(errors="replace"), 200)
            self._fault = f"says what is no answer: {said}"
        finally:
            if self._fault:
                self._process.kill()  # nobody reads what else it says
            self._leave()
            self._closed()

    def _take(self, line: bytes) -> None:
        """Take one message.

        Raises:
            ValueError: It is none.
        """
        most = self._limits.message_bytes
        message = checked.parse_json(line, max_bytes=most, finite=False)
        if not isinstance(message, dict):
            raise ValueError("no object")
        self._messages += 1
        if "error" in message:
            self._error = message
        else:
            self._heard(message)

    def _leave(self) -> None:
        """Let the worker end by itself, for a moment."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def answers(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    limits: WorkerLimits,
    heard: Callable[[Message], None] = lambda message: None,  # noqa: ARG005
) -> list[Message]:
    """Run a worker to its end.

    Args:
        command: The program and its arguments.
        folder: The folder that it starts in.
        environment: All of its environment variables.
        limits: What it may take.
        heard: Called with each message as it comes.

    Returns:
        Its messages, at least one.

    Raises:
        EdgeError: What the worker describes.
        OutputError: The worker says that a file cannot be written.
        MeasurementError: It crashed, took more than allowed, or sent what is no message.
        UsageError: There is no such program.
    """
    messages: list[Message] = []

    def take(message: Message) -> None:
        messages.append(message)
        heard(message)

    # Ctrl-C is heeded in ``wait`` alone.
    with deferred_interrupt() as heed:
        worker = Worker(command, folder=folder, environment=environment, limits=limits, heard=take)
        try:
            worker.wait(heed)
            error = worker.error()
        finally:
            worker.stop()
    if isinstance(error, OSError):
        raise refused_place(error) or MeasurementError(str(error))
    if error is not None:
        raise error
    return messages


def _rebuilt(message: Message, failure: type[EdgeError]) -> EdgeError | OSError:
    """Return the error that a worker describes."""
    number, name = message.get("errno"), message.get("filename")
    if message["error"] == _OS_ERROR and isinstance(number, int):
        return OSError(number, os.strerror(number), name if isinstance(name, str) else None)
    shown = {key: one_line(str(item or ""), _SENTENCE) for key, item in message.items()}
    return rebuilt(shown, unknown=failure)


def _last_lines(text: str) -> str:
    """Return the last lines that a worker wrote, but for what TensorFlow always says."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = [line for line in lines if not _CHATTER.match(line)]
    return " / ".join(one_line(line, _LAST_LINE) for line in said[-3:])
