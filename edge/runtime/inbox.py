"""A folder that pictures arrive in: which are complete, and which have their answer."""

import fcntl
import os
import stat
import time
from pathlib import Path
from typing import Any, BinaryIO, Final

from edge.errors import UsageError
from edge.runtime.files import abandoned, beside, fitting, readable, write_json
from edge.runtime.image import image_suffixes

ANSWER_SUFFIX: Final = ".json"  # photo.jpg has its answer in photo.jpg.json
LONGEST_NAME: Final = 255  # bytes, on Linux; of some file systems fewer
SHARE: Final = 1 / 200  # at most this share of the time is spent on a folder at rest
# Changes of a folder that come so soon after one another may have the same time.
_TICK: Final = 0.03  # seconds: of the system's clock
_COARSE_TICK: Final = 2.1  # seconds: of file systems whose times are whole, such as FAT

PictureStamp = tuple[
    int, int, int, int
]  # device, inode, size in bytes, time of change in nanoseconds


class Inbox:
    """The pictures of one folder; hidden files, links and other files are no pictures.

    A picture is complete when two looks find the same file of the same size and time of change.
    """

    def __init__(self, folder: Path) -> None:
        """Take the folder for this process alone.

        Raises:
            UsageError: It is no folder, may not be read, or another process answers in it.
        """
        self.folder = folder
        self._seen: dict[str, PictureStamp] = {}
        self._settled: dict[str, PictureStamp] = {}
        try:
            self._take()
        except BlockingIOError:
            raise UsageError(
                f"another process answers the pictures in {readable(folder)}",
                hint="Stop it first.",
            ) from None
        except OSError as error:
            raise UsageError(
                f"{readable(folder)} cannot be watched: {error.strerror}", hint="Name a folder."
            ) from error
        for path in abandoned(folder):
            if f"{ANSWER_SUFFIX}." in path.name and path.is_file():
                path.unlink(missing_ok=True)

    def _take(self) -> None:
        """Open the folder, and lock it.

        Raises:
            BlockingIOError: Another process has it.
            OSError: It is no folder, or may not be read.
        """
        opened = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(opened)
            raise
        except OSError:
            pass  # a file system without locks
        self._opened = opened
        status = os.fstat(opened)
        self.identity = status.st_dev, status.st_ino
        try:
            self._longest = min(LONGEST_NAME, os.fpathconf(opened, "PC_NAME_MAX"))
        except (OSError, ValueError):
            self._longest = LONGEST_NAME
        self._looked = _Look()

    def look(self) -> list[Path]:
        """Return the pictures that are complete and have no answer yet, the oldest first.

        Raises:
            OSError: The folder cannot be read any more.
        """
        stamps = self._unanswered()
        ready = [name for name, stamp in stamps.items() if self._seen.get(name) == stamp]
        self._seen = stamps
        ready.sort(key=lambda name: (stamps[name][3], name))
        return [self.folder / name for name in ready]

    @property
    def waiting(self) -> bool:
        """Whether the last look found a picture without an answer."""
        return bool(self._seen)

    def stamp(self, picture: Path) -> PictureStamp:
        """Return what the last look saw of a picture that it found complete."""
        return self._seen[picture.name]

    def open(self, picture: Path) -> BinaryIO | None:
        """Return the very file that the looks saw; None where another thing has its name meanwhile.

        Raises:
            OSError: It cannot be read.
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        if self._now(picture.name) != self._seen[picture.name]:
            return None
        try:
            file = os.open(picture.name, flags, dir_fd=self._opened)
        except OSError:
            if self._now(picture.name) is None:
                return None
            raise
        if _stamp(os.fstat(file)) != self._seen[picture.name]:
            os.close(file)
            return None
        # The name is what messages call the stream.
        return open(readable(picture), "rb", opener=lambda *_: file)

    def unchanged(self, picture: Path, stream: BinaryIO) -> bool:
        """Return whether an opened picture is what the looks saw."""
        return _stamp(os.fstat(stream.fileno())) == self._seen[picture.name]

    def _now(self, name: str) -> PictureStamp | None:
        """Return the stamp of a regular file that has the name; None for anything else."""
        try:
            return _stamp(os.stat(name, dir_fd=self._opened, follow_symlinks=False))
        except OSError:
            return None

    def answer_path(self, picture: Path) -> Path:
        """Return where its answer goes; a name that leaves no room for the suffix is shortened."""
        return picture.with_name(self._answer_name(picture.name))

    def _answer_name(self, name: str) -> str:
        return fitting(name + ANSWER_SUFFIX, self._longest)

    def answer(self, picture: Path, answer: dict[str, Any]) -> None:
        """Write the answer beside the picture; one with an error holds until the picture changes.

        Raises:
            OSError: It cannot be written; the picture goes on waiting.
        """
        write_json(self.answer_path(picture), answer)
        self._done(picture, settle="error" in answer)

    def forget(self, picture: Path) -> None:
        """Forget a picture that went away."""
        self._done(picture, settle=False)

    def settle(self, picture: Path) -> None:
        """Wait for one no more until it changes, though it has no answer in the folder."""
        self._done(picture, settle=True)

    def remove(self, picture: Path) -> None:
        """Delete an answered picture; another that took its name meanwhile stays.

        Raises:
            OSError: It cannot be deleted; it is left alone.
        """
        try:
            if self._now(picture.name) == self._seen[picture.name]:
                picture.unlink(missing_ok=True)
                # What was said of it before it was mended.
                self.answer_path(picture).unlink(missing_ok=True)
        except OSError:
            self._done(picture, settle=True)
            raise
        self._done(picture, settle=False)

    def check(self) -> None:
        """Find out whether the folder takes files at all.

        Raises:
            OSError: It does not.
        """
        trial = beside(self.folder / f"trial{ANSWER_SUFFIX}")
        trial.touch(exist_ok=False)
        trial.unlink()

    def close(self) -> None:
        """Let another process have the folder."""
        os.close(self._opened)

    def _done(self, picture: Path, *, settle: bool) -> None:
        """Wait for the picture no more; a settled one is looked at again when it changes."""
        stamp = self._seen.pop(picture.name, None)
        self._settled.pop(picture.name, None)
        if settle and stamp is not None:
            self._settled[picture.name] = stamp

    def _unanswered(self) -> dict[str, PictureStamp]:
        """Return the pictures without an answer.

        All names are read where the folder has changed, or has not been read for long; else those
        pictures alone are looked at that wait already.
        """
        status = self.folder.stat()
        if (status.st_dev, status.st_ino) != self.identity:
            self._take_anew()
            status = os.fstat(self._opened)
        if self._looked.suffices(status.st_mtime_ns):
            now = ((name, self._now(name)) for name in self._seen)
            return {name: stamp for name, stamp in now if stamp is not None}
        began = time.monotonic()
        stamps = self._all_unanswered()
        self._looked.done(began)
        return stamps

    def _take_anew(self) -> None:
        """Take the folder that has the name now: one was moved, mounted or unmounted."""
        before = self._opened
        try:
            self._take()
        except BlockingIOError as error:
            raise OSError(error.errno, "another process answers the pictures in it") from error
        os.close(before)
        self._seen, self._settled = {}, {}

    def _all_unanswered(self) -> dict[str, PictureStamp]:
        with os.scandir(self.folder) as entries:
            names = {entry.name for entry in entries if not entry.is_dir(follow_symlinks=False)}
        suffixes = image_suffixes()
        unanswered: dict[str, PictureStamp] = {}
        settled: dict[str, PictureStamp] = {}
        for name in names:
            if name[0] == "." or os.path.splitext(name)[1].lower() not in suffixes:  # noqa: PTH122
                continue
            kept = self._settled.get(name)
            if kept is None and self._answer_name(name) in names:
                continue
            stamp = self._now(name)
            if stamp is None:
                continue
            if kept is not None:
                settled[name] = kept
            if stamp != kept:
                unanswered[name] = stamp
        self._settled = settled
        return unanswered


class _Look:
    """When all names of a folder were read last; monotonic seconds.

    A change of the folder's time says that a name came or went. What tells nothing, or too late,
    such as a file system of a network, is found by reading the names now and then all the same.
    """

    def __init__(self) -> None:
        self._mtime: int | None = None
        self._noticed = 0.0
        self._began = 0.0
        self._due = 0.0

    def suffices(self, mtime: int) -> bool:
        """Return whether no name can have come since, and the next reading is not due."""
        now = time.monotonic()
        if mtime != self._mtime:
            self._mtime, self._noticed = mtime, now
        tick = _TICK if mtime % 1_000_000_000 else _COARSE_TICK
        return self._began > self._noticed + tick and now < self._due

    def done(self, began: float) -> None:
        """Note that the names were read."""
        now = time.monotonic()
        self._began = began
        self._due = now + (now - began) / SHARE


def _stamp(found: os.stat_result) -> PictureStamp | None:
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
