import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edge.dataset.levels import find_depth, levels_notes, with_levels
from edge.runtime.contract import Preprocessing
from edge.runtime.image import decode_image, deep_bands
from edge.runtime.preprocess import load
from tests.unit.conftest import corners, encoded, png_chunk

CONTRACT = Preprocessing(height=16, width=16)


def grey(low: int, high: int, seed: int = 0, size: int = 16) -> NDArray[np.uint16]:
    values = np.random.default_rng(seed).integers(low, high + 1, (size, size), np.uint16)
    values.ravel()[:2] = low, high
    return values


def write(root: Path, *pictures: NDArray[np.generic], suffix: str = "png") -> list[Path]:
    paths = [root / f"{number}.{suffix}" for number in range(len(pictures))]
    for path, values in zip(paths, pictures, strict=True):
        Image.fromarray(values).save(path)
    return paths


def colour_png(values: NDArray[np.uint16]) -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write: (height, width, 3 or 4)."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    kind = {3: 2, 4: 6}[channels]
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )


def colour_tiff(values: NDArray[np.uint16], order: str) -> bytes:
    """An uncompressed TIFF of 16 bits a channel, (height, width, 3), in either byte order."""
    height, width, channels = values.shape
    data = values.astype(f"{order}u2").tobytes()
    tags = {256: width, 257: height, 258: 0, 259: 1, 262: 2, 273: 0, 277: channels, 278: height}
    tags |= {279: len(data), 284: 1}
    bits = 8 + 2 + 12 * len(tags) + 4
    tags[258], tags[273] = bits, bits + 2 * channels
    directory = b"".join(
        struct.pack(f"{order}HHII", tag, 3, channels, value)
        if tag == 258
        else struct.pack(f"{order}HHII", tag, 4, 1, value)
        for tag, value in tags.items()
    )
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IH", 8, len(tags))
    depth = struct.pack(f"{order}I{channels}H", 0, *[16] * channels)
    return head + directory + depth + data


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize(
    ("low", "high", "levels"),
    [
        (0, 4095, (0, 4095)),
        (30, 3900, (0, 4095)),
        (0, 1023, (0, 1023)),
        (7000, 9000, (7000, 9000)),
        (0, 200, (0, 255)),
        (100, 65000, None),
        (0, 40000, None),
        (500, 500, None),
    ],
)
def test_levels_come_from_all_pictures(
    tmp_path: Path, suffix: str, low: int, high: int, levels: tuple[int, int] | None
) -> None:
    middle = (low + high) // 2
    paths = write(tmp_path, grey(low, middle), grey(middle, high, 1), suffix=suffix)
    (tmp_path / "photo.jpg").write_bytes(encoded(corners(), "JPEG"))
    depth = find_depth([*paths, tmp_path / "photo.jpg"])
    assert depth is not None
    assert (depth.images, depth.levels) == (2, levels)
    contract, notes = with_levels(CONTRACT, paths)
    assert contract.levels == levels
    assert len(notes) == 1


def test_twelve_bits_are_not_black(tmp_path: Path) -> None:
    paths = write(tmp_path, grey(0, 4095), grey(0, 4095, 1))
    contract, _ = with_levels(CONTRACT, paths)
    assert load(paths[0], CONTRACT).max() == 15  # what was seen before
    pixels = load(paths[0], contract)
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert pixels[..., 0].astype(int) == pytest.approx(grey(0, 4095) * (255 / 4095), abs=0.51)


def test_a_dead_pixel_does_not_decide(tmp_path: Path) -> None:
    values = grey(0, 4095, size=200)
    values[100, 100] = 65535
    contract, _ = with_levels(CONTRACT, write(tmp_path, values))
    assert contract.levels == (0, 4095)


def test_eight_bits_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(corners(), "PNG"))
    (tmp_path / "b.png").write_bytes(encoded(corners(mode="L"), "PNG"))
    (tmp_path / "c.png").write_bytes(b"no picture")
    paths = sorted(tmp_path.iterdir())
    assert with_levels(CONTRACT, paths) == (CONTRACT, [])
    deep = Preprocessing(height=16, width=16, levels=(0, 4095))
    assert (load(paths[0], deep) == load(paths[0], CONTRACT)).all()


def test_all_bits_of_colours_are_read(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (16, 16, 3), np.uint16)
    opacity = np.random.default_rng(1).integers(0, 65536, (16, 16, 1), np.uint16)
    with_opacity = np.concatenate([values, opacity], axis=2)
    files = [colour_png(values), colour_tiff(values, "<"), colour_tiff(values, ">")]
    for content in files:
        assert (np.concatenate(list(deep_bands(BytesIO(content)))) == values).all()
        image = decode_image(BytesIO(content), levels=(0, 4095))
        assert np.asarray(image).astype(int) == pytest.approx(values * (255 / 4095), abs=0.51)
    bands = list(deep_bands(BytesIO(colour_png(with_opacity))))
    assert (np.concatenate(bands) == with_opacity).all()
    (tmp_path / "rgb.png").write_bytes(files[0])
    assert with_levels(CONTRACT, [tmp_path / "rgb.png"])[0].levels == (0, 4095)


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        (np.linspace(0, 1, 256, dtype=np.float32), None),
        (np.linspace(20, 40, 256, dtype=np.float32), (0, 40)),
        (np.linspace(290, 310, 256, dtype=np.float32), (290, 310)),
        (np.linspace(-5, 5, 256, dtype=np.float32), None),
        (np.linspace(0, 1_000_000, 256).astype(np.int32), (0, 1_000_000)),
    ],
)
def test_other_numbers(
    tmp_path: Path, values: NDArray[np.generic], levels: tuple[int, int] | None
) -> None:
    depth = find_depth(write(tmp_path, values.reshape(16, 16), suffix="tif"))
    assert depth is not None
    assert depth.levels == levels


def test_levels_that_do_not_fit_are_said(tmp_path: Path) -> None:
    paths = write(tmp_path, grey(0, 4095))
    (note,) = levels_notes(CONTRACT, paths)
    assert "dark" in note
    assert levels_notes(Preprocessing(height=16, width=16, levels=(0, 4095)), paths) == []
    (note,) = levels_notes(Preprocessing(height=16, width=16, levels=(0, 255)), paths)
    assert "overexposed" in note


def test_pages_that_are_not_used_are_said(tmp_path: Path) -> None:
    pages = [corners(), corners(), corners()]
    pages[0].save(tmp_path / "scan.tiff", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "one.tif")
    paths = sorted(tmp_path.iterdir())
    assert with_levels(CONTRACT, paths)[1] == ["1 file with several pages: the first is used"]
    assert levels_notes(CONTRACT, paths) == ["1 file with several pages: the first is used"]
