"""Image -> tensor: the only such code of the project, run on the host and on the device."""

import math
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge.runtime.contract import Interpolation, Preprocessing, Resize
from edge.runtime.frozen import frozen_dataclass
from edge.runtime.image import decode_image, decode_sized, upright
from edge.runtime.placement import (
    Placement,
    central_window,
    letterboxed,
    placement_of,
    resampled_size,
)

_PASS_PIXELS: Final = 4 << 20  # the image between the two passes of a resize has no more; 16 MB
_CAMERA_ROWS: Final = 16_384  # above this a picture is a strip

_FOUR_PIXELS: Final = (Interpolation.BILINEAR_PLAIN, Interpolation.BILINEAR_LEGACY)
_FILTERS: Final = {
    Interpolation.NEAREST: Image.Resampling.NEAREST,
    Interpolation.BILINEAR: Image.Resampling.BILINEAR,
    Interpolation.BICUBIC: Image.Resampling.BICUBIC,
}


@frozen_dataclass()
class PlacedPixels:
    """A picture as a model takes it, and where that lies in the picture.

    Attributes:
        pixels: uint8 (height, width, channels), contiguous; possibly read-only.
        placement: The way back to the picture.
    """

    pixels: NDArray[np.uint8]
    placement: Placement


def load(source: Path | BinaryIO, spec: Preprocessing) -> NDArray[np.uint8]:
    """Do as ``load_placed``, and return the pixels alone."""
    return load_placed(source, spec).pixels


def load_placed(source: Path | BinaryIO, spec: Preprocessing) -> PlacedPixels:
    """Decode an image file and bring it into the form that a model takes.

    Args:
        source: A path, or a binary stream, which is read from its start.
        spec: The contract; its ``reducing_gap`` lets large JPEGs be decoded small.

    Raises:
        ImageError: The file cannot be decoded (see ``decode_image``).
    """
    image, size = decode_sized(
        source,
        minimum=decoded_minimum(spec),
        color_order=spec.color_order,
        levels=spec.levels,
    )
    placement = placement_of(size, spec, decoded=image.size)
    return PlacedPixels(preprocess(image, spec), placement)


def decode(source: Path | BinaryIO, spec: Preprocessing) -> Image.Image:
    """Do the first half of ``load``: return an upright image of the contract's channels.

    Raises:
        ImageError: The file cannot be decoded (see ``decode_image``).
    """
    return decode_image(
        source,
        minimum=decoded_minimum(spec),
        color_order=spec.color_order,
        levels=spec.levels,
    )


def decoded_minimum(spec: Preprocessing) -> tuple[int, int] | None:
    """Return (height, width) that a JPEG has to keep when decoded small; None for all of it."""
    if spec.reducing_gap <= 0:
        return None
    rows, columns = resampled_size(spec)
    return math.ceil(rows * spec.reducing_gap), math.ceil(columns * spec.reducing_gap)


def preprocess(image: Image.Image, spec: Preprocessing) -> NDArray[np.uint8]:
    """Resize an image by the contract's rule.

    Args:
        image: An image of any mode and size; its EXIF orientation, if it has one, is applied.
        spec: The contract; ``reducing_gap`` plays no part here.

    Returns:
        uint8 (height, width, channels), contiguous; possibly read-only.
    """
    image = upright(image, spec.color_order, spec.levels)
    if spec.resize is Resize.LETTERBOX:
        return _letterbox(image, spec)
    box = central_window(image.size, spec) if spec.resize is Resize.CENTER_CROP else None
    resized = _resized(image, (spec.width, spec.height), spec, box)
    return np.asarray(resized).reshape(spec.shape)


def _resized(
    image: Image.Image,
    size: tuple[int, int],
    spec: Preprocessing,
    box: tuple[float, float, float, float] | None,
) -> Image.Image:
    """Scale an image, or a box of it, to (width, height).

    Pillow makes an image as wide as the result and as high as the box first. Where that is large,
    for a strip that no camera takes, the result is made of some rows at a time; Pillow rounds the
    places of these to 32 bits, so that a few values are off by one.
    """
    width, height = size
    left, top, right, bottom = box or (0.0, 0.0, float(image.width), float(image.height))
    if spec.interpolation in _FOUR_PIXELS:
        return _of_four_pixels(image, size, spec.interpolation, (left, top, right, bottom))
    parts = min(height, math.ceil((bottom - top) * width / _PASS_PIXELS))
    if parts <= 1 or bottom - top <= _CAMERA_ROWS or spec.interpolation is Interpolation.NEAREST:
        return image.resize(size, _FILTERS[spec.interpolation], box=box)
    resized = Image.new(image.mode, size)
    scale = (bottom - top) / height
    for part in range(parts):
        first, last = height * part // parts, height * (part + 1) // parts
        rows = (left, top + first * scale, right, min(top + last * scale, bottom))
        made = image.resize((width, last - first), _FILTERS[spec.interpolation], box=rows)
        resized.paste(made, (0, first))
    return resized


def _of_four_pixels(
    image: Image.Image,
    size: tuple[int, int],
    interpolation: Interpolation,
    box: tuple[float, float, float, float],
) -> Image.Image:
    """Scale a box of an image from the four nearest pixels of each place, rounded.

    Pillow's own transform cuts off what other tools round, and its error of half a grey level
    moves the boxes of a quantized SSD by up to four pixels of 1200.
    """
    width, height = size
    left, top, right, bottom = box
    pixels = np.ascontiguousarray(image)
    rows, below, down = _neighbours(top, bottom, height, pixels.shape[0], interpolation)
    columns, beside, across = _neighbours(left, right, width, pixels.shape[1], interpolation)
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    whole = pixels.reshape(-1).view(np.dtype((np.void, channels)))  # a pixel is one element
    across = np.repeat(across, channels)

    def taken(line: NDArray[np.intp], column: NDArray[np.intp]) -> NDArray[np.float32]:
        found = whole.take(line[:, np.newaxis] * pixels.shape[1] + column, mode="clip")
        values: NDArray[np.float32] = found.view(np.uint8).reshape(height, -1).astype(np.float32)
        return values

    mixed = []
    for line in (rows, below):
        near, far = taken(line, columns), taken(line, beside)
        far -= near
        far *= across
        far += near
        mixed.append(far)
    upper, lower = mixed
    lower -= upper
    lower *= down[:, np.newaxis]
    lower += upper
    lower += 0.5  # below zero there is nothing, so that cutting off rounds
    result = lower.astype(np.uint8).reshape(height, width, *pixels.shape[2:])
    return Image.fromarray(result)


def _neighbours(
    first: float, last: float, count: int, pixels: int, interpolation: Interpolation
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Return, for each of ``count`` places, the pixel before it, the one after, and its share."""
    step = (last - first) / count
    offset = 0.5 if interpolation is Interpolation.BILINEAR_PLAIN else 0.0
    places = np.clip((np.arange(count) + offset) * step + first - offset, 0, pixels - 1)
    before = np.floor(places).astype(np.intp)
    after = np.minimum(before + 1, pixels - 1)
    return before, after, (places - before).astype(np.float32)


def _letterbox(image: Image.Image, spec: Preprocessing) -> NDArray[np.uint8]:
    """Scale the image to fit, aspect ratio kept, and put bars beside it."""
    left, top, width, height = letterboxed(image.size, spec)
    resized = _resized(image, (width, height), spec, None)
    tensor = np.full(spec.shape, spec.pad_value, np.uint8)
    pixels = np.asarray(resized).reshape(height, width, -1)
    tensor[top : top + height, left : left + width] = pixels
    return tensor


def picture_of(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return the Pillow image of a pixel tensor (height, width, 1, 3 or 4), uint8."""
    # Pillow takes a grey image without an axis of channels.
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
