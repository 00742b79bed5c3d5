"""One deploy at a time, and who it is.

The kernel lets go of the lock when its process ends, however it ends.
"""

import fcntl
import json
import os
import time
from typing import Any

from edge.device.layout import root
from edge.errors import DeviceError
from edge.runtime import checked


class Lock:
    """Held until ``release``, or the end of the process."""

    def __init__(self, owner: str, what: str) -> None:
        """Take it.

        Args:
            owner: Who asks, ``user@host``.
            what: They do.

        Raises:
            DeviceError: Somebody else has it.
        """
        root().mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(
            root() / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            said = _owner(os.pread(self._descriptor, 4096, 0))
            os.close(self._descriptor)
            raise DeviceError(
                f"another command changes this device: {said}",
                hint="Wait for it; where its host is gone, the lock is free within two minutes.",
            ) from None
        entry = {"owner": owner, "what": what, "since": time.time(), "pid": os.getpid()}
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps(entry).encode(), 0)

    def release(self) -> None:
        """Let others in."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def _owner(content: bytes) -> str:
    """The owner that is written in the lock, for people."""
    try:
        entry: dict[str, Any] = checked.parse_json(content)
        ago = max(0, round(time.time() - float(entry["since"])))
        return f"{entry['owner']}, {entry['what']}, for {ago} s"
    except (ValueError, KeyError, TypeError, OverflowError):
        return "its owner is not known yet"
