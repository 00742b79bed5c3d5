"""How a process of edge begins and ends."""

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

WORK = """
import atexit, gc, threading, time

class Kept:
    def __del__(self):
        print("taken apart")

kept = Kept()
kept.itself = kept
collected_while_loading = gc.isenabled()

def late():
    time.sleep(0.2)
    print("thread")

def main():
    atexit.register(print, "called at the end")
    assert gc.isenabled() and not collected_while_loading
    {thread}
    print("answer")
    return 7
"""
THREAD = "threading.Thread(target=late, daemon={daemon}).start()"


def entered(
    folder: Path, body: str, stdout: IO[str] | int = subprocess.PIPE
) -> "subprocess.CompletedProcess[str]":
    (folder / "work.py").write_text(body, encoding="utf-8")
    program = (
        f"import sys; sys.path.insert(0, {str(folder)!r})\n"
        "from edge.runtime.entry import enter; enter('work')"
    )
    return subprocess.run(
        [sys.executable, "-c", program],
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("thread", "lines"),
    [
        ("pass", ["answer", "called at the end"]),
        (THREAD.format(daemon=True), ["answer", "called at the end"]),
        # Python's own way, which waits, and takes everything apart at last.
        (THREAD.format(daemon=False), ["answer", "thread", "called at the end", "taken apart"]),
    ],
    ids=["alone", "daemon", "thread"],
)
def test_a_process_ends_with_its_code_and_all_that_it_wrote(
    tmp_path: Path, thread: str, lines: list[str]
) -> None:
    done = entered(tmp_path, WORK.format(thread=thread))
    assert done.stderr == ""
    assert done.returncode == 7
    assert done.stdout.splitlines() == lines


@pytest.mark.parametrize("end", ["sys.exit(7)", "raise SystemExit(7)"])
def test_a_command_that_exits_ends_in_the_same_way(tmp_path: Path, end: str) -> None:
    work = WORK.format(thread="pass").replace("return 7", f"import sys; {end}")
    done = entered(tmp_path, work)
    assert (done.returncode, done.stderr) == (7, "")
    assert done.stdout.splitlines() == ["answer", "called at the end"]  # and not taken apart


def test_an_exit_with_a_message_or_without_a_code_is_python_s_own(tmp_path: Path) -> None:
    told = entered(tmp_path, "def main():\n    raise SystemExit('no such thing')\n")
    assert (told.returncode, told.stderr) == (1, "no such thing\n")
    assert entered(tmp_path, "def main():\n    raise SystemExit\n").returncode == 0


def test_an_output_that_is_full_is_told_at_the_end_as_python_does(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with Path("/dev/full").open("w") as full:
        done = entered(tmp_path, "def main():\n    print('answer')\n    return 0\n", stdout=full)
    assert done.returncode == 120
    assert "No space left" in done.stderr


def test_ctrl_c_says_so(tmp_path: Path) -> None:
    done = entered(tmp_path, "def main():\n    raise KeyboardInterrupt\n")
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
