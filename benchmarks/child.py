"""A process that answers in JSON lines: no longer than agreed, no larger, and why it ended."""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from edge.errors import InferenceError, MeasurementError, UsageError, rebuilt
from edge.processes import Flood, Lines, Tail
from edge.runtime import checked
from edge.runtime.child import ended, tree_memory
from edge.runtime.printable import one_line
from edge.threads import deferred_interrupt

Answer = Mapping[str, Any]

# What TensorFlow says of itself whenever it is imported.
CHATTER: Final = re.compile(r"[IW]\d{4} |WARNING: All log messages before|To enable the following")
LONGEST: Final = 256 << 20  # bytes of an answer of this machine: the times of a million inferences
WORDS: Final = 500  # characters of a line that it wrote last
POLL_SECONDS: Final = 0.2
GRACE_SECONDS: Final = 1.0  # to end by itself once its stdin is closed


def answers(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    timeout: float,
    memory_bytes: int | None = None,
    heard: Callable[[Answer], None] = lambda answer: None,  # noqa: ARG005
    longest: int = LONGEST,
    most: int | None = None,
) -> list[Answer]:
    """Run a process to its end.

    Args:
        command: Program and arguments. It answers on stdout, one JSON object a line, an error as
            the last one with ``error``, ``message`` and ``hint``; it ends when stdin closes.
        folder: Where it starts.
        environment: Its variables.
        timeout: Seconds until it is killed.
        memory_bytes: Resident memory, its children's included, at which it is killed.
        heard: Told of each answer as it comes.
        longest: Bytes of an answer.
        most: Bytes of all answers together; None for any number.

    Returns:
        At least one answer.

    Raises:
        EdgeError: As the process says.
        MeasurementError: It crashed, hung, went beyond its memory, or says what is no answer.
        UsageError: There is no such program.
    """
    # Ctrl-C is heeded in ``_read`` alone: nobody would end a process whose start it cut short.
    with deferred_interrupt() as heed:
        try:
            process = subprocess.Popen(
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
        assert process.stdout is not None
        assert process.stderr is not None
        with process.stdout, process.stderr:
            said = Tail(process.stderr.fileno(), process)
            lines = Lines(process.stdout.fileno(), longest=longest, most=most)
            found = _read(process, lines, timeout, memory_bytes, heard, heed)
            text = said.text(GRACE_SECONDS)
        if said.flooded:
            raise MeasurementError("the process writes to standard error without an end")
        return _checked(found, process.returncode, text)


def _read(
    process: subprocess.Popen[bytes],
    lines: Lines,
    timeout: float,
    memory_bytes: int | None,
    heard: Callable[[Answer], None],
    heed: Callable[[], None],
) -> list[Answer]:
    """Read until the worker ends; kill it when it takes too long or too much."""
    found: list[Answer] = []
    wrong: list[str] = []

    def read() -> None:
        line: bytes | None = None
        try:
            while (line := lines.next()) is not None:
                answer = checked.parse_json(line, max_bytes=LONGEST, finite=False)
                if not isinstance(answer, dict):
                    raise ValueError("no object")
                found.append(answer)
                heard(answer)
        except Flood as error:
            wrong.append(str(error))
        except ValueError:
            wrong.append(f"says what is no answer: {_words(line, 200)}")

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    until = time.monotonic() + timeout
    try:
        while reader.is_alive():
            reader.join(POLL_SECONDS)
            heed()
            if time.monotonic() > until:
                raise MeasurementError(f"no end after {timeout:.0f} s; it was killed")
            if memory_bytes is not None and tree_memory(process.pid) > memory_bytes:
                raise MeasurementError(
                    f"needs more than {memory_bytes / 2**30:.1f} GiB of memory; it was killed"
                )
        if wrong:
            raise MeasurementError(f"the process {wrong[0]}")
    finally:
        _end(process)
    return found


def _words(said: bytes | None, longest: int) -> str:
    return one_line((said or b"").decode(errors="replace"), longest)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(timeout=GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _checked(found: list[Answer], code: int, log: str) -> list[Answer]:
    """The answers, unless the last one is an error or there is none."""
    if found and "error" in found[-1]:
        raise rebuilt(found[-1], unknown=InferenceError)
    if code or not found:
        lines = [line.strip() for line in log.splitlines() if line.strip()]
        tail = " / ".join(
            one_line(line, WORDS) for line in [x for x in lines if not CHATTER.match(x)][-3:]
        )
        raise MeasurementError(f"the process {ended(code)}: {tail or 'no word'}")
    return found
