"""Pictures decoded once for all models that are asked about them."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.cache import StageCache
from edge.dataset.pictures import Hashed
from edge.runtime.contract import Preprocessing
from edge.runtime.preprocess import load

MOST_BYTES: Final = 2 << 30  # on the disk; pictures beyond are decoded for each model

Decode = Callable[[Path, Preprocessing], NDArray[np.uint8]]
"""Gives the pixels of a picture, uint8 (height, width, channels); raises ImageError."""


@contextmanager
def kept_pixels(
    pictures: Sequence[Hashed], preprocessing: Preprocessing, cache: StageCache
) -> Iterator[Decode]:
    """Give a decoder that keeps what it has decoded of these pictures; threads may share it.

    The pixels lie in a file, not in memory: ``bytes`` of a picture are read back in a twentieth of
    a millisecond, and memory does not grow with the number of pictures.

    Args:
        pictures: What will be asked for more than once.
        preprocessing: The contract; pictures by another one are not kept.
        cache: Where the file lies meanwhile.

    Raises:
        OutputError: The cache cannot be written.
    """
    with cache.scratch("pixels") as folder, (folder / "pixels").open("w+b") as file:
        yield _KeptPixels(file.fileno(), [picture.path for picture in pictures], preprocessing)


class _KeptPixels:
    def __init__(self, file: int, paths: Sequence[Path], preprocessing: Preprocessing) -> None:
        self._file = file
        self._preprocessing = preprocessing
        self._positions = {path: position for position, path in enumerate(paths)}
        self._shapes: dict[int, tuple[int, ...]] = {}  # of the pictures that are kept

    def __call__(self, path: Path, preprocessing: Preprocessing) -> NDArray[np.uint8]:
        position = self._positions.get(path)
        if position is None or preprocessing != self._preprocessing:
            return load(path, preprocessing)
        shape = self._shapes.get(position)
        if shape is not None:
            size = int(np.prod(shape))
            content = os.pread(self._file, size, position * size)
            return np.frombuffer(content, np.uint8).reshape(shape)
        pixels = load(path, preprocessing)
        if (position + 1) * pixels.nbytes <= MOST_BYTES:
            with suppress(OSError):  # no space: it is decoded again
                written = os.pwrite(self._file, pixels.tobytes(), position * pixels.nbytes)
                if written == pixels.nbytes:
                    self._shapes[position] = pixels.shape
        return pixels
