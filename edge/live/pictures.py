"""The pictures that were taught: a folder for each class, as ``edge build`` reads it.

``PICTURES/LABEL/NNNN.jpg`` holds the bytes that were learnt, so that the sha256 of a file is what
``taught.npz`` calls the picture. Beside the folder, ``PICTURES.jsonl`` tells the files that edge
wrote from those that a person moved or added by hand, which are heeded with the next start.
"""

import hashlib
import os
import re
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.errors import OutputError, UsageError
from edge.live.index import SHA256, Index
from edge.runtime.checked import read_bytes
from edge.runtime.files import abandoned, fsync_directory, readable, sha256_file, write_bytes
from edge.runtime.place import writing

LABEL_NAME: Final = ".label"  # in a folder that cannot be called as its class: the class
_ESCAPED: Final = "%"  # the first character of such a folder's name, and of no other's
_LONGEST: Final = 255  # bytes of a name that file systems take
_MOST_LABEL: Final = 4096  # bytes of the file of a label
_NUMBERED: Final = re.compile(r"(\d{4,9})\.(?:jpg|png|webp|bmp|gif)", re.ASCII)
_HINT: Final = "Free some space, or see who may write to the session's folder."


@dataclass(frozen=True, slots=True)
class Kept:
    """A picture that lies in the folder.

    Attributes:
        label: Its class.
        path: Its file.
    """

    label: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Mended:
    """What was done to a folder that a killed run had left apart from what is taught: pictures.

    Attributes:
        taken_out: That are no longer taught.
        moved: That lay in the folder of another class.
        brought_back: That are taught, and had been taken out.
        missing: That are taught and have no file.
        untaught: That stay although nothing at all is taught.
    """

    taken_out: int
    moved: int
    brought_back: int
    missing: int
    untaught: int


def folder_name(label: str) -> str:
    """Return what the folder of a class is called: as the class, wherever a folder can be.

    A separator, a dot in front, which hides a folder, and a name that is too long cannot be. Such
    a folder has a name of the label's hash, and a file inside says which class it is.
    """
    fits = label and "/" not in label and "\0" not in label and label[0] not in (".", _ESCAPED)
    if fits and len(label.encode()) <= _LONGEST:
        return label
    return _ESCAPED + hashlib.sha256(label.encode()).hexdigest()[:16]


def label_of(folder: Path) -> str | None:
    """Return the class of a folder; None where its file of the label is missing or not its own."""
    if not folder.name.startswith(_ESCAPED):
        return folder.name
    try:
        content = read_bytes(folder / LABEL_NAME, "the label", max_bytes=_MOST_LABEL)
        label = content.decode().removesuffix("\n")
    except (OSError, ValueError):
        return None
    return label if folder_name(label) == folder.name else None


class Pictures:
    """The folder of pictures, and beside it what was taken out and may come back.

    Any thread may call: each call has the folder to itself.

    Args:
        folder: The folder with a folder for each class.
        removed: Where pictures wait that were forgotten or removed: until ``empty_removed``.

    Attributes:
        index: The file beside the folder that says which files are edge's own.
    """

    def __init__(self, folder: Path, removed: Path) -> None:
        self.folder = folder
        self._removed = removed
        self.index: Final = folder.with_name(f"{folder.name}.jsonl")
        self._index = Index(self.index)
        self._kept: dict[str, Kept] = {}
        self._copies: list[tuple[str, Kept]] = []  # further files with the same bytes
        self._lock = threading.Lock()
        for place in _folders(folder):
            label = label_of(place)
            for left in abandoned(place) if label is not None else ():
                self._rescue(left)
            for path in _numbered(place) if label is not None else ():
                self._found(sha256_file(path), Kept(label or "", path))

    def _rescue(self, left: Path) -> None:
        """Put what a killed write left in its place where it is whole, else take it away."""
        path = left.with_name(left.name[1:].rsplit(".", 2)[0])
        whole = (
            _NUMBERED.fullmatch(path.name)
            and left.is_file()
            and self._index.wrote(sha256_file(left), self._name(path))
        )
        if whole and not os.path.lexists(path):
            _rename(left, path)
        else:
            left.unlink(missing_ok=True)

    @property
    def was_open(self) -> bool:
        """Whether a session that kept pictures here did not end by itself."""
        return self._index.was_open

    @property
    def known(self) -> dict[str, dict[Path, str]]:
        """The files of each class that edge once wrote and nobody has forgotten, sorted.

        Each has the press of the button that it came with; empty where that is not known.
        """
        found: dict[str, dict[Path, str]] = {}
        with self._lock:
            for image, kept in sorted(self._kept.items(), key=lambda item: item[1].path):
                if self._index.knows(image):
                    found.setdefault(kept.label, {})[kept.path] = self._index.burst(image)
        return dict(sorted(found.items()))

    @property
    def presses(self) -> dict[Path, str]:
        """The press of the button that each numbered file came with, as far as that is known."""
        with self._lock:
            files = [*self._kept.items(), *self._copies]
            found = {kept.path: self._index.burst(image) for image, kept in files}
        return {path: burst for path, burst in found.items() if burst}

    @property
    def by_label(self) -> dict[str, list[str]]:
        """The sha256 (hex) of the pictures of each class, sorted."""
        found: dict[str, list[str]] = {}
        with self._lock:
            for image, kept in sorted(self._kept.items()):
                found.setdefault(kept.label, []).append(image)
        return dict(sorted(found.items()))

    def add(self, label: str, image: str, content: bytes, burst: str = "") -> None:
        """Keep a picture of a class; one that is kept already goes over to that class.

        Args:
            label: The class.
            image: The sha256 (hex) of the content.
            content: The bytes of its file.
            burst: What the pictures of one press of the button share; empty if it is not known.

        Raises:
            OutputError: The folder cannot be written; no part of the picture is left.
            UsageError: The hash is none.
        """
        if not SHA256.fullmatch(image):
            raise UsageError(f"{image[:80]!r} is no sha256 of a picture")
        with self._lock, writing(self.folder, _HINT):
            if image in self._kept:
                self._index.write(image, self._name(self._kept[image].path), burst)
                self._move(image, label)
                return
            path = self._next(image, label, _suffix(content), burst)
            write_bytes(path, content)
            self._kept[image] = Kept(label, path)

    def change(self, before: Mapping[str, str], now: Mapping[str, str]) -> None:
        """Follow what was forgotten, renamed, removed or brought back.

        A picture that was never taught is left alone: a person may have put it there.

        Args:
            before: The class of every picture that was taught, by its sha256 (hex).
            now: The same, of those that are taught now.

        Raises:
            OutputError: The folder cannot be written.
        """
        with self._lock, writing(self.folder, _HINT):
            gone = sorted(image for image in before.keys() - now.keys() if image in self._kept)
            self._index.forget(gone)  # all of them, before the first one: it may be cut short
            for image in gone:
                self._take_out(image)
            for image, label in now.items():
                if image in self._kept:
                    self._move(image, label)
                elif SHA256.fullmatch(image):
                    self._bring_back(image, label)

    def begin(self) -> None:
        """Note that a session is open; ``mend`` notes that it has ended.

        Raises:
            OutputError: The folder cannot be written.
        """
        with self._lock, writing(self.folder, _HINT):
            self._index.begin()

    def mend(
        self, taught: Mapping[str, str] | None, bursts: Mapping[str, str] | None = None
    ) -> Mended:
        """Make the folder agree with what is taught; files that a person put there stay.

        Where nothing at all is taught, only what was to be taken out goes: what was taught may
        have been lost. The rest is the user's from then on.

        Args:
            taught: The class of every picture that is taught, by its sha256 (hex); None where
                the bundle has no record of any.
            bursts: The press of the button that each of these came with, as the bundle has it.

        Raises:
            OutputError: The folder cannot be written.
        """
        with self._lock, writing(self.folder, _HINT):
            brought = missing = moved = 0
            self._index.state_bursts(bursts or {})
            for image, label in (taught or {}).items():
                self._prefer(image, label)
                if image not in self._kept and SHA256.fullmatch(image):
                    self._bring_back(image, label)
                    brought += image in self._kept
                elif image in self._kept and self._kept[image].label != label and self._own(image):
                    self._move(image, label)
                    moved += 1
                missing += image not in self._kept
            gone = self._gone(taught)
            self._index.forget(gone)
            for image in gone:
                self._take_out(image)
            names = self._names(taught)
            self._index.replace(names)
        return Mended(
            taken_out=len(gone),
            moved=moved,
            brought_back=brought,
            missing=missing,
            untaught=len(names) if taught is None else 0,
        )

    def empty_removed(self) -> None:
        """Delete what was taken out; from now on it cannot come back."""
        shutil.rmtree(self._removed, ignore_errors=True)

    def _found(self, image: str, kept: Kept) -> None:
        """Take a file in; of several with the same bytes, edge's own is the one that is kept."""
        first = self._kept.get(image)
        if first is None:
            self._kept[image] = kept
        elif self._own(image) or not self._index.wrote(image, self._name(kept.path)):
            self._copies.append((image, kept))
        else:
            self._kept[image] = kept
            self._copies.append((image, first))

    def _prefer(self, image: str, label: str) -> None:
        """Take a copy for the picture that lies in the folder of its class, where there is one."""
        for copied, kept in self._copies:
            if copied == image and kept.label == label and not self._own(image):
                self._kept[image] = kept

    def _gone(self, taught: Mapping[str, str] | None) -> list[str]:
        """Return edge's own pictures that are not taught; see ``mend``."""
        own = [image for image in sorted(self._kept) if self._own(image)]
        if taught is None:
            return [image for image in own if image in self._index.forgotten]
        return [image for image in own if image not in taught]

    def _own(self, image: str) -> bool:
        """Return whether edge put the file of a picture where it lies."""
        return self._index.wrote(image, self._name(self._kept[image].path))

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _names(self, taught: Mapping[str, str] | None) -> dict[str, str]:
        """Return what the index is to say of the pictures that are kept."""
        names = {}
        for image, kept in self._kept.items():
            if taught is not None and taught.get(image) == kept.label:
                names[image] = self._name(kept.path)
            elif self._index.knows(image):
                names[image] = ""  # a person moved it, or it is not taught and stays all the same
        return names

    def _next(self, image: str, label: str, suffix: str, burst: str | None = None) -> Path:
        """Return a new name for a picture, which the index knows from now on."""
        path = _next(self._place(label), suffix)
        self._index.write(image, self._name(path), burst)
        return path

    def _place(self, label: str) -> Path:
        """Return the folder of a class, which is made where it is missing."""
        place = self.folder / folder_name(label)
        if not place.is_dir():
            place.mkdir(parents=True)
            fsync_directory(self.folder)
        if place.name != label and not (place / LABEL_NAME).is_file():
            write_bytes(place / LABEL_NAME, f"{label}\n".encode())
        return place

    def _move(self, image: str, label: str) -> None:
        kept = self._kept[image]
        if kept.label == label:
            return
        path = self._next(image, label, kept.path.suffix)
        _rename(kept.path, path)
        self._kept[image] = Kept(label, path)
        _remove_if_empty(kept.path.parent)

    def _take_out(self, image: str) -> None:
        kept = self._kept[image]
        self._removed.mkdir(exist_ok=True)
        _rename(kept.path, self._removed / f"{image}{kept.path.suffix}")
        del self._kept[image]
        _remove_if_empty(kept.path.parent)

    def _bring_back(self, image: str, label: str) -> None:
        """Take a picture out of what was removed, if it is there: it may never have been kept."""
        for source in sorted(self._removed.glob(f"{image}.*"))[:1]:
            path = self._next(image, label, source.suffix)
            _rename(source, path)
            self._kept[image] = Kept(label, path)


def _folders(folder: Path) -> list[Path]:
    """Return the folders inside, sorted; links are nobody's classes.

    Raises:
        OutputError: Something else lies there.
    """
    if not folder.exists():
        return []
    if not folder.is_dir():
        raise OutputError(f"{readable(folder)} is no folder", hint="Choose another --output.")
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())


def _numbered(place: Path) -> list[Path]:
    paths = [path for path in place.iterdir() if _NUMBERED.fullmatch(path.name)]
    return sorted(path for path in paths if path.is_file() and not path.is_symlink())


def _next(place: Path, suffix: str) -> Path:
    """Return a name that nothing has: the number after the highest one."""
    numbers = (_NUMBERED.fullmatch(path.name) for path in place.iterdir())
    highest = max((int(match[1]) for match in numbers if match), default=0)
    return place / f"{highest + 1:04}{suffix}"


def _suffix(content: bytes) -> str:
    """Return the suffix of a picture's form; a camera's is JPEG, a dropped file may be another."""
    if content.startswith(b"\x89PNG"):
        return ".png"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return ".webp"
    if content.startswith(b"GIF8"):
        return ".gif"
    return ".bmp" if content.startswith(b"BM") else ".jpg"


def _rename(source: Path, target: Path) -> None:
    os.replace(source, target)  # noqa: PTH105 - the names are ours, and on one file system
    fsync_directory(target.parent)
    fsync_directory(source.parent)


def _remove_if_empty(place: Path) -> None:
    """Remove the folder of a class that has no picture left: ``edge build`` refuses empty ones."""
    left = {path.name for path in place.iterdir()}
    if left <= {LABEL_NAME}:
        (place / LABEL_NAME).unlink(missing_ok=True)
        place.rmdir()
