"""Input tensors for any model: real pictures where the model has a contract, else generated ones.

Standard library, numpy and ``edge.runtime`` only: a worker runs in any Python environment.
"""

import io
import os
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelLoadError
from edge.runtime.contract import PIXELS, InputEncoding, Preprocessing
from edge.runtime.session import encode_pixels
from edge.runtime.spec import TensorSpec

SEED: Final = 0


def with_batch(spec: TensorSpec, batch: int) -> tuple[int, ...]:
    """Return the extents of an input: ``batch`` for the first one if it is open or 1.

    A model whose first extent is fixed at another value keeps it.
    """
    if not spec.shape:
        return ()
    first, *rest = spec.shape
    return (batch if first in (-1, 1) else first, *rest)


def generated(spec: TensorSpec, extents: tuple[int, ...]) -> NDArray[Any]:
    """Return a tensor that depends on dtype and extents alone, so that every engine gets the same.

    Integers of 8 and 16 bits cover the whole range, all of which is within a quantized input's;
    real values are uniform in [0, 1); wider integers, which are mostly indices, are 0 or 1.

    Raises:
        ModelLoadError: It is larger than the memory.
    """
    random = np.random.default_rng(SEED)
    dtype = np.dtype(spec.dtype)
    _check_room(spec, extents)
    if dtype.kind in "iu" and dtype.itemsize <= 2:
        bounds = np.iinfo(dtype)
        return random.integers(bounds.min, bounds.max, extents, dtype, endpoint=True)
    if dtype.kind in "iub":
        return random.integers(0, 2, extents).astype(dtype)
    return random.random(extents, np.float32).astype(dtype)


def tensors(
    specs: tuple[TensorSpec, ...],
    batch: int,
    pixels: NDArray[np.uint8] | None,
    encoding: InputEncoding = PIXELS,
) -> tuple[NDArray[Any], ...]:
    """Return one tensor per input.

    Args:
        specs: The inputs of the model, with every extent known.
        batch: The number of images of one inference.
        pixels: (height, width, 3) or (images, height, width, 3), RGB, of one size with the image
            input; None to generate.
        encoding: What their values become, as the contract states.

    Raises:
        ModelLoadError: The image input is of a dtype that cannot hold pixels, or an input is
            larger than the memory.
    """
    if pixels is None:
        return tuple(generated(spec, spec.shape) for spec in specs)
    images = pixels if pixels.ndim == 4 else pixels[np.newaxis]
    repeated = np.resize(images, (with_batch(specs[0], batch)[0], *images.shape[1:]))
    return (np.ascontiguousarray(encode_pixels(repeated, specs[0], encoding)),)


def _check_room(spec: TensorSpec, extents: tuple[int, ...]) -> None:
    """Refuse an input that the memory cannot hold before numpy tries, in words of its own."""
    needed = prod(extents) * np.dtype(spec.dtype).itemsize
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > machine:
        raise ModelLoadError(
            f"an input of the shape {' x '.join(map(str, extents))} ({spec.name}, {spec.dtype}) "
            f"takes {needed / 2**30:,.1f} GiB; this machine has {machine / 2**30:,.1f} GiB",
            hint="Export the model with the shape that it gets in use, or measure fewer images at "
            "once.",
        )


SIZE: Final = (480, 640)  # (height, width) of a generated picture: a small camera's
PATCH: Final = 16  # pixels on a side: what a camera sees is no noise, which JPEG cannot compress


def generated_picture(folder: Path) -> Path:
    """Write a JPEG of coloured patches, with the same bytes each time."""
    from PIL import Image  # a worker in another environment may have none

    height, width = SIZE
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (height // PATCH, width // PATCH, 3), np.uint8)
    path = folder / "picture.jpg"
    image = Image.fromarray(coarse.repeat(PATCH, axis=0).repeat(PATCH, axis=1))
    stream = io.BytesIO()  # Pillow does not notice where a file takes only a part
    image.save(stream, "JPEG", quality=90)
    path.write_bytes(stream.getvalue())
    return path


def pixels(pictures: tuple[Path, ...], contract: Preprocessing, folder: Path) -> Path:
    """Write preprocessed pictures as a .npy file, uint8 (images, height, width, 3).

    Raises:
        ImageError: A picture cannot be decoded.
    """
    from edge.runtime.preprocess import load

    path = folder / f"{contract.sha256[:16]}.npy"
    if not path.exists():
        np.save(path, np.stack([load(picture, contract) for picture in pictures]))
    return path
