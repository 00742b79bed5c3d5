"""Colours of pixels that become JPEGs, against BT.601 in numpy."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edge.runtime.cameras.yuv import FOURCCS, PixelLayout, jpeg_of, planes_image

HEIGHT, WIDTH = 48, 64
# ITU-R BT.601-7: R, G, B of luma, Cb and Cr of full range, where Cb and Cr are about zero.
MATRIX = np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]])
# Flat blocks of 16 pixels lose little in a JPEG of quality 85: 3 for its rounding, 2 for the
# tables between the ranges, each a step of 8 bits, which the matrix multiplies by up to 1.8.
TOLERANCE = 6


def blocks() -> NDArray[np.uint8]:
    """(3, 4, 3) blocks: (rows, columns, RGB), from black to white and all colours between."""
    random = np.random.default_rng(3)
    colours = random.integers(0, 256, (3, 4, 3), np.uint8)
    colours[0, :3] = [[0, 0, 0], [255, 255, 255], [128, 128, 128]]
    return colours


def ycbcr(rgb: NDArray[np.uint8], *, full_range: bool) -> NDArray[np.uint8]:
    """(..., 3) uint8 of RGB -> Y, Cb, Cr."""
    values: NDArray[Any] = rgb.astype(float) @ np.linalg.inv(MATRIX).T
    if not full_range:
        values = values * [219 / 255, 224 / 255, 224 / 255] + np.array([16, 0, 0])
    made: NDArray[np.uint8] = (
        (values + np.array([0, 128, 128])).round().clip(0, 255).astype(np.uint8)
    )
    return made


def wide(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    made: NDArray[np.uint8] = values.repeat(16, axis=0).repeat(16, axis=1)
    return made


def pixels(fourcc: str, rgb: NDArray[np.uint8], *, full_range: bool = False) -> NDArray[np.uint8]:
    """(rows, bytes) of a picture whose colours are those of ``rgb``, (HEIGHT, WIDTH, 3)."""
    if fourcc == "RGB3":
        return rgb.reshape(HEIGHT, -1)
    if fourcc == "BGR3":
        return np.ascontiguousarray(rgb[..., ::-1]).reshape(HEIGHT, -1)
    luma, blue, red = np.moveaxis(ycbcr(rgb, full_range=full_range), -1, 0)
    if fourcc == "GREY":
        return luma
    if fourcc == "NV12":
        colour = np.stack((blue[::2, ::2], red[::2, ::2]), axis=-1)
        return np.concatenate((luma, colour.reshape(HEIGHT // 2, WIDTH)))
    made = np.empty((HEIGHT, 2 * WIDTH), np.uint8)
    made[:, 0::2], made[:, 1::4], made[:, 3::4] = luma, blue[:, ::2], red[:, ::2]
    return made


def shown(jpeg: bytes) -> NDArray[np.int64]:
    """(3, 4, 3): the colours in the middle of each block."""
    with Image.open(BytesIO(jpeg)) as image:
        assert image.size == (WIDTH, HEIGHT)
        middles: NDArray[np.int64] = np.asarray(image.convert("RGB"), np.int64)[8::16, 8::16]
        return middles


@pytest.mark.parametrize("padding", [0, 12])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("fourcc", ["YUYV", "NV12", "RGB3", "BGR3"])
def test_colours_are_those_of_bt_601(fourcc: str, full_range: bool, padding: int) -> None:
    content = pixels(fourcc, wide(blocks()), full_range=full_range)
    content = np.pad(content, ((0, 0), (0, padding)), constant_values=99)
    layout = PixelLayout(
        fourcc=fourcc,
        width=WIDTH,
        height=HEIGHT,
        stride=content.shape[1],
        full_range=full_range,
    )
    whole = content.tobytes()
    assert layout.fits and layout.needed_bytes == len(whole) - padding
    difference = np.abs(shown(jpeg_of(whole, layout)) - blocks())
    assert difference.max() <= TOLERANCE
    # The padding of the last row may be missing, and more bytes than a picture has may come.
    assert jpeg_of(whole[: layout.needed_bytes], layout) == jpeg_of(whole + b"rest", layout)


def test_the_tolerance_tells_the_ranges_apart() -> None:
    content = pixels("YUYV", wide(blocks()), full_range=True)
    layout = PixelLayout(fourcc="YUYV", width=WIDTH, height=HEIGHT, stride=2 * WIDTH)
    wrong = np.abs(shown(jpeg_of(content.tobytes(), layout)) - blocks())
    assert wrong.max() > 2 * TOLERANCE


def test_grey_is_of_full_range() -> None:
    grey = wide(np.arange(0, 240, 20, dtype=np.uint8).reshape(3, 4))
    layout = PixelLayout(fourcc="GREY", width=WIDTH, height=HEIGHT, stride=WIDTH)
    found = shown(jpeg_of(grey.tobytes(), layout))
    assert np.abs(found - grey[8::16, 8::16, None]).max() <= 2


@pytest.mark.parametrize("fourcc", FOURCCS)
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (2, 3)])
def test_odd_sizes_are_encoded(fourcc: str, size: tuple[int, int]) -> None:
    width, height = size
    layout = PixelLayout(fourcc=fourcc, width=width, height=height, stride=64)
    with Image.open(BytesIO(jpeg_of(bytes(layout.needed_bytes), layout))) as image:
        image.load()
        assert image.size == size
    assert not PixelLayout(fourcc=fourcc, width=65, height=2, stride=64).fits
    assert not PixelLayout(fourcc=fourcc, width=0, height=2, stride=64).fits
    assert not PixelLayout(fourcc=fourcc, width=2, height=0, stride=64).fits


def test_planes_of_fewer_colours_are_spread() -> None:
    luma = np.full((5, 7), 128, np.uint8)
    blue = np.array([[100, 110, 120, 130]] * 3, np.uint8)
    image = planes_image(luma, blue, blue, full_range=True)
    spread = np.asarray(image)[..., 1]
    assert spread[0].tolist() == [100, 100, 110, 110, 120, 120, 130]
    assert spread.shape == (5, 7)
