"""Says how far a written file is from the model that it was made of, on held-out images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from converters.base import HeldOut
from edge.errors import UsageError
from edge.evaluation.predictions import run_pixels
from edge.evaluation.score import score
from edge.runtime.contract import PIXELS, InputEncoding
from edge.runtime.supervisor import keras_call
from edge.wording import at_most, counted

CHECKED: Final = 8  # images that Keras answers as well
MOST: Final = 1e-4  # of the largest answer: float32 sums in another order give 1e-6, float16 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What a file loses.

    Attributes:
        drop_points: The percentage points that count against the budget.
        agreement: The share of the float model's answers that it gives, 0..1.
        top1: The top-1 accuracy of a classifier; None without labels, and for other tasks.
    """

    drop_points: float
    agreement: float
    top1: float | None = None


class Judge(Protocol):
    """Holds a file against the float model."""

    def loss(self, path: Path) -> Loss:
        """Return what a file loses on all held-out images."""
        ...

    def error(self, path: Path, images: int) -> float:
        """Return how far a file's outputs are from the float model's on the first images."""
        ...


class ClassJudge:
    """Holds a classifier against the scores of its float model.

    Args:
        held_out: The images, and what the float model says of them.
        encoding: What real values a pixel becomes in a file that takes such.
    """

    def __init__(self, held_out: HeldOut, encoding: InputEncoding = PIXELS) -> None:
        if held_out.reference is None:
            raise UsageError("a search for a classifier needs the float model's scores")
        self._pixels: NDArray[np.uint8] = np.load(held_out.pixels, mmap_mode="r")
        self._reference: NDArray[np.float32] = np.load(held_out.reference)
        self._truth = held_out.truth
        self._encoding = encoding
        self._base = score(self._reference, self._truth).top1

    def loss(self, path: Path) -> Loss:
        """See ``Judge``: points of top-1, or of answers without labels."""
        table = run_pixels(path, self._pixels, encoding=self._encoding)
        scored = score(table, self._truth, self._reference)
        assert scored.agreement is not None  # a reference was given
        drop = 1 - scored.agreement
        if self._base is not None and scored.top1 is not None:
            drop = self._base - scored.top1
        return Loss(drop_points=100 * drop, agreement=scored.agreement, top1=scored.top1)

    def error(self, path: Path, images: int) -> float:
        """See ``Judge``: the squared error of the scores."""
        table = run_pixels(path, self._pixels[:images], encoding=self._encoding)
        difference = (table - self._reference[:images]).astype(np.float64)
        return float((difference**2).sum(axis=1).mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatCheck:
    """How far a float file is from the Keras model that it was written from.

    Converters fold and reorder sums, which changes the last digits of every answer alike; what they
    do wrong changes more. So a few images tell.

    Attributes:
        images: How many both answered.
        difference: The largest difference of two answers, as a share of the largest answer; 1 for
            anything above, and where an answer is no number.
    """

    images: int
    difference: float

    @property
    def holds(self) -> bool:
        """Whether the file answers as the model does."""
        return self.difference <= MOST

    def notes(self, variant: str) -> tuple[str, ...]:
        """Return what a user should know; nothing where the check holds."""
        if self.holds:
            return ()
        return (
            f"{variant} answers otherwise than the Keras model that it was written from: on "
            f"{counted(self.images, 'image')} they differ by up to {at_most(self.difference)} of "
            "the largest answer",
        )


def float_check(model: Any, path: Path, pixels: Path) -> FloatCheck:
    """Hold a float file against its Keras model.

    Args:
        model: The Keras model, which takes 0..255.
        path: The file.
        pixels: The path of a .npy file, uint8 (images, height, width, channels); some from the
            whole of it are taken.

    Raises:
        ModelLoadError, InferenceError: The file does not run.
    """
    stored: NDArray[np.uint8] = np.load(pixels, mmap_mode="r")
    rows = np.unique(np.linspace(0, len(stored) - 1, CHECKED).astype(int))
    images = stored[rows]
    wanted = np.stack([_keras_answer(model, image) for image in images]).astype(np.float64)
    furthest = np.abs(run_pixels(path, images) - wanted).max()
    share = np.nan_to_num(furthest / max(np.abs(wanted).max(), np.finfo(float).tiny), nan=1.0)
    return FloatCheck(images=len(images), difference=float(min(share, 1.0)))


def _keras_answer(model: Any, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(classes,) of one image: eight at once would take 300 MB for their activations."""
    with keras_call():
        answer: NDArray[np.float32] = model(image[np.newaxis].astype(np.float32), training=False)
        return np.asarray(answer, np.float32).reshape(-1)
