"""Which pictures of a session edge wrote itself: what lies there otherwise is a person's.

A file of lines, each of them a JSON list: the sha256 of a picture, the name of its file, and the
press of the button that it came with, where that is known. It is only ever added to while a session
is open, before the picture's own file is touched, so that a power cut leaves no file of ours that
it does not name. A last line that is torn says nothing.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from edge.runtime.checked import read_bytes
from edge.runtime.files import fsync_directory, write_bytes

SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_OPEN: Final = ["open"]  # the line of a session that keeps pictures and has not ended yet
_MOST_BYTES: Final = 16 << 20  # a line has 100 to 400 bytes


class Index:
    """The names that edge gave to files of pictures; only one thread at a time may use it.

    One that cannot be read names nothing: then every file is taken for a person's.

    Args:
        path: Its file; it is made with the first line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names: dict[str, set[str]] = {}
        self._bursts: dict[str, str] = {}
        self._forgotten: set[str] = set()
        self._open = False
        self._opens = False
        try:
            content = read_bytes(path, "the index of pictures", max_bytes=_MOST_BYTES)
        except (OSError, ValueError):
            content = b""
        self._torn = bool(content) and not content.endswith(b"\n")
        for line in content.splitlines():
            self._take(line)

    @property
    def was_open(self) -> bool:
        """Whether the last session did not end by itself."""
        return self._open

    @property
    def forgotten(self) -> frozenset[str]:
        """The sha256 (hex) of what was to be taken out."""
        return frozenset(self._forgotten)

    def knows(self, image: str) -> bool:
        """Return whether a picture was written here, by whatever name, and not forgotten since."""
        return image in self._names and image not in self._forgotten

    def wrote(self, image: str, name: str) -> bool:
        """Return whether edge gave that name to the file of a picture."""
        return name in self._names.get(image, ())

    def burst(self, image: str) -> str:
        """Return what the pictures of one press of the button share; empty if it is not known."""
        return self._bursts.get(image, "")

    def state_bursts(self, bursts: Mapping[str, str]) -> None:
        """Take over the presses of pictures, by their sha256; ``replace`` writes them."""
        self._bursts.update(bursts)

    def write(self, image: str, name: str, burst: str | None = None) -> None:
        """Say that a picture is about to get a name.

        Args:
            image: Its sha256, hex.
            name: Its path, from the folder of pictures.
            burst: The press that it came with; None for the one that is known.

        Raises:
            OSError: The line cannot be written.
        """
        self._append([self._line(image, name, self.burst(image) if burst is None else burst)])

    def forget(self, images: Iterable[str]) -> None:
        """Say that pictures are about to be taken out.

        Raises:
            OSError: The lines cannot be written.
        """
        self._append([[image, None] for image in images])

    def begin(self) -> None:
        """Say that a session is open, as soon as there is a picture; ``replace`` takes it back.

        Raises:
            OSError: The line cannot be written.
        """
        self._opens = True
        if self._names:
            self._append([])

    def replace(self, names: Mapping[str, str]) -> None:
        """Write it anew, as of a session that has ended.

        Args:
            names: The path of each picture that is edge's own, by its sha256 (hex); an empty one
                for a picture that was, and whose file belongs to the user now.

        Raises:
            OSError: It cannot be written; it is as it was.
        """
        lines = [
            self._line(image, name, self.burst(image)) for image, name in sorted(names.items())
        ]
        if lines:
            write_bytes(self._path, _text(lines))
        elif self._path.exists():
            self._path.unlink()
            fsync_directory(self._path.parent)
        self._names = {image: {name} for image, name in names.items()}
        self._bursts = {image: self.burst(image) for image in names}
        self._forgotten = set()
        self._open = self._opens = self._torn = False

    @staticmethod
    def _line(image: str, name: str, burst: str) -> list[str | None]:
        return [image, name, burst] if burst else [image, name]

    def _append(self, lines: list[list[str | None]]) -> None:
        wanted = [*lines]
        if self._opens and not self._open:
            wanted.insert(0, [*_OPEN])
        if not wanted:
            return
        content = (b"\n" if self._torn else b"") + _text(wanted)
        fresh = not self._path.exists()
        self._torn = True  # until all of it is there
        with self._path.open("ab", buffering=0) as stream:
            if stream.write(content) != len(content):
                raise OSError(f"{self._path} was written in part only")
            os.fsync(stream.fileno())
        if fresh:
            fsync_directory(self._path.parent)
        self._torn = False
        for line in wanted:
            self._heed(line)

    def _take(self, line: bytes) -> None:
        try:
            self._heed(json.loads(line))
        except (ValueError, RecursionError):
            return

    def _heed(self, row: object) -> None:
        if row == _OPEN:
            self._open = True
        if not isinstance(row, list) or len(row) not in (2, 3):
            return
        image, name, burst = [*row, ""][:3]  # an older edge wrote no presses
        if not isinstance(image, str) or not SHA256.fullmatch(image):
            return
        if name is None:
            self._forgotten.add(image)
        elif isinstance(name, str):
            self._names.setdefault(image, set()).add(name)
            self._bursts[image] = burst if isinstance(burst, str) else ""
            self._forgotten.discard(image)


def _text(lines: list[list[str | None]]) -> bytes:
    return "".join(json.dumps(line) + "\n" for line in lines).encode()
