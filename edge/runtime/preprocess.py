"""Image -> tensor: the only such code of the project, run on the host and on the device."""

import math
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge.runtime.image import decode_image, upright
from edge.runtime.spec import Interpolation, Preprocessing, Resize

PADDING: Final = 128  # grey of the letterbox bars, in every channel

_PASS_PIXELS: Final = 4 << 20  # the image between the two passes of a resize has no more; 16 MB
_CAMERA_ROWS: Final = 16_384  # above this a picture is a strip

_FILTERS: Final = {
    Interpolation.NEAREST: Image.Resampling.NEAREST,
    Interpolation.BILINEAR: Image.Resampling.BILINEAR,
    Interpolation.BICUBIC: Image.Resampling.BICUBIC,
}


def load(source: Path | BinaryIO, spec: Preprocessing) -> NDArray[np.uint8]:
    """Decode an image file and bring it into the form that a model takes.

    Args:
        source: A path, or a binary stream, which is read from its start.
        spec: The contract; its ``reducing_gap`` lets large JPEGs be decoded small.

    Returns:
        uint8 (height, width, channels), contiguous; possibly read-only.

    Raises:
        ImageError: The file cannot be decoded (see ``decode_image``).
    """
    return preprocess(decode(source, spec), spec)


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
    rows, columns = _resampled_size(spec)
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
    box = _central_window(image, spec) if spec.resize is Resize.CENTER_CROP else None
    resized = _resized(image, (spec.width, spec.height), spec, box)
    return np.asarray(resized).reshape(spec.shape)


def _resampled_size(spec: Preprocessing) -> tuple[int, int]:
    """Return (height, width) that the whole image must cover (crop) or lie within (letterbox)."""
    if spec.resize is not Resize.CENTER_CROP:
        return spec.height, spec.width
    return round(spec.height / spec.crop_fraction), round(spec.width / spec.crop_fraction)


def _central_window(image: Image.Image, spec: Preprocessing) -> tuple[float, float, float, float]:
    """Return (left, top, right, bottom), in pixels of the image, of what the crop keeps.

    Resampling this box alone gives the pixels that scaling the whole image and then cropping
    would give: Pillow's filters read past the box where the image goes on.
    """
    rows, columns = _resampled_size(spec)
    scale = max(rows / image.height, columns / image.width)
    # Rounding of the division must not put the box outside the image, which Pillow refuses.
    width = min(spec.width / scale, float(image.width))
    height = min(spec.height / scale, float(image.height))
    left, top = (image.width - width) / 2, (image.height - height) / 2
    return left, top, min(left + width, image.width), min(top + height, image.height)


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
    """Scale the image to fit, aspect ratio kept, and centre it on grey."""
    scale = min(spec.height / image.height, spec.width / image.width)
    height = max(1, round(image.height * scale))
    width = max(1, round(image.width * scale))
    resized = _resized(image, (width, height), spec, None)
    top, left = (spec.height - height) // 2, (spec.width - width) // 2
    tensor = np.full(spec.shape, PADDING, np.uint8)
    pixels = np.asarray(resized).reshape(height, width, -1)
    tensor[top : top + height, left : left + width] = pixels
    return tensor


def picture_of(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return the Pillow image of a pixel tensor (height, width, 1, 3 or 4), uint8."""
    # Pillow takes a grey image without an axis of channels.
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
