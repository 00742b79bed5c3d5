"""What a model file looks at: how its score falls when parts of the image are covered.

It needs inferences only, no gradients, so it works on the very file that the device runs.
"""

import threading
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.explanation.masks import Masks, apply, background
from edge.explanation.options import Method
from edge.explanation.result import correlation
from edge.progress import Step
from edge.runtime.classifier import Classifier
from edge.threads import in_threads

STEP: Final = 1 / 256  # of a probability that is quantized to 8 bits


def scores_under(
    masks: Masks,
    pixels: NDArray[np.uint8],
    label: int,
    open_classifier: Callable[[], Classifier],
    *,
    workers: int,
    step: Step,
) -> NDArray[np.float32]:
    """The class's probability under each mask: (masks,), float32.

    Each thread makes its masks and runs its own interpreter with one thread, so the scores do not
    depend on the number of cores, and no more images are in memory than there are threads.

    Args:
        masks: What is covered.
        pixels: (height, width, 3), uint8 RGB.
        label: Class index.
        open_classifier: Gives a classifier of its own to each thread.
        workers: Threads.
        step: Told of each inference.
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
    """log(p / (1 - p)), p held one step of an int8 output off 0 and 1.

    In probabilities, whatever is covered of a picture that the model is sure of changes nothing.
    """
    held = np.clip(probabilities.astype(np.float64), STEP, 1 - STEP)
    return np.log(held / (1 - held))


def heat_map(
    masks: Masks, scores: NDArray[np.float32], whole: float
) -> tuple[NDArray[np.float32], float | None]:
    """How much of the score each pixel carries, in log-odds, and how well that is known.

    With windows, the mean fall of the score over the windows that cover a pixel, by how much they
    cover it (Zeiler & Fergus). With random masks, what the score lies below its mean in those
    that cover the pixel (Petsiuk et al., equation 6, centred).

    Args:
        masks: That the scores belong to.
        scores: Probabilities (masks,), float32.
        whole: Probability of the image without a mask.

    Returns:
        (height, width), float32; and with random masks the correlation to be expected with a map
        of as many other masks: that of the two halves, by Spearman and Brown (1910); None where
        the map is flat.
    """
    values = log_odds(scores)
    random = masks.method is Method.RISE
    falls = (values.mean() if random else log_odds(np.array([whole], np.float32))[0]) - values
    total = np.zeros((2, masks.height, masks.width))
    weight = np.full_like(total, 1e-9)
    for number, fall in enumerate(falls):
        covered = masks.covered(number)
        half = number // 2 % 2  # a mask and its complement go together
        total[half] += covered * fall
        weight[half] += covered
    found = (total.sum(0) / weight.sum(0)).astype(np.float32)
    if not random:
        return found, None
    halves = (total / weight).astype(np.float32)
    r = correlation(halves[0], halves[1])
    if r is None:  # a half in which nothing changed the score has none of what the other shows
        return found, 0.0 if np.ptp(found) > 0 else None
    return found, max(0.0, 2 * r / (1 + r)) if r > -1 else 0.0
