"""A process that answers in JSON lines: no longer than agreed, no larger, and why it ended."""

import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from edge.errors import InferenceError, MeasurementError, UsageError, rebuilt
from edge.runtime.child import ended, tree_memory
from edge.threads import deferred_interrupt

Answer = Mapping[str, Any]

# What TensorFlow says of itself whenever it is imported.
CHATTER: Final = re.compile(r"[IW]\d{4} |WARNING: All log messages before|To enable the following")
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

    Returns:
        At least one answer.

    Raises:
        EdgeError: As the process says.
        MeasurementError: It crashed, hung, or went beyond its memory.
        UsageError: There is no such program.
    """
    # Ctrl-C is heeded in ``_read`` alone: nobody would end a process whose start it cut short.
    with (
        deferred_interrupt() as heed,
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log,
    ):
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches the parent alone, which ends it
            )
        except OSError as error:
            raise UsageError(f"{command[0]} cannot be run: {error.strerror}") from error
        found = _read(process, timeout, memory_bytes, heard, heed)
        log.seek(0)
        return _checked(found, process.returncode, log.read())


def _read(
    process: subprocess.Popen[bytes],
    timeout: float,
    memory_bytes: int | None,
    heard: Callable[[Answer], None],
    heed: Callable[[], None],
) -> list[Answer]:
    """Read until the worker ends; kill it when it takes too long or too much."""
    found: list[Answer] = []

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            found.append(json.loads(line))
            heard(found[-1])

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
    finally:
        _end(process)
    return found


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
        tail = " / ".join([line for line in lines if not CHATTER.match(line)][-3:])
        raise MeasurementError(f"the process {ended(code)}: {tail or 'no word'}")
    return found
