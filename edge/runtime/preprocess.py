"""Image -> tensor: the only such code of the project, run on the host and on the device."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge.runtime.contract import Interpolation, Preprocessing, Resize
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

_FILTERS: Final = {
    Interpolation.NEAREST: Image.Resampling.NEAREST,
    Interpolation.BILINEAR: Image.Resampling.BILINEAR,
    Interpolation.BICUBIC: Image.Resampling.BICUBIC,
}


@dataclass(frozen=True, slots=True)
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
    if spec.interpolation is Interpolation.BILINEAR_PLAIN:
        step_x, step_y = (right - left) / width, (bottom - top) / height
        matrix = (step_x, 0.0, left, 0.0, step_y, top)
        affine, plain = Image.Transform.AFFINE, Image.Resampling.BILINEAR
        return image.transform(size, affine, matrix, plain)
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
