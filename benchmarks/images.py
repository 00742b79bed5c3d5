"""The picture that an end-to-end run starts from, and pixels for models that take images."""

from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from edge.runtime.preprocess import load
from edge.runtime.spec import Preprocessing

SIZE: Final = (480, 640)  # (height, width) of a generated picture: a small camera's
PATCH: Final = 16  # pixels on a side: what a camera sees is no noise, which JPEG cannot compress
GENERATED: Final = "a generated JPEG of 640 x 480"


def generated_picture(folder: Path) -> Path:
    """A JPEG of coloured patches, the same bytes each time."""
    height, width = SIZE
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (height // PATCH, width // PATCH, 3), np.uint8)
    path = folder / "picture.jpg"
    Image.fromarray(coarse.repeat(PATCH, axis=0).repeat(PATCH, axis=1)).save(path, quality=90)
    return path


def pixels(pictures: tuple[Path, ...], contract: Preprocessing, folder: Path) -> Path:
    """Preprocessed pictures as a .npy file, uint8 (images, height, width, 3).

    Raises:
        ImageError: A picture cannot be decoded.
    """
    path = folder / f"{contract.sha256[:16]}.npy"
    if not path.exists():
        np.save(path, np.stack([load(picture, contract) for picture in pictures]))
    return path
