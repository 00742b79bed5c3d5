"""Masks: a PNG file for each picture whose values are class indices; 255 counts nowhere."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge.dataset.annotations.stated import StatedPicture, by_stem
from edge.dataset.folder import MASK_MODES, is_called_mask, stems_of_masked
from edge.errors import DataError, ImageError
from edge.runtime.image import check_image


def evidence(folder: Path) -> list[Path]:
    """Return the PNG files in folders that are called like those of masks, or named so."""
    return sorted(
        path
        for path in folder.rglob("*")
        if is_called_mask(path, (folder.name, *path.relative_to(folder).parent.parts))
        and path.is_file()
        and not path.name.startswith(".")  # what archives of macOS leave behind
    )


def read(
    folder: Path, files: Sequence[Path], pictures: Sequence[Path], labels: Sequence[str]
) -> dict[Path, StatedPicture]:
    """See ``Format``.

    Raises:
        DataError: Two masks are of the same picture.
    """
    del folder, labels
    masks = set(files)
    known = by_stem([path for path in pictures if path not in masks])
    found: dict[Path, StatedPicture] = {}
    for path in files:
        picture = next((known[stem] for stem in stems_of_masked(path) if stem in known), None)
        if picture in found:
            raise DataError(
                f"{found[picture].source} and {path} are both masks of {picture.name}",
                hint="Keep one of them, or name the folder of those that count with --annotations.",
            )
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
            if image.mode not in MASK_MODES:
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
