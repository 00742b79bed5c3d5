"""A folder that pictures arrive in: which are complete, and which have their answer."""

import fcntl
import os
from pathlib import Path, PurePath
from typing import Any, Final

from edge.errors import UsageError
from edge.runtime.files import abandoned, write_json
from edge.runtime.image import image_suffixes

ANSWER_SUFFIX: Final = ".json"  # photo.jpg has its answer in photo.jpg.json

Stamp = tuple[int, int]  # size in bytes, time of change in nanoseconds


class Inbox:
    """The pictures of one folder; hidden files, links and other files are no pictures.

    A picture is complete when two looks find the same size and time of change.
    """

    def __init__(self, folder: Path) -> None:
        """Take the folder for this process alone.

        Raises:
            UsageError: It is no folder, may not be read, or another process answers in it.
        """
        self.folder = folder
        self._seen: dict[str, Stamp] = {}
        self._settled: dict[str, Stamp] = {}
        try:
            self._lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise UsageError(
                f"{folder} cannot be watched: {error.strerror}", hint="Name a folder."
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise UsageError(
                f"another process answers the pictures in {folder}", hint="Stop it first."
            ) from None
        except OSError:
            pass  # a file system without locks
        for path in abandoned(folder):
            if f"{ANSWER_SUFFIX}." in path.name:
                path.unlink(missing_ok=True)

    def look(self) -> list[Path]:
        """Pictures that are complete and have no answer yet, the oldest first.

        Raises:
            OSError: The folder cannot be read any more.
        """
        found = self._unanswered()
        ready = [name for name, stamp in found.items() if self._seen.get(name) == stamp]
        self._seen = found
        ready.sort(key=lambda name: (found[name][1], name))
        return [self.folder / name for name in ready]

    @property
    def waiting(self) -> bool:
        """Whether the last look found a picture without an answer."""
        return bool(self._seen)

    def answer(self, picture: Path, answer: dict[str, Any]) -> None:
        """Write the answer beside the picture; one with an error holds until the picture changes.

        Raises:
            OSError: It cannot be written; the picture goes on waiting.
        """
        write_json(picture.with_name(picture.name + ANSWER_SUFFIX), answer)
        self._done(picture, settle="error" in answer)

    def forget(self, picture: Path) -> None:
        """Of one that went away."""
        self._done(picture, settle=False)

    def remove(self, picture: Path) -> None:
        """Delete an answered picture.

        Raises:
            OSError: It cannot be deleted; it is left alone.
        """
        try:
            picture.unlink(missing_ok=True)
            # What was said of it before it was mended.
            picture.with_name(picture.name + ANSWER_SUFFIX).unlink(missing_ok=True)
        except OSError:
            self._done(picture, settle=True)
            raise
        self._done(picture, settle=False)

    def close(self) -> None:
        """Let another process have the folder."""
        os.close(self._lock)

    def _done(self, picture: Path, *, settle: bool) -> None:
        """Wait for the picture no more; a settled one is looked at again when it changes."""
        stamp = self._seen.pop(picture.name, None)
        self._settled.pop(picture.name, None)
        if settle and stamp is not None:
            self._settled[picture.name] = stamp

    def _unanswered(self) -> dict[str, Stamp]:
        with os.scandir(self.folder) as entries:
            names = {entry.name: entry for entry in entries if not entry.name.startswith(".")}
        found: dict[str, Stamp] = {}
        settled: dict[str, Stamp] = {}
        for name, entry in names.items():
            if PurePath(name).suffix.lower() not in image_suffixes():
                continue
            kept = self._settled.get(name)
            if kept is None and name + ANSWER_SUFFIX in names:
                continue
            try:
                if not entry.is_file(follow_symlinks=False):
                    continue
                status = entry.stat(follow_symlinks=False)
            except OSError:  # it went away between the two calls
                continue
            stamp = (status.st_size, status.st_mtime_ns)
            if kept is not None:
                settled[name] = kept
            if stamp != kept:
                found[name] = stamp
        self._settled = settled
        return found
