"""YuNet of OpenCV: faces with five keypoints (Wu et al. 2023).

Source: ``modules/objdetect/src/face_detect.cpp`` of OpenCV 4: for the strides 8, 16 and 32 a class
score, an objectness, a box and five keypoints of each cell. score = sqrt(class * objectness);
x = (column + value) * stride, width = exp(value) * stride.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import InferenceError
from edge.runtime.placement import Placement
from edge.runtime.postprocess import dequantize
from edge.runtime.tasks.boxes import (
    Suppression,
    check_finite,
    check_scores,
    detections,
    suppress,
)
from edge.runtime.tasks.decoder import Tensors, misfit
from edge.runtime.tasks.results import Detections, Keypoint
from edge.runtime.tasks.yolo import STRIDES, corners

POINTS: Final = ("right eye", "left eye", "nose tip", "right mouth corner", "left mouth corner")


@dataclass(frozen=True, slots=True, kw_only=True)
class YuNetParameters(Suppression):
    """How the outputs are read; OpenCV's own defaults are 0.9 and 0.3."""

    score_threshold: float = 0.6
    iou_threshold: float = 0.3


class YuNet:
    """See ``Decoder``."""

    PARAMETERS: ClassVar = YuNetParameters

    def __init__(self, tensors: Tensors, parameters: YuNetParameters) -> None:
        contract = tensors.preprocessing
        self._cells = [
            (-(-contract.height // stride), -(-contract.width // stride)) for stride in STRIDES
        ]
        counts = [rows * columns for rows, columns in self._cells]
        self._places: list[tuple[list[int], int, int]] = []
        for count in counts:
            last = {
                position: spec.shape[-1]
                for position, spec in enumerate(tensors.outputs)
                if len(spec.shape) == 3 and spec.shape[1] == count
            }
            scores = [position for position, extent in last.items() if extent == 1]
            boxes = [position for position, extent in last.items() if extent == 4]
            points = [position for position, extent in last.items() if extent == 10]
            if (len(scores), len(boxes), len(points)) != (2, 1, 1):
                raise misfit("yunet", tensors, "class, objectness, box and keypoints of each grid")
            self._places.append((scores, boxes[0], points[0]))
        self._specs = tensors.outputs
        self._asked = parameters
        self._labels = tensors.labels or ("face",)

    def decode(self, outputs: Sequence[NDArray[Any]], placement: Placement) -> Detections:
        """See ``Decoder``."""
        parts = [
            self._grid(outputs, *place, stride, cells)
            for place, stride, cells in zip(self._places, STRIDES, self._cells, strict=True)
        ]
        boxes, points, scores = (np.concatenate(part) for part in zip(*parts, strict=True))
        classes = np.zeros(len(scores), np.int64)
        stays = suppress(boxes, scores, classes, self._asked)
        boxes, points, scores = boxes[stays], points[stays], scores[stays]
        inside = placement.boxes(boxes)
        area = (inside[:, 2] > inside[:, 0]) & (inside[:, 3] > inside[:, 1])
        found = detections(
            boxes[area], scores[area], classes[: int(area.sum())], placement, self._labels
        )
        places = placement.points(points[area]).tolist()
        return Detections(
            items=tuple(
                replace(
                    item,
                    keypoints=tuple(
                        Keypoint(label=label, x=x, y=y)
                        for label, (x, y) in zip(POINTS, five, strict=True)
                    ),
                )
                for item, five in zip(found.items, places, strict=True)
            )
        )

    def _grid(
        self,
        outputs: Sequence[NDArray[Any]],
        scores: Sequence[int],
        box: int,
        point: int,
        stride: int,
        cells: tuple[int, int],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Return boxes (n, 4), keypoints (n, 5, 2) and scores (n,) of one grid's candidates."""
        first, second = (self._read(outputs, position, 1)[:, 0] for position in scores)
        values, points = self._read(outputs, box, 4), self._read(outputs, point, 10)
        check_scores(first)
        check_scores(second)
        total = np.sqrt(np.clip(first, 0, 1) * np.clip(second, 0, 1))
        if len(total) != cells[0] * cells[1]:
            raise InferenceError(f"the model gave {len(total)} cells for a grid of {cells}")
        rows = np.flatnonzero(total >= self._asked.score_threshold)
        corner = np.stack((rows % cells[1], rows // cells[1]), axis=1).astype(np.float32)
        centre = (values[rows, :2] + corner) * stride
        sides = np.exp(np.minimum(values[rows, 2:], 20)) * stride
        places = (points[rows].reshape(-1, 5, 2) + corner[:, np.newaxis]) * stride
        return corners(np.concatenate((centre, sides), axis=1)), places, total[rows]

    def _read(
        self, outputs: Sequence[NDArray[Any]], position: int, columns: int
    ) -> NDArray[np.float32]:
        values = dequantize(outputs[position], self._specs[position]).reshape(-1, columns)
        check_finite(values)
        return values
