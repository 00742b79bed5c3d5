"""Detectors with the suppression of overlapping boxes inside, or without the need of any.

One output (1, n, 6): left, top, right, bottom, score and class of each box (YOLOv10, YOLO26, and
exports of Ultralytics with ``nms=True``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import InferenceError
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
from edge.runtime.tasks.yolo import BoxUnit, Coordinates

_COLUMNS: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class EndToEndParameters(Thresholds):
    """How the rows are read.

    Attributes:
        coordinates: The unit of the boxes.
    """

    coordinates: Coordinates = Coordinates.PIXELS


class YoloEndToEnd:
    """See ``Decoder``."""

    PARAMETERS: ClassVar = EndToEndParameters

    def __init__(self, tensors: Tensors, parameters: EndToEndParameters) -> None:
        shapes = [spec.shape for spec in tensors.outputs]
        rows = len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][2] in (_COLUMNS, -1)
        if not rows:
            raise misfit("yolo-end-to-end", tensors, "(1, boxes, 6)")
        self._tensors = tensors
        self._asked = parameters
        self._unit = BoxUnit(parameters.coordinates, tensors.preprocessing)

    def row_scores(self, outputs: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Return the score of each row, (n,)."""
        return dequantize(outputs[0], self._tensors.outputs[0]).reshape(-1, _COLUMNS)[:, 4]

    def decode(self, outputs: Sequence[NDArray[Any]], placement: Placement) -> Detections:
        """See ``Decoder``."""
        table = dequantize(outputs[0], self._tensors.outputs[0])
        if table.ndim != 3 or table.shape[0] != 1 or table.shape[2] != _COLUMNS:
            raise InferenceError(f"the output is {list(table.shape)}; expected (1, boxes, 6)")
        values = table[0]
        check_finite(values)
        rows = np.flatnonzero(values[:, 4] >= self._asked.score_threshold)
        rows = rows[surest(values[rows, 4], self._asked.max_results)]
        kept = values[rows]
        return detections(
            self._unit.pixels(kept[:, :4]),
            kept[:, 4],
            class_numbers(kept[:, 5]),
            placement,
            self._tensors.labels,
        )
