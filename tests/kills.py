"""kill -9 before every single operation on files."""

import os
import sys
from collections.abc import Callable, Iterator
from typing import Final

import pytest

OPERATIONS: Final = frozenset(
    {
        *("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.scandir"),
        *("os.listdir", "fcntl.flock", "ctypes.dlsym", "shutil.rmtree", "sqlite3.connect"),
    }
)

# Arguments of a test: some of the steps in ``make test``, and each of them in ``make test-all``.
EVERY: Final = (3, pytest.param(1, marks=pytest.mark.long))


def killed_at(step: int, work: Callable[[], None]) -> bool:
    """Run in a process that is killed before its operation on files of that number."""
    child = os.fork()
    if child == 0:
        done = 0

        def count(event: str, arguments: object) -> None:
            nonlocal done
            if event in OPERATIONS:
                done += 1
                if done > step:
                    os.kill(os.getpid(), 9)

        try:
            sys.addaudithook(count)
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9


def at_every_step(work: Callable[[], None], every: int = 1) -> Iterator[int]:
    """The steps, or every so many of them, each after a process was killed there."""
    step = 0
    while killed_at(step, work):
        yield step
        step += every
    assert step > 10, "nothing was killed"
