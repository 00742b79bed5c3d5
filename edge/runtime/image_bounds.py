"""What decoding one picture may cost, judged from its file before a pixel is decoded.

A file of a kilobyte can ask for gigabytes or for minutes. What is refused here is refused alike
in training, in evaluation and on the device; a service alone is stricter with memory (see
``bound_as_service``). The figures behind the constants are printed by
``tests/performance/decode_bounds.py``; docs/photos.md has them as a table.
"""

import re
import struct
from collections.abc import Iterator
from io import SEEK_END, BytesIO
from typing import Any, BinaryIO, Final

from PIL import ImageFile

from edge.errors import ImageError

# What is held at once
MAX_PIXELS: Final = 62_000_000  # decoded: as RGB, of which Pillow makes four bytes, 248 MB
MAX_SIDE: Final = 65_535  # what JPEG can say; Pillow keeps a pointer for each row
# All copies together that decoding and conversion hold at once: 50 megapixels of grey as RGB, and
# below 256 MiB with what the decoders hold besides.
MAX_BYTES: Final = 252_000_000
# A phone photo of 50 megapixels as AVIF, HEIC or WebP, or one that is stored lying, cannot be
# decoded in MAX_BYTES: Pillow holds two or more copies of it. It is no poison.
ORDINARY_PIXELS: Final = 52_000_000
ORDINARY_BYTES: Final = 448 << 20
MAX_HELD_FILE_BYTES: Final = 64 << 20  # a file that lies in memory whole: a pipe, WebP, AVIF
MAX_METADATA_BYTES: Final = 32 << 20  # EXIF, ICC, XMP, comments: depth maps of phones take 10 MB

# What takes time
MAX_FILE_BYTES: Final = 512 << 20  # 50 megapixels of 16-bit RGB, stored as they are, take 300 MB
MAX_READS: Final = 150_000  # chunks and blocks, a few microseconds each; 50 megapixels need 20,000
MAX_STORED_PIXELS: Final = 256_000_000  # a JPEG that is decoded small; phones make 200 million
MAX_BLOCKS: Final = 32_000_000  # 8 x 8 blocks that all scans of a JPEG visit; 50 nanoseconds each
MAX_SCANS: Final = 500  # in a JPEG; scripts of encoders write 10 to 20
MAX_UNITS: Final = 70_000  # strips or tiles of a TIFF: one for each row of the largest
MAX_TILE_PIXELS: Final = 96_000_000  # all tiles of a TIFF, which are decoded whole
MAX_RLE_PIXELS: Final = 12_000_000  # a compressed BMP, which Pillow decodes in Python
MAX_PROFILES: Final = 16  # colour profiles of a PNG, each of which is unpacked; it should have one
MAX_DIRECTORY_BYTES: Final = 4 << 20  # all values that an EXIF directory names

_ordinary_bytes = ORDINARY_BYTES

_WAY: Final = "Scale it down, or save it again with an ordinary program."
_STORED: Final = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
# Bytes a pixel that the plugins hold besides the image: of WebP two canvases and the frame, of
# AVIF and HEIC the frame while it is copied; the planes come on top.
_DECODERS: Final = {"WEBP": 12, "AVIF": 3.75, "HEIF": 3.75}
_WHOLE: Final = frozenset(_DECODERS)  # formats whose plugins read the whole file into memory
_PLANES: Final = re.compile(rb"av1C\x81.(.)|hvcC\x01.{15}(..)..", re.DOTALL)
_COPIED_MODES: Final = frozenset({"CMYK", "YCbCr", "HSV", "I", "F"})
_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_SOS, _EOI, _APP1, _EXIF_START = 0xDA, 0xD9, 0xE1, b"Exif\0\0"
_WITHOUT_LENGTH: Final = frozenset({0x01, 0xC8, 0xD8, *range(0xF0, 0xFE)})
_WINDOW: Final = 1 << 16  # bytes of a file that are searched at a time
_SEGMENT_START: Final = 18  # a marker and what tells the components of a scan
_TYPE_BYTES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_LONG_TYPES: Final = {13: 4, 16: 8, 17: 8, 18: 8}
_BYTES_TYPES: Final = (1, 2, 6, 7)
_SUB_DIRECTORIES: Final = frozenset({0x8769, 0x8825, 0xA005})  # Exif, GPS, interoperability


def bound_as_service() -> None:
    """Hold every picture that this process decodes from now on to ``MAX_BYTES``.

    Whoever builds sees what a large photo takes, and gives the machine. A service must live within
    what its board has left, and answer the next picture.
    """
    global _ordinary_bytes
    _ordinary_bytes = MAX_BYTES


class Metered:
    """A stream that ends a decoder which reads without end.

    Attributes:
        held: Bytes of the file that lie in memory, for it came through a pipe.
        file_bytes: Length of the file.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        """Measure the stream; one that can be read once only is taken into memory.

        Raises:
            ImageError: It is longer than what is read.
        """
        self.held = 0
        if not stream.seekable():
            content = read_pipe(stream, name)
            self.held = len(content)
            stream = BytesIO(content)
        self._stream, self._name = stream, name
        self.file_bytes = stream.seek(0, SEEK_END)
        stream.seek(0)
        if self.file_bytes > MAX_FILE_BYTES:
            raise _over(name, f"the file has {_megabytes(self.file_bytes)};", MAX_FILE_BYTES)
        self.restart()

    def restart(self, metadata_bytes: int = MAX_METADATA_BYTES) -> None:
        """Begin to count: a header is read, and at most so many bytes of it."""
        self._reads, self._left = MAX_READS, metadata_bytes

    def begin_pixels(self) -> None:
        """Note that pixels are read from here on, which may take the whole file."""
        self._left = 2 * self.file_bytes + MAX_METADATA_BYTES

    def read(self, size: int | None = -1) -> bytes:
        """Do as any stream does.

        Raises:
            ImageError: More is read, or oftener, than pictures need.
        """
        if size is None or size < 0 or size > self._left:
            size = self._left + 1
        content = self._stream.read(size)
        self._reads -= 1
        self._left -= len(content)
        if self._reads < 0 or self._left < 0:
            raise ImageError(
                f"{self._name}: the file has more than {_megabytes(MAX_METADATA_BYTES)} beside its "
                f"pixels, or more than {MAX_READS:,} pieces",
                hint=_WAY,
            )
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        """Do as any stream does."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """Do as any stream does."""
        return self._stream.tell()

    def __getattr__(self, name: str) -> Any:
        """Return what else a decoder asks for, such as the descriptor of the file."""
        return getattr(self._stream, name)


def read_pipe(stream: BinaryIO, name: str) -> bytes:
    """Return the bytes of a picture that can be read once only, as from a pipe.

    Raises:
        ImageError: More than MAX_HELD_FILE_BYTES came.
    """
    content = stream.read(MAX_HELD_FILE_BYTES + 1)
    if len(content) > MAX_HELD_FILE_BYTES:
        raise _over(name, "more came through the pipe;", MAX_HELD_FILE_BYTES)
    return content


def check_file(stream: Metered, kind: str, name: str) -> None:
    """Walk what a plugin would read without a bound of its own.

    Args:
        stream: At any place; it is left at its start.
        kind: As the plugin of Pillow is called: Jpeg, Png, Tiff, WebP, Avif, Heif.
        name: How messages call the file.

    Raises:
        ImageError: The file is beyond the bounds.
    """
    if kind.upper() in _WHOLE:
        if stream.file_bytes > MAX_HELD_FILE_BYTES:
            raise _over(name, f"the file has {_megabytes(stream.file_bytes)};", MAX_HELD_FILE_BYTES)
        stream.restart(2 * stream.file_bytes)
    elif kind == "Jpeg":
        _check_jpeg_header(stream, name)
    elif kind == "Png":
        _check_chunks(stream, name)
    elif kind == "Tiff":
        check_directories(stream, name, stream.file_bytes)
    stream.seek(0)


def check_image_bounds(
    image: ImageFile.ImageFile,
    stream: Metered,
    name: str,
    *,
    stored: tuple[int, int],
    in_strips: bool,
    turned: bool,
) -> None:
    """Judge what an opened image will take.

    Args:
        image: Its header has been read and its reduction arranged.
        stream: The one that it was opened from; its place is kept.
        name: How messages call the file.
        stored: (width, height) in pixels before the reduction.
        in_strips: Whether the decoder holds a strip at a time. It is true of every format but
            JPEG, which may have several scans.
        turned: Whether it will be turned, which takes a second image.

    Raises:
        ImageError: It is beyond the bounds.
    """
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise too_large(name, f"{width} x {height}")
    if max(stored) > MAX_SIDE:
        raise ImageError(
            f"{name}: the image has {stored[0]} x {stored[1]} pixels; at most {MAX_SIDE:,} a side "
            "are decoded",
            hint="Cut it into pieces.",
        )
    coefficients = 0
    if image.format == "JPEG":
        coefficients = _check_jpeg(image, stream, name, stored, in_strips)
    compressed_bmp = image.format == "BMP" and image.tile and image.tile[0][0] == "bmp_rle"
    if compressed_bmp and width * height > MAX_RLE_PIXELS:
        raise _too_long(name, f"{width * height:,} pixels of a compressed BMP", MAX_RLE_PIXELS)
    extra = coefficients
    if image.format == "TIFF":
        extra = _tiff_unit_bytes(image, name)
    elif image.format in _WHOLE:
        extra = 2 * stream.file_bytes + _plane_bytes(image, stream)
    check_bytes(image, name, stream.held + extra, turned, stored)


def check_bytes(
    image: ImageFile.ImageFile,
    name: str,
    extra: int,
    turned: bool,
    stored: tuple[int, int] | None = None,
) -> None:
    """Judge the copies of an image.

    Args:
        image: Opened, and perhaps loaded.
        name: How messages call the file.
        extra: Bytes that the decoder holds besides.
        turned: Whether it will be turned, or copied once more for another reason.
        stored: (width, height) in the file; None if it is not decoded small.

    Raises:
        ImageError: They take more memory than is allowed.
    """
    pixels, pointers = image.width * image.height, 16 * max(image.size)
    width, height = stored or image.size
    each = _STORED.get(image.mode, 4)
    decoding = int(pixels * (each + _DECODERS.get(str(image.format), 0))) + extra
    copied = each < 4 or image.mode in _COPIED_MODES or image.has_transparency_data
    copies = each + 4 if copied else each
    needed = max(decoding, pixels * (max(copies, 8) if turned else copies)) + pointers
    dear = turned or image.format in _WHOLE or image.format == "JPEG"
    ordinary = max(pixels, width * height) <= ORDINARY_PIXELS
    allowed = _ordinary_bytes if dear and ordinary else MAX_BYTES
    if needed > allowed:
        raise ImageError(
            f"{name}: to decode {width} x {height} pixels of this kind "
            f"({image.format}, {image.mode}) takes {_megabytes(needed)}; at most "
            f"{_megabytes(allowed)} are taken",
            hint=_WAY,
        )


def check_directories(stream: BinaryIO | Metered, name: str, length: int) -> tuple[int, int]:
    """Judge a TIFF file's first directory, or that of EXIF data, and those within it.

    Args:
        stream: It begins with the header of TIFF 6.0.
        name: How messages call the file.
        length: Bytes of the stream. Directories that name more, or the same bytes again and
            again, are refused.

    Returns:
        Where the first directory lies and where the next one does, 0 where there is none.

    Raises:
        ImageError: It names more bytes than there are, or than is allowed.
    """
    stream.seek(0)
    head = stream.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    big = head[2:4] in (b"+\0", b"\0+")
    if order is None or len(head) < (16 if big else 8):
        return 0, 0
    first = struct.unpack(order + ("Q" if big else "I"), head[8:16] if big else head[4:8])[0]
    allowed = max(MAX_DIRECTORY_BYTES, min(length, MAX_METADATA_BYTES))
    total, waiting, following = _directory(stream, first, order, big, name)
    for place in waiting:
        total += _directory(stream, place, order, big, name)[0]
    if total > allowed:
        raise _over(name, f"its directories name {_megabytes(total)};", allowed)
    return first, following


def _directory(
    stream: BinaryIO | Metered, place: int, order: str, big: bool, name: str
) -> tuple[int, list[int], int]:
    """Return the bytes that a directory names, those within it, and the next one's offset."""
    entry, head, pointer = ("HHQ8s", "Q", "Q") if big else ("HHI4s", "H", "I")
    head_bytes, entry_bytes = struct.calcsize(order + head), struct.calcsize(order + entry)
    if place >= 1 << 62:
        return 0, [], 0
    stream.seek(place)
    start = stream.read(head_bytes)
    if len(start) < head_bytes:
        return 0, [], 0
    entries = min(struct.unpack(order + head, start)[0], 0xFFFF)
    content = stream.read(entries * entry_bytes)
    content = content[: len(content) // entry_bytes * entry_bytes]
    total, within = 0, []
    for tag, kind, count, value in struct.iter_unpack(order + entry, content):
        total += count * (_TYPE_BYTES.get(kind) or _LONG_TYPES.get(kind, 0))
        if kind not in _BYTES_TYPES and count > 4 * MAX_UNITS:
            raise _too_long(name, f"{count:,} values in one field of a directory", 4 * MAX_UNITS)
        if tag in _SUB_DIRECTORIES and count == 1:
            within.append(struct.unpack(order + pointer, value)[0])
    after = stream.read(struct.calcsize(order + pointer))
    whole = len(after) == struct.calcsize(order + pointer)
    return total, within, struct.unpack(order + pointer, after)[0] if whole else 0


def _check_jpeg_header(stream: Metered, name: str) -> None:
    """Judge the EXIF directories before the first scan, which Pillow reads when it opens."""
    exif = b""
    for marker, place, length, content in _segments(stream):
        if marker == _SOS:
            break
        if marker == _APP1 and content[2:].startswith(_EXIF_START):
            stream.seek(place + 8)
            exif += stream.read(max(0, length - 8))
    if exif:
        check_directories(BytesIO(exif), name, len(exif))
    stream.restart()


def _segments(stream: Metered) -> Iterator[tuple[int, int, int, bytes]]:
    """Return the segments of a JPEG up to its end; ITU-T T.81, B.1.1.

    Yields:
        The second byte of the marker, the place of what follows it, the length that stands there
        and its first bytes (16, or fewer at the end of the file).
    """
    at, start, window = 2, 2, b""
    while True:
        if at - start > len(window) - _SEGMENT_START:
            stream.seek(at)
            start, window = at, stream.read(_WINDOW)
        match = _MARKER.search(window, at - start)
        whole = len(window) == _WINDOW
        if match is None:
            if not whole:
                return
            at = start + len(window) - 1  # the last byte may begin a marker
            continue
        at = start + match.start()
        if whole and at - start > len(window) - _SEGMENT_START:
            continue
        marker, content = match[0][1], window[match.end() : match.end() + 16]
        if marker == _EOI:
            return
        at += 2
        if marker not in _WITHOUT_LENGTH:
            length = int.from_bytes(content[:2], "big")
            yield marker, at, length, content
            at += max(2, length)


def _check_chunks(stream: Metered, name: str) -> None:
    """Judge what a PNG file has beside its pixels."""
    stream.seek(8)
    beside = profiles = 0
    while len(start := stream.read(8)) == 8:
        (length,) = struct.unpack(">I", start[:4])
        beside += 0 if start[4:] == b"IDAT" else length
        profiles += start[4:] == b"iCCP"
        stream.seek(length + 4, 1)
    if beside > MAX_METADATA_BYTES:
        raise _over(name, f"{_megabytes(beside)} lie beside its pixels;", MAX_METADATA_BYTES)
    if profiles > MAX_PROFILES:
        raise _too_long(name, f"{profiles} colour profiles", MAX_PROFILES)
    stream.restart()


def _check_jpeg(
    image: Any, stream: Metered, name: str, stored: tuple[int, int], in_strips: bool
) -> int:
    """Judge the stored pixels and the scans; the bytes of all coefficients that are held."""
    width, height = stored
    if width * height > MAX_STORED_PIXELS:
        raise ImageError(
            f"{name}: the image has {width} x {height} pixels, which are decoded small; at most "
            f"{MAX_STORED_PIXELS:,} are",
            hint="Scale it down.",
        )
    if in_strips:
        return 0
    if stream.file_bytes > MAX_HELD_FILE_BYTES:
        found = f"the file has several scans of {_megabytes(stream.file_bytes)};"
        raise _over(name, found, MAX_HELD_FILE_BYTES)
    widest = max((item[1] for item in image.layer), default=1)
    highest = max((item[2] for item in image.layer), default=1)
    across, down = -(-width // (8 * widest)), -(-height // (8 * highest))
    blocks = {item[0]: across * item[1] * down * item[2] for item in image.layer}
    place = stream.tell()
    scans = visited = 0
    for marker, _, _, content in _segments(stream):
        if marker != _SOS:
            continue
        scans += 1
        components = content[3 : 3 + 2 * content[2] : 2] if len(content) > 2 else b""
        visited += sum(blocks.get(component, 0) for component in components)
        if scans > MAX_SCANS or visited > MAX_BLOCKS:
            raise ImageError(
                f"{name}: this JPEG of {width} x {height} pixels has {scans} scans or more; at "
                f"most {MAX_SCANS} are decoded, and at most {MAX_BLOCKS:,} blocks in all of them",
                hint="Save it again with an ordinary program, as a baseline JPEG.",
            )
    stream.seek(place)
    return int(128 * sum(blocks.values()))  # 64 coefficients of 16 bits


def _tiff_unit_bytes(image: Any, name: str) -> int:
    """Return the bytes of a strip or a tile, which is decoded whole.

    It is 0 where nothing is compressed.
    """
    tags = getattr(image, "tag_v2", {})
    width, height = image.size
    tile: list[Any] = [tags.get(tag) for tag in (322, 323)]
    rows = tags.get(278, height)
    bits, samples = tags.get(258, (1,)), tags.get(277, 1)
    deepest = max(bits) if isinstance(bits, tuple) else bits
    if tile == [None, None]:
        tile = [width, max(1, min(rows, height)) if isinstance(rows, int) else height]
    if not all(isinstance(side, int) and side > 0 for side in [*tile, samples, deepest]):
        raise ImageError(f"{name}: the image is damaged: its tiles have no size", hint=_WAY)
    planes = samples if tags.get(284) == 2 else 1
    units = -(-width // tile[0]) * -(-height // tile[1]) * planes
    if units > MAX_UNITS:
        raise _too_long(name, f"{units:,} strips or tiles", MAX_UNITS)
    if units * tile[0] * tile[1] > MAX_TILE_PIXELS * planes:
        raise _too_long(name, f"tiles of {units * tile[0] * tile[1]:,} pixels", MAX_TILE_PIXELS)
    if image.tile and image.tile[0][0] == "raw":
        return 0
    held = max(4, -(-samples * deepest // 8)) if planes == 1 else -(-deepest // 8)
    return int(tile[0] * tile[1] * held)


def _plane_bytes(image: ImageFile.ImageFile, stream: Metered) -> int:
    """Return the bytes of the planes of luma and colour that an AVIF or HEIC decoder makes.

    What the configurations of its pictures tell counts, the most of all: AV1 Codec ISO Media File
    Format Binding, 2.3.3, and ISO/IEC 14496-15, 8.3.3.1.2. Without one it is 4:4:4 of 16 bits.
    """
    if image.format == "WEBP":
        return 0
    place = stream.tell()
    stream.seek(0)
    content = stream.read(stream.file_bytes)
    stream.seek(place)
    quarters = []
    for match in _PLANES.finditer(content):
        if match[1]:
            deep, chroma = bool(match[1][0] & 0x40), match[1][0] >> 2 & 3  # subsampled: x, y
            share = {3: 6, 2: 8}.get(chroma, 12)
        else:
            deep, share = bool(match[2][1] & 7), {0: 4, 1: 6, 2: 8}.get(match[2][0] & 3, 12)
        quarters.append(share * (1 + deep))
    opacity = 12 if image.mode == "RGBA" else 0
    return image.width * image.height * (max(quarters, default=24) + opacity) // 4


def too_large(name: str, found: str, allowed: int = MAX_PIXELS) -> ImageError:
    """Return the error for an image over the bound; ``found`` is its size, width x height."""
    return ImageError(
        f"{name}: the image has {found} pixels; at most {allowed:,} pixels are decoded",
        hint="Scale it down.",
    )


def _over(name: str, found: str, allowed: int) -> ImageError:
    return ImageError(f"{name}: {found} at most {_megabytes(allowed)} are read", hint=_WAY)


def _too_long(name: str, found: str, allowed: int) -> ImageError:
    return ImageError(f"{name}: the file has {found}; at most {allowed:,} are decoded", hint=_WAY)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
