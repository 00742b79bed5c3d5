"""Pixels as cameras and files give them -> JPEG, straight from YCbCr where they are that.

A JPEG holds YCbCr of full range (JFIF 1.02: BT.601, 0 to 255). Cameras mostly give BT.601 of
limited range (luma 16 to 235, chroma 16 to 240): a table turns one into the other, without the
detour over RGB, which takes three times as long.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge.runtime.cameras.camera import JPEG_QUALITY

Bytes2D = NDArray[np.uint8]

_VALUES: Final = np.arange(256)
_LUMA: Final = ((_VALUES - 16) * 255 / 219).round().clip(0, 255).astype(np.uint8)
_CHROMA: Final = ((_VALUES - 128) * 255 / 224 + 128).round().clip(0, 255).astype(np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelLayout:
    """How the pixels of one picture lie in memory.

    Attributes:
        fourcc: What V4L2 calls it, one of ``FOURCCS``.
        width: Pixels of a row.
        height: Rows.
        stride: Bytes from a row to the next; can be more than its pixels take.
        full_range: Luma and chroma take 0 to 255, and not 16 to 235 and 16 to 240.
    """

    fourcc: str
    width: int
    height: int
    stride: int
    full_range: bool = False

    @property
    def needed_bytes(self) -> int:
        """Bytes that one picture has at least; the last row may lack its padding."""
        kind = _KINDS[self.fourcc]
        rows = self.height + kind.chroma_rows(self.height)
        return (rows - 1) * self.stride + kind.row_bytes(self.width)

    @property
    def fits(self) -> bool:
        """Whether a row has room for its pixels: drivers and files state the stride themselves."""
        return self.stride >= _KINDS[self.fourcc].row_bytes(self.width) > 0 < self.height


def jpeg_of(pixels: bytes, layout: PixelLayout) -> bytes:
    """Encode the pixels of one picture.

    Args:
        pixels: At least ``layout.needed_bytes``.
        layout: How they lie.
    """
    kind = _KINDS[layout.fourcc]
    rows = layout.height + kind.chroma_rows(layout.height)
    flat = np.zeros(rows * layout.stride, np.uint8)
    known = np.frombuffer(pixels, np.uint8, min(len(pixels), len(flat)))
    if len(known) == len(flat):
        flat = known
    else:  # the padding of the last row is missing
        flat[: len(known)] = known
    return encoded(kind.image(flat.reshape(rows, layout.stride), layout))


def encoded(image: Image.Image) -> bytes:
    """Return an image of mode RGB, L or YCbCr as a JPEG file."""
    stream = BytesIO()
    image.save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()


def planes_image(luma: Bytes2D, blue: Bytes2D, red: Bytes2D, *, full_range: bool) -> Image.Image:
    """Return an image of mode YCbCr and full range.

    Args:
        luma: (height, width) uint8.
        blue: Cb, uint8; where it has fewer rows or columns, each stands for several pixels.
        red: Cr, as ``blue``.
        full_range: As in ``PixelLayout``.
    """
    if not full_range:
        luma, blue, red = _LUMA.take(luma), _CHROMA.take(blue), _CHROMA.take(red)
    whole = _plane(luma)
    return Image.merge("YCbCr", (whole, *(_spread(part, whole.size) for part in (blue, red))))


def grey_image(luma: Bytes2D, *, full_range: bool) -> Image.Image:
    """Return an image of mode L and full range of (height, width) uint8."""
    return _plane(luma if full_range else _LUMA.take(luma))


def _plane(values: Bytes2D) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(values))


def _spread(values: Bytes2D, size: tuple[int, int]) -> Image.Image:
    """Return a plane of colour with as many pixels as the luma has.

    Each value is repeated; a side that is odd cuts the last one.
    """
    width, height = size
    across, down = -(-width // values.shape[1]), -(-height // values.shape[0])
    plane = _plane(values)
    if (across, down) != (1, 1):
        whole = (plane.width * across, plane.height * down)
        plane = plane.resize(whole, Image.Resampling.NEAREST)
    return plane if plane.size == size else plane.crop((0, 0, width, height))


def _yuyv(rows: Bytes2D, layout: PixelLayout) -> Image.Image:
    pairs = rows[:, : 4 * -(-layout.width // 2)]
    luma = pairs[:, 0::2][:, : layout.width]
    return planes_image(luma, pairs[:, 1::4], pairs[:, 3::4], full_range=layout.full_range)


def _nv12(rows: Bytes2D, layout: PixelLayout) -> Image.Image:
    luma = rows[: layout.height, : layout.width]
    colour = rows[layout.height :, : 2 * -(-layout.width // 2)]
    return planes_image(luma, colour[:, 0::2], colour[:, 1::2], full_range=layout.full_range)


def _rgb(rows: Bytes2D, layout: PixelLayout) -> Image.Image:
    return _colours(rows, layout)


def _bgr(rows: Bytes2D, layout: PixelLayout) -> Image.Image:
    return _colours(rows, layout, order=-1)


def _colours(rows: Bytes2D, layout: PixelLayout, order: int = 1) -> Image.Image:
    pixels: NDArray[Any] = rows[:, : 3 * layout.width].reshape(layout.height, layout.width, 3)
    return Image.fromarray(np.ascontiguousarray(pixels[..., ::order]))


def _grey(rows: Bytes2D, layout: PixelLayout) -> Image.Image:
    return grey_image(rows[:, : layout.width], full_range=True)


def _no_rows(height: int) -> int:
    return 0 * height


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """What is made of a format: bytes of a row, rows of colour below the luma, and an image."""

    row_bytes: Callable[[int], int]
    image: Callable[[Bytes2D, PixelLayout], Image.Image]
    chroma_rows: Callable[[int], int] = _no_rows


# In the order in which they are preferred: the fewer bytes a pixel, the more pictures a bus holds.
_KINDS: Final[Mapping[str, _Kind]] = {
    "YUYV": _Kind(row_bytes=lambda width: 4 * -(-width // 2), image=_yuyv),
    "NV12": _Kind(
        row_bytes=lambda width: 2 * -(-width // 2),
        image=_nv12,
        chroma_rows=lambda height: -(-height // 2),
    ),
    "RGB3": _Kind(row_bytes=lambda width: 3 * width, image=_rgb),
    "BGR3": _Kind(row_bytes=lambda width: 3 * width, image=_bgr),
    "GREY": _Kind(row_bytes=lambda width: width, image=_grey),
}

FOURCCS: Final = tuple(_KINDS)
