"""Calibration images: uint8 arrays on disk, never all decoded in memory as floats."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.errors import ConversionError


class Calibration:
    """Representative images for the ranges of activations.

    Args:
        path: .npy file, uint8 (images, height, width, 3), RGB.
        zero_point: Subtracted from every pixel, so that the model's input is real 0 there.
    """

    def __init__(self, path: Path | None, zero_point: int) -> None:
        if path is None:
            raise ConversionError("int8 needs calibration images")
        self._pixels: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
        self.zero_point = zero_point

    def __len__(self) -> int:
        return int(self._pixels.shape[0])

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Arrays (1, height, width, 3), float32.

        Two corner pixels of the first image are set to black and to white. The input's range is
        then exactly 0..255 in every calibrator, its scale 1, and the pixel is the quantized value.
        """
        for position in range(len(self)):
            image = self._pixels[position : position + 1].astype(np.float32)
            if position == 0:
                image[0, 0, 0], image[0, 0, -1] = 0.0, 255.0
            yield image - np.float32(self.zero_point)
