"""Detectors that end in ``TFLite_Detection_PostProcess``: boxes come decoded and without overlap.

Source: the operator of TensorFlow's object detection API, ``tflite/kernels/detection_postprocess``:
boxes (1, n, 4) of top, left, bottom and right, as shares of the model's input; classes (1, n),
numbers from 0 without the background; scores (1, n); and how many of the n are objects (1,).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edge.errors import InferenceError, UsageError
from edge.runtime.placement import Placement
from edge.runtime.postprocess import dequantize
from edge.runtime.tasks.boxes import (
    Thresholds,
    check_finite,
    class_numbers,
    detections,
    surest,
)
from edge.runtime.tasks.decoder import Tensors, misfit
from edge.runtime.tasks.results import Detections


@dataclass(frozen=True, slots=True, kw_only=True)
class PostprocessParameters(Thresholds):
    """How the outputs are read.

    Attributes:
        boxes: Which output holds the boxes, from 0.
        classes: The same of the classes.
        scores: The same of the scores.
        count: The same of the number of objects.
    """

    boxes: int = 0
    classes: int = 1
    scores: int = 2
    count: int = 3

    def __post_init__(self) -> None:
        """Refuse what no detector has."""
        Thresholds.__post_init__(self)
        if sorted((self.boxes, self.classes, self.scores, self.count)) != [0, 1, 2, 3]:
            raise UsageError("boxes, classes, scores and count are the outputs 0 to 3, each once")


class DetectionPostprocess:
    """See ``Decoder``."""

    PARAMETERS: ClassVar = PostprocessParameters

    def __init__(self, tensors: Tensors, parameters: PostprocessParameters) -> None:
        if len(tensors.outputs) != 4:
            raise misfit("tflite-detection", tensors, "boxes, classes, scores and their number")
        self._tensors = tensors
        self._parameters = parameters

    def row_scores(self, outputs: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Return the score of each row, (n,)."""
        position = self._parameters.scores
        return dequantize(outputs[position], self._tensors.outputs[position]).reshape(-1)

    def decode(self, outputs: Sequence[NDArray[Any]], placement: Placement) -> Detections:
        """See ``Decoder``."""
        asked, specs = self._parameters, self._tensors.outputs
        values = [dequantize(*pair) for pair in zip(outputs, specs, strict=True)]
        check_finite(*values)
        scores = values[asked.scores].reshape(-1)
        boxes = values[asked.boxes].reshape(-1, 4)
        classes = values[asked.classes].reshape(-1)
        count = values[asked.count].reshape(-1)
        if not len(scores) == len(boxes) == len(classes) or len(count) != 1 or count[0] < 0:
            raise InferenceError(
                f"the model gives {len(boxes)} boxes, {len(classes)} classes, {len(scores)} scores "
                f"and the number {count[:1].tolist()}, which do not belong together"
            )
        scores = scores[: int(min(count[0], len(scores)))]
        rows = np.flatnonzero(scores >= asked.score_threshold)
        rows = rows[surest(scores[rows], asked.max_results)]
        boxes, numbers = boxes[rows], class_numbers(classes[rows])
        contract = self._tensors.preprocessing
        size = np.array((contract.width, contract.height) * 2, np.float32)
        return detections(
            boxes[:, [1, 0, 3, 2]] * size, scores[rows], numbers, placement, self._tensors.labels
        )
