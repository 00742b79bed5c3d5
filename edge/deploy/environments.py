"""Have an environment of wheels on a device."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge.deploy.session import Session
from edge.deploy.wheelhouse import Environment
from edge.errors import DeviceError
from edge.progress import Progress


def send_environment(session: Session, wheels: Environment, progress: Progress) -> int:
    """Send what is missing of it, and install it; bytes sent."""
    sent = send_files(
        session,
        progress,
        "send the interpreter",
        wheels.path,
        {"kind": "environment", "id": wheels.id, "files": dict(wheels.files)},
    )
    session.ask("install environment", id=wheels.id)
    return sent


def send_files(
    session: Session, progress: Progress, title: str, folder: Path, listed: dict[str, Any]
) -> int:
    """Send what the device lacks of the listed files of a folder.

    Args:
        session: Under the device's lock.
        progress: Is shown kilobytes.
        title: Of the stage.
        folder: Of the files.
        listed: The ``begin`` request: ``kind``, ``files`` and what else it needs.

    Returns:
        Bytes sent.
    """
    missing: dict[str, int] = session.ask("begin", **listed)["missing"]
    for path, have in missing.items():  # no other file of this machine, nor another part of it
        if path not in listed["files"] or not 0 <= have <= listed["files"][path][1]:
            raise DeviceError(f"the device asks for {path[:200]!r} from byte {have} on")
    total: int = sum(listed["files"][path][1] - have for path, have in missing.items())
    with progress.stage(f"{title}, kB", round(total / 1000)) as step:
        session.put_all(missing, folder, _Kilobytes(step).add)
    return total


class _Kilobytes:
    """Tells a stage of whole kilobytes."""

    def __init__(self, step: Callable[[int], None]) -> None:
        self._step = step
        self._bytes = 0

    def add(self, count: int) -> None:
        before = self._bytes // 1000
        self._bytes += count
        self._step(self._bytes // 1000 - before)
