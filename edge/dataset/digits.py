"""scikit-learn's handwritten digits as a folder of images: a data set without a download."""

import errno
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge.runtime.files import changed_meanwhile, fsync_directory, keep_beside
from edge.runtime.place import check_missing, writing

_ZOOM: Final = 4  # 8 x 8 pixels to 32 x 32, the smallest input of the usual backbones
_BRIGHTEST: Final = 16  # a value is the number of set pixels in a block of 4 x 4


def export_digits(directory: Path, *, on_progress: Callable[[int, int], None] | None = None) -> int:
    """Write ``sklearn.datasets.load_digits`` as ``DIRECTORY/<digit>/NNNN.png``.

    The images are 32 x 32, 8-bit grey; NNNN is the index in the arrays of scikit-learn. Source: E.
    Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
    Repository, 1998 (test set), https://doi.org/10.24432/C50P49, CC BY 4.0.

    Args:
        directory: A new or an empty folder, which appears at once and as a whole.
        on_progress: It is called with (images written, images in all).

    Returns:
        The number of images written.

    Raises:
        OutputError: The directory is not empty, is a file, or cannot be written.
    """
    from sklearn.datasets import load_digits

    directory = directory.resolve()
    temporary = directory.with_name(f".{directory.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with writing(directory, "Name a folder on a disk with space that you may write to."):
            check_missing(directory)
            directory.parent.mkdir(parents=True, exist_ok=True)
            bunch = load_digits()
            _write(temporary, bunch.images, bunch.target, on_progress)
            try:
                temporary.replace(directory)  # which replaces an empty folder at most
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise
                raise changed_meanwhile(directory, keep_beside(temporary, directory)) from error
            fsync_directory(directory.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return len(bunch.target)


def _write(
    directory: Path,
    images: NDArray[Any],
    digits: NDArray[Any],
    on_progress: Callable[[int, int], None] | None,
) -> None:
    """Write the image files.

    Args:
        directory: The folder, which does not exist yet.
        images: float64 (count, 8, 8), 0..16.
        digits: int (count,), 0..9.
        on_progress: As for ``export_digits``.
    """
    for digit in range(10):
        (directory / str(digit)).mkdir(parents=True)
    grey = np.rint(images * (255 / _BRIGHTEST)).astype(np.uint8)
    large = grey.repeat(_ZOOM, axis=1).repeat(_ZOOM, axis=2)
    for number, (pixels, digit) in enumerate(zip(large, digits, strict=True)):
        Image.fromarray(pixels).save(directory / str(digit) / f"{number:04}.png")
        if on_progress:
            on_progress(number + 1, len(large))
