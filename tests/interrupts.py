"""Ctrl-C at the worst moment."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch


@contextmanager
def heeded_interrupts() -> Iterator[None]:
    """Python's own handling of Ctrl-C, whatever the test runner has set."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def pressed_at_every_start() -> Iterator[list[Any]]:
    """Ctrl-C as soon as a process has started; gives these processes."""
    started: list[Any] = []

    class Pressed(subprocess.Popen[Any]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)
            os.kill(os.getpid(), signal.SIGINT)

    with heeded_interrupts(), patch.object(subprocess, "Popen", Pressed):
        yield started
