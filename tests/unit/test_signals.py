"""Ctrl-C that CPython can only print comes again."""

import subprocess
import sys

import pytest

LOSES_THE_FIRST = """
import signal, sys, time, weakref
from edge.runtime.signals import repeat_lost_interrupts

class Kept: pass

def lose(_):
    print("lost", flush=True)
    signal.raise_signal(signal.SIGINT)

{install}
kept = Kept()
watched = weakref.ref(kept, lose)
try:
    del kept
    time.sleep(3)
except KeyboardInterrupt:
    print("heeded")
else:
    print("went on")
"""


@pytest.mark.parametrize(
    ("install", "end"), [("repeat_lost_interrupts()", "heeded"), ("", "went on")]
)
def test_an_interrupt_in_a_callback_is_not_lost(install: str, end: str) -> None:
    """The second case is CPython's own way: when it changes, the function can go."""
    done = subprocess.run(
        [sys.executable, "-c", LOSES_THE_FIRST.format(install=install)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split("\n")[:2] == ["lost", end]
