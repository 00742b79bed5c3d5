"""Masks: which parts of an image are covered, and with what.

Two sets of masks, the same for every file of a bundle and the same in every run:

* windows, moved over the image in steps (occlusion sensitivity, Zeiler & Fergus 2014, section 4.2);
* random coarse grids, enlarged smoothly (RISE, Petsiuk et al. 2018, section 3.2), each followed
  by its complement, so that every place is seen as often as it is covered.

What is covered is replaced by the image itself, strongly blurred: a flat colour would be an object
of its own, with edges that a network answers to. The masks' own edges are soft for the same reason.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from edge.explanation.options import Method
from edge.runtime.preprocess import picture_of

WINDOW: Final = 0.25  # side of an occluding window, of the image's side
STEPS: Final = 3  # positions of the window per its own side
CELLS: Final = 7  # of a random grid along a side, as RISE has them


@dataclass(frozen=True, slots=True, kw_only=True)
class Masks:
    """Masks by their number.

    Attributes:
        method: How they are made.
        height: Of a mask, pixels.
        width: Of a mask, pixels.
        count: How many there are.
        seed: Of the random ones.
    """

    method: Method
    height: int
    width: int
    count: int
    seed: int = 0

    def covered(self, number: int) -> NDArray[np.float32]:
        """How much of each pixel mask ``number`` covers: (height, width), float32, 0..1."""
        if self.method is Method.RISE:
            return self._random(number)
        return self._window(number)

    def _window(self, number: int) -> NDArray[np.float32]:
        """One window; those at the border reach beyond it, so that no pixel is covered less."""
        side = positions_per_side()
        row, column = divmod(number, side)
        down = _profile(self.height, row)
        across = _profile(self.width, column)
        return np.outer(down, across).astype(np.float32)

    def _random(self, number: int) -> NDArray[np.float32]:
        random = np.random.default_rng((self.seed, number // 2))
        grid = random.integers(0, 2, (CELLS + 1, CELLS + 1)).astype(np.float32)
        if number % 2:
            grid = 1 - grid
        cell_height, cell_width = -(-self.height // CELLS), -(-self.width // CELLS)
        large = Image.fromarray(grid).resize(
            ((CELLS + 1) * cell_width, (CELLS + 1) * cell_height), Image.Resampling.BILINEAR
        )
        top, left = random.integers(0, (cell_height, cell_width))
        part = np.asarray(large)[top : top + self.height, left : left + self.width]
        covered: NDArray[np.float32] = np.clip(part, 0, 1)
        return covered


def positions_per_side() -> int:
    """Of the occluding window, from one step beyond one border to one beyond the other."""
    return round(STEPS / WINDOW) + 3


def _profile(extent: int, position: int) -> NDArray[np.float64]:
    """Coverage along one side: 1 in the window's middle, 0 beyond it, a cosine in between."""
    centre = (position - 1) * WINDOW / STEPS * extent
    distance = np.abs(np.arange(extent) + 0.5 - centre) / (WINDOW * extent / 2)
    # 1 up to half the half width, 0 from 1.5 times: it covers as much as a hard window.
    ramp = np.clip(1.5 - distance, 0, 1)
    covered: NDArray[np.float64] = 0.5 - 0.5 * np.cos(np.pi * ramp)
    return covered


def background(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What covers: the image blurred until nothing is to be recognised.

    Args:
        pixels: (height, width, channels), uint8.

    Returns:
        float32 of the same shape, 0..255.
    """
    radius = max(pixels.shape[:2]) / 8
    blurred = picture_of(pixels).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(blurred, np.float32).reshape(pixels.shape)


def apply(
    pixels: NDArray[np.uint8], cover: NDArray[np.float32], covered: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """The image with a mask on it.

    Args:
        pixels: (height, width, channels), uint8.
        cover: What shows where the mask covers, same shape, float32.
        covered: (height, width), float32, 0..1.
    """
    share = covered[:, :, np.newaxis]
    return np.rint(pixels * (1 - share) + cover * share).astype(np.uint8)
