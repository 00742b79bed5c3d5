"""Detectors that end in ``TFLite_Detection_PostProcess``: boxes come decoded and without overlap.

Source: the operator of TensorFlow's object detection API, ``tflite/kernels/detection_postprocess``:
boxes (1, n, 4) of top, left, bottom and right, as shares of the model's input; classes (1, n),
numbers from 0 without the background; scores (1, n); and how many of the n are objects (1,).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import InferenceError, UsageError
from edge.runtime.placement import Placement
from edge.runtime.postprocess import dequantize
from edge.runtime.tasks.decoder import Tensors, misfit
from edge.runtime.tasks.results import Detection, Detections


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """How the outputs are read.

    Attributes:
        score_threshold: The least score of an object, 0..1.
        max_results: The largest number of objects.
        boxes: Which output holds the boxes, from 0.
        classes: The same of the classes.
        scores: The same of the scores.
        count: The same of the number of objects.
    """

    score_threshold: float = 0.3
    max_results: int = 100
    boxes: int = 0
    classes: int = 1
    scores: int = 2
    count: int = 3

    def __post_init__(self) -> None:
        """Refuse what no detector has."""
        if not 0 <= self.score_threshold <= 1 or self.max_results < 1:
            raise UsageError(
                f"score_threshold is {self.score_threshold} and max_results {self.max_results}; "
                "allowed: 0 to 1, and 1 or more"
            )
        if sorted((self.boxes, self.classes, self.scores, self.count)) != [0, 1, 2, 3]:
            raise UsageError("boxes, classes, scores and count are the outputs 0 to 3, each once")


class DetectionPostprocess:
    """See ``Decoder``."""

    def __init__(self, tensors: Tensors, parameters: Parameters) -> None:
        if len(tensors.outputs) != 4:
            raise misfit("tflite-detection", tensors, "boxes, classes, scores and their number")
        self._tensors = tensors
        self._parameters = parameters

    def decode(self, outputs: Sequence[NDArray[Any]], placement: Placement) -> Detections:
        """See ``Decoder``."""
        asked, specs = self._parameters, self._tensors.outputs
        values = [dequantize(*pair) for pair in zip(outputs, specs, strict=True)]
        count = int(values[asked.count].reshape(-1)[0])
        scores = values[asked.scores].reshape(-1)[:count]
        if not np.isfinite(scores).all():
            raise InferenceError("the model's answer is not finite (NaN or infinity)")
        kept = np.flatnonzero(scores >= asked.score_threshold)
        kept = kept[np.argsort(-scores[kept], kind="stable")][: asked.max_results]
        boxes = values[asked.boxes].reshape(-1, 4)[kept]
        classes = values[asked.classes].reshape(-1)[kept].astype(int)
        contract = self._tensors.preprocessing
        size = np.array((contract.width, contract.height) * 2, np.float32)
        placed = placement.boxes(boxes[:, [1, 0, 3, 2]] * size)
        labels = self._tensors.labels
        return Detections(
            items=tuple(
                Detection(
                    index=int(index),
                    label=labels[index] if index < len(labels) else str(index),
                    score=float(score),
                    left=float(box[0]),
                    top=float(box[1]),
                    right=float(box[2]),
                    bottom=float(box[3]),
                )
                for index, score, box in zip(classes, scores[kept], placed, strict=True)
            )
        )
