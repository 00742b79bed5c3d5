"""A process that answers in JSON lines, with real processes that misbehave."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.errors import (
    EngineUnavailable,
    ImageError,
    MeasurementError,
    NegativeVerdict,
    UsageError,
)
from edge.runtime.child import in_child
from edge.workers import WorkerLimits, answers
from tests.interrupts import pressed_at_every_start

SLEEPER = "import subprocess, sys; subprocess.run([sys.executable, '-c', {!r}])"


def ran(code: str, *, seconds: float = 20.0, memory_bytes: int | None = None) -> list[Any]:
    return answers(
        [sys.executable, "-c", code],
        folder=Path.cwd(),
        environment=os.environ,
        limits=WorkerLimits(seconds=seconds, memory_bytes=memory_bytes),
    )


def test_answers_come_in_order_and_are_heard() -> None:
    heard: list[Any] = []
    found = answers(
        [sys.executable, "-c", "print('{\"a\": 1}'); print('{\"a\": 2}')"],
        folder=Path.cwd(),
        environment=os.environ,
        limits=WorkerLimits(seconds=20),
        heard=heard.append,
    )
    assert found == heard == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("EngineUnavailable", EngineUnavailable),
        ("MeasurementError", MeasurementError),
        ("SomethingElse", MeasurementError),
    ],
)
def test_an_error_is_raised_as_what_it_was(name: str, kind: type[Exception]) -> None:
    code = f"import json; print(json.dumps({{'error': {name!r}, 'message': 'm', 'hint': 'h'}}))"
    with pytest.raises(kind) as caught:
        ran(code)
    assert (caught.value.message, caught.value.hint) == ("m", "h")  # type: ignore[attr-defined]


def test_a_crash_says_the_signal_and_the_last_words() -> None:
    code = (
        "import os, sys; print('{}'); sys.stderr.write('it broke'); sys.stderr.flush(); os.abort()"
    )
    with pytest.raises(MeasurementError, match="ended by SIGABRT: it broke"):
        ran(code)


def test_what_tensorflow_always_says_is_no_last_word() -> None:
    said = "real\\nI0000 00:00:1.2 33 port.cc:1] oneDNN\\n"
    code = f"import sys; sys.stderr.write('{said}'); sys.exit(3)"
    with pytest.raises(MeasurementError, match=r"ended with code 3: real$"):
        ran(code)


def test_no_answer_is_an_error() -> None:
    with pytest.raises(MeasurementError, match="ended with code 0: it wrote no reason"):
        ran("pass")


def test_one_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    inner = (
        "import pathlib, time\n"
        f"while True: pathlib.Path({str(alive)!r}).write_text(str(time.time())); time.sleep(0.05)"
    )
    with pytest.raises(MeasurementError, match="did not end within 2 s"):
        ran(SLEEPER.format(inner), seconds=2.0)
    assert alive.exists()
    last = alive.read_text()
    time.sleep(0.3)
    assert alive.read_text() == last


def test_one_that_takes_too_much_memory_is_killed() -> None:
    inner = "import time; x = b'1' * (400 << 20); time.sleep(60)"
    with pytest.raises(MeasurementError, match=r"took more than 0\.2 GiB"):
        ran(SLEEPER.format(inner), memory_bytes=200 << 20)


def test_ctrl_c_while_it_starts_ends_it() -> None:
    with pressed_at_every_start() as started, pytest.raises(KeyboardInterrupt):
        ran("import time; time.sleep(60)")
    (process,) = started
    assert process.returncode == -signal.SIGKILL


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="cannot be run: No such file"):
        answers(
            ["/nowhere/python"],
            folder=Path.cwd(),
            environment={},
            limits=WorkerLimits(seconds=1.0),
        )


MEGABYTE = 1_000_000


def fills_memory() -> None:
    held = []
    while True:
        held.append(bytearray(b"x" * MEGABYTE))


@pytest.mark.parametrize(
    ("work", "said", "seconds"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), "was ended by SIGSEGV", 20),
        (os.abort, "was ended by SIGABRT", 20),
        (lambda: os._exit(7), "ended with code 7", 20),
        (lambda: time.sleep(60), "did not end within 1 s", 1),
        (fills_memory, "of memory and was killed", 20),
    ],
    ids=["segv", "abort", "exit", "hang", "memory"],
)
def test_work_that_ends_its_process_is_an_error_here(
    work: Callable[[], None], said: str, seconds: float
) -> None:
    began = time.monotonic()
    with pytest.raises(NegativeVerdict, match=said):
        in_child(work, seconds=seconds, memory_bytes=100 * MEGABYTE)
    assert time.monotonic() - began < 15  # not as long as the work would take


def test_an_error_of_the_work_is_raised_here_with_its_class() -> None:
    def work() -> None:
        raise ImageError("no picture", hint="Take another.")

    with pytest.raises(ImageError, match="no picture") as found:
        in_child(work, seconds=5, memory_bytes=100 * MEGABYTE)
    assert found.value.hint == "Take another."
    in_child(lambda: None, seconds=5, memory_bytes=100 * MEGABYTE)  # and nothing where it ends well


def test_work_is_stopped_when_it_is_asked_for() -> None:
    end = time.monotonic() + 0.2
    in_child(
        lambda: time.sleep(60),
        seconds=30,
        memory_bytes=100 * MEGABYTE,
        stopped=lambda: time.monotonic() > end,
    )
    assert time.monotonic() < end + 5
