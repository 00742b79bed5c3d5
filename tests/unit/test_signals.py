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


PRESSED_AT_AN_IMPORT = """
import os, runpy, signal, sys

class Pressed:
    def find_spec(self, name, *_):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)

_, entry, module, *words = sys.argv
sys.argv = [entry, *words]
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Pressed())
if entry == "edge":
    from edge.__main__ import main  # as the console script
    main()
runpy.run_module(entry, run_name="__main__")
"""


@pytest.mark.parametrize(
    ("entry", "module"),
    [
        ("edge", "edge.runtime.signals"),
        ("edge", "typer"),
        ("edge", "edge.cli.terminal"),
        ("edge.runtime", "edge.runtime.signals"),
        ("edge.runtime", "edge.runtime.command_line"),
        ("edge.runtime", "numpy"),
    ],
)
def test_an_interrupt_of_the_start(entry: str, module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRESSED_AT_AN_IMPORT, entry, module, "predict", "b", "i"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
