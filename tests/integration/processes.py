"""Processes that belong together by a mark in their environment, and waiting for what they do."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

TAG: Final = "EDGE_TEST_DEVICE"  # in the environment of every process of a device
_WAIT: Final = 30.0  # seconds, for what takes milliseconds


def kill_tagged(tag: str) -> bool:
    """Kill the processes whose environment carries the tag; whether there were any."""
    wanted = f"{TAG}={tag}\0".encode()
    found = False
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if wanted in (folder / "environ").read_bytes():
                os.kill(int(folder.name), signal.SIGKILL)
                found = True
    return found


def has_ended(pid: int) -> bool:
    """Whether the process is gone, or only waits for somebody to ask how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_for(happened: Callable[[], bool], what: str) -> None:
    """Until something happened that takes milliseconds."""
    end = time.monotonic() + _WAIT
    while not happened():
        assert time.monotonic() < end, what
        time.sleep(0.01)
