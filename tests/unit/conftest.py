"""Pictures made on the spot: no binary file is committed."""

import struct
import zlib
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def corners(height: int = 32, width: int = 48, mode: str = "RGB") -> Image.Image:
    """White, with a red top-left, a green top-right and a blue bottom-left quarter."""
    pixels = np.full((height, width, 3), 255, np.uint8)
    pixels[: height // 2, : width // 2] = RED
    pixels[: height // 2, width // 2 :] = GREEN
    pixels[height // 2 :, : width // 2] = BLUE
    return Image.fromarray(pixels).convert(mode)


def noise(seed: int, height: int = 24, width: int = 24) -> Image.Image:
    """A picture that no other seed gives."""
    random = np.random.default_rng(seed)
    return Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8))


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    """The bytes of an image file."""
    stream = BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def oriented(image: Image.Image, orientation: int, format: str = "JPEG") -> bytes:
    """An image file whose EXIF says how it is to be turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95, "subsampling": 0} if format == "JPEG" else {}
    return encoded(image, format, exif=exif, **options)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """One chunk of a PNG file, with its length and checksum."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


@cache  # 20,000 x 20,000 takes two seconds to compress
def huge_png(height: int, width: int) -> bytes:
    """A valid black greyscale PNG of that size in few bytes."""
    deflate = zlib.compressobj(9)
    rows = b"".join(deflate.compress(bytes(width + 1)) for _ in range(height)) + deflate.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", rows)
        + png_chunk(b"IEND", b"")
    )


def with_size(content: bytes, height: int, width: int) -> bytes:
    """A JPEG whose start-of-frame header states another size."""
    at = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2")) + 5
    return content[:at] + height.to_bytes(2) + width.to_bytes(2) + content[at + 4 :]


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """``make_folder({"cat": 4, "dog": 5})``: class folders of that many different PNGs.

    Keys may hold slashes, such as ``train/cat``; pictures of different keys differ as well.
    """

    def make(counts: dict[str, int], root: Path | None = None) -> Path:
        root = root or tmp_path / "photos"
        for index, (name, count) in enumerate(counts.items()):
            folder = root / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                noise(1000 * index + number).save(folder / f"{number:03}.png")
        return root

    return make
