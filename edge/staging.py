"""Folders to work in that are removed at the end, at the latest by a run after a kill.

Such a folder lies beside the path that its content is for. It says itself that edge made it, and
holds a lock as long as its process lives: only what says so and is not locked is ever removed. A
number of a process in a name proves neither, since numbers come again.
"""

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge.runtime.checked import read_json
from edge.runtime.files import Stamp, abandoned, beside, write_json

MARK: Final = ".edge-staging"  # the lock; empty
RECORD: Final = ".edge-staging.json"
FORMAT: Final = "edge-staging"
NEW: Final = "new"


@dataclass(frozen=True, slots=True)
class Workplace:
    """A folder of one run.

    Attributes:
        path: The folder itself, with a hidden name.
        made: The inode of ``new`` as this run made it: another one has been exchanged for it.
    """

    path: Path
    made: int

    @property
    def new(self) -> Path:
        """The folder for what is written."""
        return self.path / NEW

    def record(self, facts: dict[str, Any]) -> None:
        """Keep what a run after a kill has to know."""
        write_json(self.path / RECORD, {"format": FORMAT, "made": self.made, **facts})


@contextmanager
def workplace(target: Path) -> Iterator[Workplace]:
    """Give an empty folder beside ``target``, and remove what is still in it at the end.

    Raises:
        OSError: It cannot be made.
    """
    folder = beside(target)
    folder.mkdir(parents=True)
    descriptor, made = -1, None
    try:
        descriptor = os.open(folder / MARK, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        _lock(descriptor)
        (folder / NEW).mkdir()
        made = (folder / NEW).lstat().st_ino
        yield Workplace(folder, made)
    finally:
        # What came out of an exchange that was cut short is for a later run to judge.
        left = Stamp.of(folder / NEW)
        if left is None or left.inode == made:
            remove(folder)
        if descriptor >= 0:
            os.close(descriptor)


@contextmanager
def left_behind(parent: Path, name: str | None = None) -> Iterator[list[Path]]:
    """Workplaces whose process has ended, locked as long as the context lasts.

    Args:
        parent: The folder to look in, not below it.
        name: The name of what the work was for; None for any.
    """
    descriptors: list[int] = []
    folders = []
    try:
        for folder in abandoned(parent, name):
            descriptor = _taken(folder)
            if descriptor is not None:
                descriptors.append(descriptor)
                folders.append(folder)
        yield folders
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def made_of(folder: Path) -> dict[str, Any] | None:
    """Return what a run recorded of its workplace; None where it came to record nothing."""
    try:
        value = read_json(folder / RECORD)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) and value.get("format") == FORMAT else None


def remove(folder: Path) -> None:
    """Remove a workplace, the mark last: a kill meanwhile leaves one that is known again."""
    with suppress(OSError):
        for entry in folder.iterdir():
            if entry.name in (MARK, RECORD):
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
        for name in (RECORD, MARK):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


@contextmanager
def locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Let in one process at a time, of those that ask; a kill frees it.

    Args:
        folder: What is locked; nothing is written there.
        wait: Whether to wait for another process.

    Raises:
        BlockingIOError: Another process has it, and is not waited for.
        OSError: There is no such folder.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(descriptor, 0 if wait else fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _taken(folder: Path) -> int | None:
    """Return the lock of a folder that a run left, as a descriptor; None where it is not ours."""
    try:
        descriptor = os.open(folder / MARK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        with suppress(OSError):  # killed before it was marked; of anything else it is not empty
            folder.rmdir()
        return None
    except OSError:
        return None
    status = os.fstat(descriptor)
    try:
        if stat.S_ISREG(status.st_mode) and status.st_size == 0 and _lock(descriptor):
            return descriptor
    except BlockingIOError:
        pass  # its process runs
    os.close(descriptor)
    return None


def _lock(descriptor: int, waiting: int = fcntl.LOCK_NB) -> bool:
    """Lock a file, and return False where the file system has no locks.

    Raises:
        BlockingIOError: Another process has locked it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | waiting)
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
            return False
        raise
    return True
