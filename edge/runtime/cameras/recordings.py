"""Files that hold many pictures: JPEGs one after another, and raw video in a .y4m file.

Where the pictures lie is found out while the file is played for the first time, so that a long file
begins at once. A file that is cut meanwhile costs pictures, never more.
"""

import os
import re
from abc import ABC, abstractmethod
from array import array
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from edge.errors import CameraError, ImageError
from edge.runtime.cameras.camera import CameraFault
from edge.runtime.cameras.jpeg_stream import Splitter
from edge.runtime.cameras.played import LeftOut, fitting_jpeg, no_picture, within_bounds
from edge.runtime.cameras.yuv import encoded, grey_image, planes_image
from edge.runtime.files import open_regular, readable
from edge.runtime.image_bounds import MAX_PIXELS
from edge.runtime.printable import one_line

_CHUNK: Final = 1 << 18
_MOST_PICTURES: Final = 1_000_000  # of a file: nine hours at 30 frames a second
_MOST_TRIED: Final = 1000  # damaged pictures in a row, before a reader is told
_LONGEST_LINE: Final = 1024  # bytes of a header of a .y4m file; real ones have 60
# Colour -> how many pixels a sample of colour stands for, across and down; (0, 0): there is none.
# They are the 8-bit ones that ffmpeg and mjpegtools write; where samples lie exactly is not told
# apart, which is less than half a pixel of colour.
_SAMPLING: Final = {
    "420": (2, 2),
    "420jpeg": (2, 2),
    "420mpeg2": (2, 2),
    "420paldv": (2, 2),
    "422": (2, 1),
    "444": (1, 1),
    "mono": (0, 0),
}


class _Place(NamedTuple):
    """Where a picture lies in its file, in bytes."""

    start: int
    length: int


class _Recording(ABC):
    """The pictures of one file, in a circle."""

    format = ""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            OSError: It cannot be read.
        """
        self.left_out = LeftOut()
        self._path, self._at = path, -1
        self._fault = CameraFault.UNSUPPORTED  # of a file with no picture; later it is gone
        self._starts, self._lengths = array("Q"), array("Q")  # of the pictures that were found
        self._broken: set[int] = set()
        self._ended = False  # all pictures were found
        self._scanned = 0  # bytes of the file in which they were looked for
        self._file = open_regular(path)

    def ahead(self, steps: int) -> bytes:
        """See ``played.Source``; a picture that was damaged is tried again in the next round."""
        self._at += steps
        problem = ""
        for tried in range(1, _MOST_TRIED + 1):
            place = self._place()
            if place is None:
                break
            try:
                jpeg = self._jpeg(place, f"{readable(self._path)}, picture {self._at + 1}")
            except (ImageError, OSError) as error:
                problem = error.message if isinstance(error, ImageError) else str(error)
            else:
                self._fault = CameraFault.GONE
                return jpeg
            if self._at not in self._broken:
                self._broken.add(self._at)
                self.left_out.add(problem)
            self._at += 1
            if self._ended and tried >= len(self._starts):
                break
        hint = "Give another file, or a folder of JPEG or PNG pictures."
        raise no_picture(self._path, problem, self._fault, hint)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _place(self) -> _Place | None:
        """Return where the picture is that is due; None where there is no picture at all."""
        while not self._ended and self._at >= len(self._starts):
            self._search()
            self._ended |= len(self._starts) >= _MOST_PICTURES
        if not self._starts:
            return None
        self._at %= len(self._starts)
        return _Place(self._starts[self._at], self._lengths[self._at])

    def _found(self, start: int, length: int) -> None:
        self._starts.append(start)
        self._lengths.append(length)

    @abstractmethod
    def _search(self) -> None:
        """Look for more pictures, and note where the file ends.

        Raises:
            OSError: The file cannot be read.
        """

    @abstractmethod
    def _jpeg(self, place: _Place, name: str) -> bytes:
        """Return the picture at a place.

        Raises:
            ImageError: It is damaged.
            OSError: The file cannot be read.
        """

    def _read(self, place: _Place, name: str) -> bytes:
        content = self._some(place.start, place.length)
        if len(content) < place.length:
            raise ImageError(f"{name}: the file was cut short")
        return content

    def _some(self, start: int, length: int) -> bytes:
        return os.pread(self._file.fileno(), length, start)


class MjpegFile(_Recording):
    """JPEGs one after another, as ``rpicam-vid --codec mjpeg`` and ``ffmpeg -f mjpeg`` write them.

    A picture is given as it is where a folder's would be; its header alone is looked at.
    """

    format = "MJPEG file"

    def __init__(self, path: Path) -> None:
        """See ``_Recording``."""
        super().__init__(path)
        self._splitter = Splitter()

    def _search(self) -> None:
        chunk = self._some(self._scanned, _CHUNK)
        self._ended = not chunk
        self._scanned += len(chunk)
        for start, jpeg in self._splitter.feed(chunk):
            self._found(start, len(jpeg))

    def _jpeg(self, place: _Place, name: str) -> bytes:
        return fitting_jpeg(self._read(place, name), name, whole=False)


class Y4mFile(_Recording):
    """Raw video with a line of text before it and before each picture; see yuv4mpeg(5)."""

    format = "Y4M file"

    def __init__(self, path: Path) -> None:
        """Read the first line.

        Raises:
            OSError: The file cannot be read.
            CameraError: It is no such file, or of a kind that is not read.
        """
        super().__init__(path)
        try:
            self._read_header()
        except BaseException:
            self.close()
            raise

    def _read_header(self) -> None:
        line = self._line(0)
        words = line.decode("ascii", "replace").split(" ")
        values = {word[0]: word[1:] for word in words[1:] if word}
        if words[0] != "YUV4MPEG2":
            raise self._unread("it does not begin with YUV4MPEG2")
        sides = [values.get(key, "") for key in "WH"]
        if not all(re.fullmatch("[0-9]{1,5}", side) for side in sides):
            raise self._unread("its first line states no width and height")
        self._width, self._height = map(int, sides)
        if not 0 < self._width * self._height <= MAX_PIXELS:
            raise self._unread(f"its pictures have {self._width} x {self._height} pixels")
        colour = values.get("C", "420")
        if colour not in _SAMPLING:
            raise self._unread(
                f"its colours are {one_line(colour, 20)}; {', '.join(_SAMPLING)} are"
            )
        across, down = _SAMPLING[colour]
        self._colour = (-(-self._height // down), -(-self._width // across)) if across else (0, 0)
        self._full_range = "XCOLORRANGE=FULL" in words
        self._scanned = len(line) + 1

    def _unread(self, why: str) -> CameraError:
        return CameraError(
            f"{readable(self._path)} cannot be played: {why}",
            fault=CameraFault.UNSUPPORTED,
            hint="Write it with ffmpeg: ffmpeg -i VIDEO -pix_fmt yuv420p FILE.y4m",
        )

    def _line(self, start: int) -> bytes:
        """Return a line of text without its end; what has no end within reason is none."""
        line, end, _ = self._some(start, _LONGEST_LINE).partition(b"\n")
        return line if end else b""

    def _search(self) -> None:
        line = self._line(self._scanned)
        start = self._scanned + len(line) + 1
        length = self._width * self._height + 2 * self._colour[0] * self._colour[1]
        size = os.fstat(self._file.fileno()).st_size
        if not line.startswith(b"FRAME") or start + length > size:
            self._ended = True
            if self._scanned < size:
                self.left_out.add(
                    f"{readable(self._path)}, from byte {self._scanned:,} on: no whole picture"
                )
            return
        self._found(start, length)
        self._scanned = start + length

    def _jpeg(self, place: _Place, name: str) -> bytes:
        content = np.frombuffer(self._read(place, name), np.uint8)
        pixels = self._width * self._height
        luma = content[:pixels].reshape(self._height, self._width)
        if self._colour == (0, 0):
            image = grey_image(luma, full_range=self._full_range)
        else:
            blue, red = content[pixels:].reshape(2, *self._colour)
            image = planes_image(luma, blue, red, full_range=self._full_range)
        return encoded(within_bounds(image))
