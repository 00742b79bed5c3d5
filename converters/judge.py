"""Says how much a file that a search tried loses against the float model, on held-out images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from converters.base import HeldOut
from edge.errors import UsageError
from edge.evaluation.predictions import run_pixels
from edge.evaluation.score import score
from edge.runtime.contract import PIXELS, InputEncoding


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
