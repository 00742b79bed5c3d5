"""What a model file looks at: how its score falls when parts of the image are covered.

Two sets of masks, the same for every file of a bundle and the same in every run:

* windows, moved over the image in steps (occlusion sensitivity, Zeiler & Fergus 2014, section 4.2);
* random coarse grids, enlarged smoothly (RISE, Petsiuk et al. 2018, section 3.2), each followed
  by its complement, so that every pixel is seen as often as it is covered.

What is covered is replaced by the image itself, strongly blurred: a flat colour would be an object
of its own, with edges that a network answers to. The masks have soft edges for the same reason.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from edge.explanation.options import MaskMethod
from edge.explanation.result import correlation
from edge.progress import Step
from edge.runtime.classifier import Classifier
from edge.runtime.preprocess import picture_of
from edge.threads import in_threads

WINDOW: Final = 0.25  # side of an occluding window, as a share of that of the image
STEPS: Final = 3  # positions of the window for each length of its own side
CELLS: Final = 7  # cells of a random grid along a side, as in RISE


@dataclass(frozen=True, slots=True, kw_only=True)
class Masks:
    """The masks of a run, each made when it is asked for by its number.

    Attributes:
        method: How they are made.
        height: The height of a mask, in pixels.
        width: The width of a mask, in pixels.
        count: The number of masks.
        seed: The seed of random masks.
    """

    method: MaskMethod
    height: int
    width: int
    count: int
    seed: int = 0

    def covered(self, number: int) -> NDArray[np.float32]:
        """Return how much of each pixel a mask covers: (height, width), float32, 0..1."""
        if self.method is MaskMethod.RISE:
            return self._random(number)
        return self._window(number)

    def _window(self, number: int) -> NDArray[np.float32]:
        """Return one window; some reach beyond the border, so that no pixel is covered less."""
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
    """Count the positions of the window, from a step beyond one border to one beyond the other."""
    return round(STEPS / WINDOW) + 3


def _profile(extent: int, position: int) -> NDArray[np.float64]:
    """Return the coverage along one side: a soft window, 1 in its middle and 0 beyond it."""
    centre = (position - 1) * WINDOW / STEPS * extent
    distance = np.abs(np.arange(extent) + 0.5 - centre) / (WINDOW * extent / 2)
    # It is 1 up to 0.5 half widths and 0 from 1.5 on, so that it covers as much as a hard window.
    ramp = np.clip(1.5 - distance, 0, 1)
    covered: NDArray[np.float64] = 0.5 - 0.5 * np.cos(np.pi * ramp)
    return covered


def background(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return what covers: the image, blurred until nothing in it can be recognised.

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
    """Put a mask on an image.

    Args:
        pixels: (height, width, channels), uint8.
        cover: What shows where the mask covers; float32 of the same shape.
        covered: (height, width), float32, 0..1.
    """
    share = covered[:, :, np.newaxis]
    return np.rint(pixels * (1 - share) + cover * share).astype(np.uint8)


SMALLEST: Final = 1 / 256  # the step of a probability that is quantized to 8 bits


def scores_under(
    masks: Masks,
    pixels: NDArray[np.uint8],
    label: int,
    open_classifier: Callable[[], Classifier],
    *,
    workers: int,
    step: Step,
) -> NDArray[np.float32]:
    """Compute the probability of the class under each mask: (masks,), float32.

    Each thread makes its masks and runs its own interpreter with one thread, so the scores do not
    depend on the number of cores, and no more images are in memory than there are threads.

    Args:
        masks: The masks.
        pixels: (height, width, 3), uint8 RGB.
        label: The index of the class.
        open_classifier: A function that gives each thread a classifier of its own.
        workers: The number of threads.
        step: It is told of each inference.
    """
    cover = background(pixels)
    local = threading.local()

    def score(number: int) -> float:
        if not hasattr(local, "classifier"):
            local.classifier = open_classifier()
        image = apply(pixels, cover, masks.covered(number))
        probability = float(local.classifier.probabilities(image)[label])
        step(1)
        return probability

    return np.array(in_threads(score, range(masks.count), workers), np.float32)


def log_odds(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return log(p / (1 - p)), with p kept away from 0 and 1 by one step of an int8 output.

    The probability of a picture that the model is sure of hardly changes, whatever is covered.
    """
    held = np.clip(probabilities.astype(np.float64), SMALLEST, 1 - SMALLEST)
    return np.log(held / (1 - held))


def heat_map(
    masks: Masks, scores: NDArray[np.float32], whole: float
) -> tuple[NDArray[np.float32], float | None]:
    """Return how much of the score each pixel carries, in log-odds, and how well that is known.

    With windows, it is the mean fall of the score over the windows that cover a pixel, weighted by
    how much they cover it (Zeiler & Fergus). With random masks, it is how far the score lies below
    its mean in those that cover the pixel (Petsiuk et al., equation 6, centred).

    Args:
        masks: The masks that the scores belong to.
        scores: The probabilities (masks,), float32.
        whole: The probability of the image without a mask.

    Returns:
        (height, width), float32; and, with random masks, the correlation to be expected with a map
        of as many other masks. That is computed from the two halves, by Spearman and Brown (1910),
        and is None if the map is flat.
    """
    values = log_odds(scores)
    random = masks.method is MaskMethod.RISE
    falls = (values.mean() if random else log_odds(np.array([whole], np.float32))[0]) - values
    total = np.zeros((2, masks.height, masks.width))
    weight = np.full_like(total, 1e-9)
    for number, fall in enumerate(falls):
        covered = masks.covered(number)
        half = number // 2 % 2  # a mask and its complement go together
        total[half] += covered * fall
        weight[half] += covered
    heat = (total.sum(0) / weight.sum(0)).astype(np.float32)
    if not random:
        return heat, None
    halves = (total / weight).astype(np.float32)
    r = correlation(halves[0], halves[1])
    if r is None:  # nothing changed the score in one half, so that it shows nothing of the other
        return heat, 0.0 if np.ptp(heat) > 0 else None
    return heat, max(0.0, 2 * r / (1 + r)) if r > -1 else 0.0
