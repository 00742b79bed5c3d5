"""JPEGs one after another, without lengths between them -> single pictures.

To search for FFD8 and FFD9 is wrong: a thumbnail within a picture has its own. Segments are passed
over by their length (ITU-T T.81, B.1.1); only entropy-coded data is searched, for an FF that is
neither stuffing (FF00), a restart marker (FFD0 to FFD7) nor fill (FFFF).
"""

import re
from typing import Final, NamedTuple

from edge.runtime.cameras.camera import MAX_FRAME_BYTES

_START: Final = b"\xff\xd8\xff"  # the start of an image, and the first byte of its first segment
_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_SOI, _EOI, _SOS, _TEM = 0xD8, 0xD9, 0xDA, 0x01
_NO_FRAME_HEADERS: Final = (0xC4, 0xC8, 0xCC)  # DHT, JPG and DAC lie among the SOFn
_MAX_SEGMENTS: Final = 2000  # 255 of a colour profile, 500 scans with tables: real ones have 10


class Piece(NamedTuple):
    """A whole JPEG of a stream, and how many bytes of the stream lie before it."""

    start: int
    jpeg: bytes


class Splitter:
    """Cuts a stream into pictures. Damage costs damaged pictures, never the stream.

    Memory holds at most one unfinished picture and what is fed at once. A damaged length can
    swallow the 64 KiB that follow it before the next picture is found.

    Attributes:
        dropped: Pictures that were begun and given up.
    """

    def __init__(self, *, one_size: bool = False, limit: int = MAX_FRAME_BYTES) -> None:
        """Begin between two pictures, or anywhere.

        Args:
            one_size: All pictures are as large as the first one; others, such as a thumbnail that
                is met when the search begins within a picture, are dropped.
            limit: Bytes of a picture; a larger one is dropped.
        """
        self.dropped = 0
        self._one_size, self._limit = one_size, limit
        self._bytes = bytearray()
        self._passed = 0  # bytes of the stream before those that are held
        self._size: tuple[int, int] | None = None  # of the first picture
        self._found: tuple[int, int] | None = None  # (width, height) that this one states
        self._inside, self._in_scan = False, False  # a picture, its entropy-coded data
        self._at, self._segments = 2, 0  # how far it was read, from its start

    def feed(self, data: bytes) -> list[Piece]:
        """Take the next bytes of the stream, and return the pictures that they complete."""
        self._bytes += data
        pieces: list[Piece] = []
        while self._step(pieces):
            pass
        return pieces

    def _step(self, pieces: list[Piece]) -> bool:
        """Go one segment on; return False where that takes more bytes."""
        if not self._inside:
            return self._find_start()
        if self._at > self._limit:
            return self._give_up(self._at)
        if self._in_scan and not self._pass_scan():
            return False
        if self._at + 2 > len(self._bytes):
            return False
        first, marker = self._bytes[self._at : self._at + 2]
        if first != 0xFF or marker == 0 or 0xD0 <= marker <= 0xD7:
            return self._give_up(2)
        if marker == 0xFF:  # fill
            self._at += 1
        elif marker == _SOI:  # the next picture begins before this one ended
            return self._give_up(self._at)
        elif marker == _EOI:
            self._finish(pieces)
        elif marker == _TEM:
            self._at += 2
        else:
            return self._pass_segment(marker)
        return True

    def _find_start(self) -> bool:
        start = self._bytes.find(_START)
        if start < 0:
            self._drop(max(0, len(self._bytes) - 2))
            return False
        self._drop(start)
        self._begin(inside=True)
        return True

    def _pass_scan(self) -> bool:
        """Go to the marker that ends entropy-coded data; return False where it has not come."""
        found = _MARKER.search(self._bytes, self._at)
        if found is None:
            # The last byte may begin a marker.
            self._at = max(self._at, len(self._bytes) - 1)
            return False
        self._at, self._in_scan = found.start(), False
        return True

    def _pass_segment(self, marker: int) -> bool:
        at, held = self._at, self._bytes
        if at + 4 > len(held):
            return False
        length = held[at + 2] << 8 | held[at + 3]
        if length < 2 or self._segments == _MAX_SEGMENTS:
            return self._give_up(2)
        if at + 2 + length > len(held):
            return False
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME_HEADERS and length >= 8:
            height, width = held[at + 5 : at + 7], held[at + 7 : at + 9]
            self._found = int.from_bytes(width), int.from_bytes(height)
        self._at, self._in_scan = at + 2 + length, marker == _SOS
        self._segments += 1
        return True

    def _finish(self, pieces: list[Piece]) -> None:
        end = self._at + 2
        wanted = self._found if self._size is None or not self._one_size else self._size
        if self._found is not None and self._found == wanted:
            self._size = self._size or self._found
            pieces.append(Piece(self._passed, bytes(self._bytes[:end])))
        else:
            self.dropped += 1
        self._drop(end)
        self._begin(inside=False)

    def _give_up(self, after: int) -> bool:
        """Drop the picture that was begun, and search for the next one behind so many bytes."""
        self.dropped += 1
        self._drop(after)
        self._begin(inside=False)
        return True

    def _begin(self, *, inside: bool) -> None:
        self._inside = inside
        self._at, self._in_scan, self._segments, self._found = 2, False, 0, None

    def _drop(self, count: int) -> None:
        del self._bytes[:count]
        self._passed += count
