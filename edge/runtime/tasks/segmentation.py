"""Segmentation: scores of each class over the picture, or a map of class numbers.

The scores are brought to the size of the picture (bilinear), and then the best class is taken, as
TensorFlow's task library and MediaPipe do: a border between classes is then smooth. Only classes
that are the best at some place, or the second best beside a border, are resampled. What the model
has not seen, beside a central crop, has the class ``UNSEEN``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge.errors import InferenceError, UsageError
from edge.runtime.placement import Placement
from edge.runtime.postprocess import dequantize
from edge.runtime.tasks.boxes import (
    check_bounds,
    check_classes,
    check_finite,
    check_scores,
)
from edge.runtime.tasks.decoder import Tensors, misfit
from edge.runtime.tasks.results import UNSEEN, Segmentation

MOST_CLASSES: Final = 255  # a mask has 8 bits, and one value is UNSEEN


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskParameters:
    """How the output is read.

    Attributes:
        channels: Where the classes stand: ``last`` or ``first``.
        threshold: With one channel, the least value of the foreground, class 1.
        sigmoid: With one channel, whether a sigmoid is still to be applied.
        numbers: With one channel of real values, whether they are class numbers.
    """

    channels: str = "last"
    threshold: float = 0.5
    sigmoid: bool = False
    numbers: bool = False

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        if self.channels not in ("last", "first"):
            raise UsageError(f"channels is {self.channels!r}; allowed: last, first")
        check_bounds("threshold", self.threshold, 0, 1)


class SegmentationDecoder:
    """See ``Decoder``."""

    PARAMETERS: ClassVar = MaskParameters

    def __init__(self, tensors: Tensors, parameters: MaskParameters) -> None:
        if len(tensors.outputs) != 1 or len(tensors.outputs[0].shape) not in (3, 4):
            raise misfit("segmentation", tensors, "(1, height, width, classes) or a map of numbers")
        (self._spec,) = tensors.outputs
        self._asked = parameters
        self._labels = tensors.labels
        if len(self._spec.shape) == 4 and not self._is_numbers():
            classes = self._spec.shape[3 if parameters.channels == "last" else 1]
            if classes > 1 and self._labels and len(self._labels) != classes:
                wanted = f"scores of {len(self._labels)} classes in the {parameters.channels} axis"
                raise misfit("segmentation", tensors, f"{wanted}, as there are labels")
        self._size = tensors.preprocessing.width, tensors.preprocessing.height

    def decode(self, outputs: Sequence[NDArray[Any]], placement: Placement) -> Segmentation:
        """See ``Decoder``."""
        values = outputs[0][0] if outputs[0].ndim > 2 and outputs[0].shape[0] == 1 else None
        if values is None:
            raise InferenceError(f"the output is {list(outputs[0].shape)}; expected one picture")
        numbers = self._is_numbers()
        if values.ndim == 3 and 1 in (values.shape[2], values.shape[0]) and numbers:
            values = values[:, :, 0] if values.shape[2] == 1 else values[0]
        if values.ndim == 2 and not numbers and self._spec.quantization is not None:
            values = dequantize(values, self._spec)
        if values.ndim == 2:
            classes = _class_map(values)
            check_classes(classes.reshape(-1), self._labels)
            return self._placed(classes, placement)
        scores = dequantize(values, self._spec)
        if self._asked.channels == "first":
            scores = scores.transpose(1, 2, 0)
        check_finite(scores)
        return self._best(scores, placement)

    def _is_numbers(self) -> bool:
        """Whether a map of one channel holds class numbers, and no scores."""
        integers = np.dtype(self._spec.dtype).kind in "iu" and self._spec.quantization is None
        return self._asked.numbers or (
            integers and 1 in (self._spec.shape[-1], *self._spec.shape[1:2])
        )

    def _placed(self, classes: NDArray[np.uint8], placement: Placement) -> Segmentation:
        mask = np.asarray(self._resampled(classes, placement, Image.Resampling.NEAREST)).copy()
        return self._answer(mask, placement)

    def _best(self, scores: NDArray[np.float32], placement: Placement) -> Segmentation:
        """Return the best class of each pixel of the picture.

        Args:
            scores: float32 (rows, columns, classes).
            placement: Where the tensor lies.
        """
        bilinear = Image.Resampling.BILINEAR
        if scores.shape[2] == 1:
            if not self._asked.sigmoid:
                check_scores(scores)
            values = np.asarray(self._resampled(scores[:, :, 0], placement, bilinear))
            level = self._asked.threshold
            if self._asked.sigmoid:
                with np.errstate(divide="ignore"):
                    level = float(np.log(level) - np.log1p(-level))
            return self._answer((values >= level).astype(np.uint8), placement)
        if scores.shape[2] > MOST_CLASSES:
            raise InferenceError(
                f"the output scores {scores.shape[2]} classes; at most {MOST_CLASSES} are read"
            )
        if self._labels and len(self._labels) != scores.shape[2]:
            raise InferenceError(
                f"the output scores {scores.shape[2]} classes, and there are "
                f"{len(self._labels)} labels"
            )
        seen = _contenders(scores)
        mask = np.full((placement.height, placement.width), seen[0], np.uint8)
        best: NDArray[np.float32] | None = None
        for index in seen.tolist():
            here = np.asarray(self._resampled(scores[:, :, index], placement, bilinear))
            if best is None:
                best = here.copy()
                continue
            better = here > best
            mask[better] = index
            np.maximum(best, here, out=best)
        return self._answer(mask, placement)

    def _resampled(
        self, plane: NDArray[Any], placement: Placement, filter_: Image.Resampling
    ) -> Image.Image:
        """Return one plane of the output in the size of the picture."""
        rows, columns = plane.shape
        across, down = columns / self._size[0], rows / self._size[1]
        step_x, step_y = across / placement.scale_x, down / placement.scale_y
        matrix = (step_x, 0.0, -placement.left * step_x, 0.0, step_y, -placement.top * step_y)
        size = placement.width, placement.height
        image = Image.fromarray(np.ascontiguousarray(plane))
        return image.transform(size, Image.Transform.AFFINE, matrix, filter_)

    def _answer(self, mask: NDArray[np.uint8], placement: Placement) -> Segmentation:
        left, top = max(0, round(placement.left)), max(0, round(placement.top))
        right = round(placement.left + self._size[0] * placement.scale_x)
        bottom = round(placement.top + self._size[1] * placement.scale_y)
        mask[:top], mask[bottom:] = UNSEEN, UNSEEN
        mask[:, :left], mask[:, right:] = UNSEEN, UNSEEN
        return Segmentation(mask=mask, labels=self._labels)


def _class_map(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a map of class numbers as uint8 (rows, columns).

    Raises:
        InferenceError: A value is no class number.
    """
    check_finite(values)
    least, most = values.min(), values.max()
    if least < 0 or most >= MOST_CLASSES or (values.dtype.kind == "f" and (values % 1).any()):
        raise InferenceError(
            f"the map of classes has values from {least:g} to {most:g} that are no class numbers"
        )
    return values.astype(np.uint8)


def _contenders(scores: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the classes that may be the best of some pixel, rising.

    Between two places of different classes, a third may be the best that is the second at one.

    Args:
        scores: float32 (rows, columns, classes).
    """
    best = scores.argmax(axis=2)
    border = np.zeros(best.shape, bool)
    beside, below = best[:, 1:] != best[:, :-1], best[1:] != best[:-1]
    border[:, 1:] |= beside
    border[:, :-1] |= beside
    border[1:] |= below
    border[:-1] |= below
    second = np.argpartition(-scores[border], 1, axis=1)[:, 1] if border.any() else best[border]
    return np.unique(np.concatenate((best.reshape(-1), second)))
