"""Pictures that ask for far more than their bytes tell, and the largest ones that are decoded."""

import struct
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any, Final

import numpy as np
from PIL import Image, features

Make = Callable[[], bytes]
_TYPES: Final = {1: "B", 2: "B", 3: "H", 4: "I", 7: "B", 16: "Q"}  # of TIFF 6.0


def png(
    side: int,
    kind: int,
    bits: int = 8,
    *,
    before: bytes = b"",
    after: bytes = b"",
    chunk: int = 1 << 16,
    interlaced: bool = False,
) -> bytes:
    """A valid PNG of zeros; ``kind`` is 0 grey, 2 RGB, 3 palette, 4 grey and 6 RGB with opacity."""
    row = -(-side * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind] * bits // 8) + 1
    total = (row * side + 16 * side) if interlaced else row * side
    deflate = zlib.compressobj(6)
    zeros = bytes(1 << 20)
    packed = b"".join(deflate.compress(zeros[: min(1 << 20, total - at)]) for at in _steps(total))
    packed += deflate.flush()
    palette = png_chunk(b"PLTE", bytes(768)) + png_chunk(b"tRNS", bytes(256)) if kind == 3 else b""
    header = struct.pack(">IIBBBBB", side, side, bits, kind, 0, 0, interlaced)
    pieces = [packed[at : at + chunk] for at in range(0, len(packed), chunk)]
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", png_chunk(b"IHDR", header), palette, before]
        + [png_chunk(b"IDAT", piece) for piece in pieces]
        + [after, png_chunk(b"IEND", b"")]
    )


def _steps(total: int) -> Iterator[int]:
    yield from range(0, total, 1 << 20)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """One chunk with its length and checksum."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def jpeg_scans(side: int, scans: int) -> bytes:
    """A progressive grey JPEG whose further scans each look at every coefficient of every block."""
    blocks = (-(-side // 8)) ** 2
    frame = b"\x08" + struct.pack(">HH", side, side) + bytes([1, 1, 0x11, 0])
    # The codes 0: no coefficient in this block; 10: none in as many blocks as 14 more bits say.
    content = b"\xff\xd8" + segment(0xDB, bytes([0] + [1] * 64)) + segment(0xC2, frame)
    content += segment(0xC4, bytes([0, 1] + [0] * 15 + [0]))
    content += segment(0xC4, bytes([0x10, 1, 1] + [0] * 14 + [0, 0xE0]))
    content += segment(0xDA, bytes([1, 1, 0, 0, 0, 1])) + bytes(blocks // 8 + 1)
    run = b"\xbf\xff" * -(-blocks // 0x7FFF)
    refine = segment(0xDA, bytes([1, 1, 0, 1, 63, 0x10])) + run.replace(b"\xff", b"\xff\0")
    return content + refine * scans + b"\xff\xd9"


def segment(marker: int, content: bytes) -> bytes:
    """One segment of a JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg(side: int, mode: str = "RGB", *, before: bytes = b"", **options: Any) -> bytes:
    """A black JPEG, with segments before its frame."""
    content = saved(Image.new(mode, (side, side)), "JPEG", **options)
    return content[:2] + before + content[2:]


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    """The bytes of an image file."""
    stream = BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def tiff(tags: dict[int, tuple[int, ...]], content: bytes = b"") -> bytes:
    """A TIFF of one directory, whose values of tag 273 or 324 are places after the directory."""
    fields = {tag: (4, values) for tag, values in tags.items()}
    start = 8
    size = 2 + 12 * len(fields) + 4
    entries, beyond = b"", b""
    for tag, (kind, values) in sorted(fields.items()):
        packed = struct.pack(f"<{len(values)}{_TYPES[kind]}", *values)
        if len(packed) > 4:
            place = start + size + len(beyond)
            beyond += packed
            packed = struct.pack("<I", place)
        entries += struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    directory = struct.pack("<H", len(fields)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", start) + directory + beyond + content


def exif_again(entries: int, size: int) -> bytes:
    """EXIF data whose entries all name the same bytes."""
    head = b"II*\0" + struct.pack("<IH", 8, entries)
    fields = b"".join(struct.pack("<HHII", 1000 + n, 7, size, 0) for n in range(entries))
    return (head + fields + bytes(4)).ljust(size, b"\0")


def strips(width: int, height: int, rows: int, compression: int) -> bytes:
    """A grey TIFF whose strips all lie in the same place."""
    count = -(-height // rows)
    packed = zlib.compress(bytes(width * rows), 9) if compression == 8 else bytes(width * rows)
    tags: dict[int, tuple[int, ...]] = {
        256: (width,),
        257: (height,),
        258: (8,),
        259: (compression,),
        262: (1,),
    }
    tags |= {277: (1,), 278: (rows,), 273: (0,) * count, 279: (len(packed),) * count}
    place = len(tiff(tags))
    return tiff(tags | {273: (place,) * count}, packed)


def tiles(width: int, height: int, across: int, down: int) -> bytes:
    """A grey TIFF with deflated tiles that all lie in the same place."""
    count = -(-width // across) * -(-height // down)
    packed = zlib.compress(bytes(across * down), 9)
    tags: dict[int, tuple[int, ...]] = {
        256: (width,),
        257: (height,),
        258: (8,),
        259: (8,),
        262: (1,),
        277: (1,),
    }
    tags |= {322: (across,), 323: (down,), 324: (0,) * count, 325: (len(packed),) * count}
    return tiff(tags | {324: (len(tiff(tags)),) * count}, packed)


def bmp_runs(side: int) -> bytes:
    """A compressed BMP of one pixel a row; the rest of each is filled by its decoder."""
    rows = b"\x01\x01\0\0" * side + b"\0\x01"
    head = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(rows), 0, 0, 256, 0)
    start = 14 + len(head) + 1024
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + head + bytes(1024) + rows


def gif(side: int, *, comment: int = 0) -> bytes:
    """A GIF of zeros, with so many bytes of comment."""
    content = saved(Image.new("P", (side, side)), "GIF")
    blocks = b"\xff" + bytes(255)
    extension = b"!\xfe" + blocks * (comment // 255) + b"\0" if comment else b""
    palette = 13 + (3 << (1 + (content[10] & 7)) if content[10] & 0x80 else 0)
    return content[:palette] + extension + content[palette:]


def noise(side: int, channels: int = 3) -> Image.Image:
    """Noise, which compresses badly."""
    shape = (side, side, channels) if channels > 1 else (side, side)
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8))


def largest() -> dict[str, Make]:
    """Pictures just within the bounds: what they take is the worst case."""
    makers: dict[str, Make] = {
        "PNG RGB 62 MP": lambda: png(7870, 2),
        "PNG RGB 62 MP interlaced": lambda: png(7870, 2, interlaced=True),
        "PNG RGB 30 MP noise": lambda: saved(noise(5500), "PNG", compress_level=1),
        "PNG RGBA 31 MP": lambda: png(5600, 6),
        "PNG RGBA 31 MP 16 bits": lambda: png(5600, 6, 16),
        "PNG grey 31 MP 16 bits": lambda: png(5600, 0, 16),
        "PNG palette 50 MP": lambda: png(7090, 3),
        "PNG whose EXIF names it again": lambda: png(
            64, 2, before=png_chunk(b"eXIf", exif_again(4000, 1 << 20))
        ),
        "PNG of 9,000 pieces": lambda: png(7870, 2, chunk=20),
        "JPEG 62 MP": lambda: jpeg(7870),
        "JPEG 256 MP reduced": lambda: jpeg(16000, "L"),
        "JPEG 25 MP noise": lambda: saved(noise(5000), "JPEG", quality=98, subsampling=0),
        "JPEG 50 MP progressive": lambda: jpeg(7070, progressive=True, subsampling=0),
        "JPEG 50 MP, 39 scans": lambda: jpeg_scans(7070, 39),
        "JPEG 4 MP, 490 scans": lambda: jpeg_scans(2000, 490),
        "JPEG with 30 MB of EXIF": lambda: jpeg(640, before=segment(0xE2, bytes(65000)) * 470),
        "GIF 50 MP": lambda: gif(7090),
        "BMP 62 MP": lambda: saved(Image.new("RGB", (7870, 7870)), "BMP"),
        "BMP in runs 12 MP": lambda: bmp_runs(3460),
        "TIFF one strip 50 MP": lambda: strips(7090, 7090, 7090, 8),
        "TIFF 65,000 strips": lambda: strips(700, 65_000, 1, 8),
        "TIFF 40,000 stored strips": lambda: strips(800, 40_000, 1, 1),
        "TIFF tiles of 16": lambda: tiles(4000, 4000, 16, 16),
        "WebP 24 MP": lambda: saved(Image.new("RGB", (4900, 4900)), "WEBP"),
        "WebP RGBA lossless 16 MP": lambda: saved(noise(4000, 4), "WEBP", lossless=True, method=0),
        "1 x 65535": lambda: saved(Image.new("RGB", (1, 65_535)), "PNG"),
        "65535 x 1": lambda: saved(Image.new("RGB", (65_535, 1)), "PNG"),
    }
    if features.check("avif"):
        plain, deep = {"subsampling": "4:2:0"}, {"subsampling": "4:4:4"}
        makers["AVIF 50 MP"] = lambda: saved(noise(220).resize((7070, 7070)), "AVIF", **plain)
        makers["AVIF 42 MP 4:4:4"] = lambda: saved(noise(220).resize((6480, 6480)), "AVIF", **deep)
    return makers


def hostile() -> dict[str, Make]:
    """Pictures beyond the bounds."""
    text = png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1_000_000), 9))
    profile = png_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1_000_000), 9))
    far = {256: (16,), 257: (16,), 258: (8,), 259: (5,), 262: (1,), 277: (1,), 284: (1,)}
    return {
        "PNG RGBA 128 MP": lambda: png(11_300, 6),
        "PNG opacity and grey 120 MP": lambda: png(11_000, 4),
        "PNG 400 MP": lambda: png(20_000, 0, 1),
        "PNG of 400,000 pieces": lambda: png(64, 2, before=png_chunk(b"teXt", b"") * 400_000),
        "PNG of 80 MB of text": lambda: png(64, 2, before=text * 80),
        "PNG of 4,000 profiles": lambda: png(64, 2, before=profile * 4000),
        "PNG with 60 MB after its pixels": lambda: png(
            64, 2, after=png_chunk(b"abCd", bytes(6 * 10**7))
        ),
        "JPEG 128 MP, 15,000 scans": lambda: jpeg_scans(11_300, 15_000),
        "JPEG 50 MP, 400 scans": lambda: jpeg_scans(7070, 400),
        "JPEG 100 MP progressive": lambda: jpeg(10_000, progressive=True),
        "JPEG of 500,000 comments": lambda: jpeg(64, before=segment(0xFE, b"") * 500_000),
        "JPEG whose EXIF names it again": lambda: jpeg(
            64, before=segment(0xE1, b"Exif\0\0" + exif_again(4000, 65_000))
        ),
        "GIF with 30 MB of comment": lambda: gif(64, comment=30_000_000),
        "GIF 4,295 MP": lambda: b"GIF89a\xff\xff\xff\xff" + gif(8)[10:],
        "BMP in runs 60 MP": lambda: bmp_runs(7745),
        "TIFF 1 x 60,000,000": lambda: strips(1, 60_000_000, 60_000_000, 8)[:5000],
        "TIFF tiles beyond it": lambda: tiles(64, 64, 10_000, 10_000),
        "TIFF tiles far higher than it": lambda: tiles(60_000, 1, 16, 30_000),
        "TIFF with 3,000,000 places": lambda: tiff(far | {273: (0,) * 3_000_000, 279: (0,)}),
        "WebP 64 MP": lambda: saved(Image.new("RGB", (8000, 8000)), "WEBP", method=0),
        "WebP 40 MP": lambda: saved(Image.new("RGB", (6300, 6300)), "WEBP", method=0),
    }
