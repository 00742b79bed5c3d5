"""Masks: a PNG file for each picture whose values are class indices; 255 counts nowhere."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge.dataset.annotations.stated import StatedPicture, by_stem
from edge.errors import DataError, ImageError
from edge.runtime.image import check_image

FOLDERS: Final = ("masks", "mask", "SegmentationClass", "annotations", "labels", "gtFine")
_SUFFIXES: Final = ("", "_mask", "-mask", "_labelIds", "_gt", "_golden")
_MODES: Final = ("L", "P", "I", "I;16", "1")


def evidence(folder: Path) -> list[Path]:
    """Return the PNG files in folders that are called like those of masks, or named so."""
    return sorted(
        path
        for path in folder.rglob("*.png")
        if path.parent.name in FOLDERS or any(path.stem.endswith(end) for end in _SUFFIXES[1:])
    )


def read(
    folder: Path, files: Sequence[Path], pictures: Sequence[Path], labels: Sequence[str]
) -> dict[Path, StatedPicture]:
    """See ``Format``."""
    del folder, labels
    masks = set(files)
    known = by_stem([path for path in pictures if path not in masks])
    found = {}
    for path in files:
        stems = (path.stem.removesuffix(end) for end in _SUFFIXES if path.stem.endswith(end))
        picture = next((known[stem] for stem in stems if stem in known), None)
        if picture is not None:
            found[picture] = StatedPicture(source=path, mask=path)
    return found


def read_mask(path: Path) -> NDArray[np.uint8]:
    """Return the class index of each pixel, uint8 (height, width).

    Raises:
        DataError: The file cannot be read, or is a picture of colours.
    """
    try:
        check_image(path)
        with Image.open(path) as image:
            if image.mode not in _MODES:
                raise DataError(
                    f"the mask {path} is a picture of colours ({image.mode})",
                    hint="Write class indices: a PNG of one channel, or with a palette.",
                )
            values = np.asarray(image)
    except (OSError, ValueError, ImageError) as error:
        raise DataError(f"the mask {path} cannot be read: {error}") from error
    if values.min() < 0 or values.max() > 255:
        raise DataError(f"the mask {path} has values above 255, which are no class indices")
    return values.astype(np.uint8)
