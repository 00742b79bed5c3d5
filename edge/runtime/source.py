"""What a program may give as an image: a path, bytes, a stream, a Pillow image or an array."""

import os
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge.errors import ImageError, UsageError
from edge.runtime.contract import Preprocessing
from edge.runtime.image import upright
from edge.runtime.placement import placement_of
from edge.runtime.preprocess import PlacedPixels, load_placed, preprocess

ImageSource = (
    str | os.PathLike[str] | bytes | bytearray | BinaryIO | Image.Image | NDArray[np.uint8]
)


def placed_pixels(source: ImageSource, spec: Preprocessing) -> PlacedPixels:
    """Return an image in the form that the model takes, and where that lies in the image.

    Raises:
        ImageError: The image cannot be decoded.
        UsageError: The source is no image, or an array of another dtype or shape.
    """
    if isinstance(source, str | os.PathLike):
        return load_placed(Path(source), spec)
    if isinstance(source, bytes | bytearray | memoryview):
        return load_placed(BytesIO(source), spec)
    if isinstance(source, np.ndarray):
        return _placed(Image.fromarray(_checked(source, spec)), spec)
    if isinstance(source, Image.Image):
        return _placed(_decoded(source), spec)
    if hasattr(source, "read"):
        return load_placed(source, spec)
    raise UsageError(
        f"an image cannot be read from a {type(source).__name__}",
        hint="Give a path, bytes, a binary stream, a Pillow image or an array.",
    )


def _decoded(image: Image.Image) -> Image.Image:
    """Return the image with its pixels, which Pillow reads from an opened file only when asked."""
    try:
        image.load()
    except Exception as error:  # Pillow's decoders raise nearly anything on hostile bytes
        raise ImageError(f"the Pillow image cannot be decoded: {error}") from error
    if 0 in image.size:
        raise UsageError(f"the Pillow image has no pixels: {image.width} x {image.height}")
    return image


def _checked(array: NDArray[Any], spec: Preprocessing) -> NDArray[np.uint8]:
    """Return the array, contiguous, where it is one that is allowed."""
    channels = array.shape[2] if array.ndim == 3 else 0
    fits = array.ndim == 2 or channels in (3, spec.color_order.channels)
    if array.dtype != np.uint8 or not fits or array.size == 0:
        raise UsageError(
            f"the array is {array.dtype} of shape {array.shape}; an image is uint8, "
            "(height, width, 3) in RGB order or (height, width) of grey values",
            hint="Convert it, one image at a time; values of 0 to 1 have to be multiplied by 255.",
        )
    return np.ascontiguousarray(array[:, :, 0] if channels == 1 else array)


def _placed(image: Image.Image, spec: Preprocessing) -> PlacedPixels:
    turned = upright(image, spec.color_order, spec.levels)
    return PlacedPixels(preprocess(turned, spec), placement_of(turned.size, spec))
