"""Detectors of the YOLO families that leave overlapping boxes: one row for each cell or anchor.

Sources of the layouts: ultralytics/yolov5 ``models/yolo.py`` (``Detect``), ultralytics
``nn/modules/head.py`` (``Detect``), and Megvii's YOLOX ``yolox/models/yolo_head.py``
(``decode_outputs``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import InferenceError, UsageError
from edge.runtime.contract import Preprocessing
from edge.runtime.placement import Placement
from edge.runtime.tasks.boxes import (
    Suppression,
    check_finite,
    check_scores,
    detections,
    suppress,
)
from edge.runtime.tasks.decoder import Tensors, misfit
from edge.runtime.tasks.results import Detections
from edge.runtime.tasks.scores import ScoreTable, is_readable, real, table_of

STRIDES: Final = (8, 16, 32)  # pixels of the cells of the three grids
_BOX: Final = 4  # centre x, centre y, width, height
LARGEST_SHARE: Final = 4.0  # what is larger is no share of a side, even of a wild box
_LEAST_PIXELS: Final = 1.5  # boxes that all end within so many pixels of the corner are shares
_LARGEST_EXPONENT: Final = 20.0  # of a side in strides; a wild value becomes huge, and not infinite


class Coordinates(StrEnum):
    """The unit of the boxes that a file gives."""

    PIXELS = "pixels"  # of the tensor, as ONNX files of Ultralytics give them
    NORMALIZED = "normalized"  # shares of its sides, as TFLite files of Ultralytics give them


class BoxUnit:
    """Brings the numbers of boxes to pixels of the tensor, and refuses those of another unit.

    Args:
        coordinates: The unit that they are read in.
        contract: The input, whose sides shares are of.
    """

    def __init__(self, coordinates: Coordinates, contract: Preprocessing) -> None:
        self._shares = coordinates is Coordinates.NORMALIZED
        sides = (contract.width, contract.height) * 2 if self._shares else (1,) * _BOX
        self._factors = np.array(sides, np.float32)

    def pixels(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return boxes (n, 4) in pixels of the tensor.

        Raises:
            InferenceError: They cannot be of that unit.
        """
        largest = float(np.abs(values).max(initial=0))
        wrong = largest > LARGEST_SHARE if self._shares else 0 < largest <= _LEAST_PIXELS
        if wrong and np.isfinite(largest):
            read, other = ("shares of the sides", Coordinates.PIXELS)
            if not self._shares:
                read, other = ("pixels", Coordinates.NORMALIZED)
            raise InferenceError(
                f"the numbers of the boxes reach {largest:.3g}, and they are read as {read}",
                hint="Take the model file again, such as with edge export, and state "
                f"--decoder-option coordinates={other}.",
            )
        return values * self._factors


@dataclass(frozen=True, slots=True, kw_only=True)
class YoloParameters(Suppression):
    """How the rows are read.

    Attributes:
        coordinates: The unit of the boxes; YOLOX has its own, which is relative to each cell.
    """

    coordinates: Coordinates = Coordinates.PIXELS


class _Rows:
    """What the layouts share: rows that reach the threshold, their boxes, and NMS."""

    name: ClassVar[str]
    objectness: ClassVar[bool]
    expected: ClassVar[str]

    PARAMETERS: ClassVar = YoloParameters

    def __init__(self, tensors: Tensors, parameters: YoloParameters) -> None:
        self._tensors = tensors
        self._asked = parameters
        if len(tensors.outputs) != 1 or len(tensors.outputs[0].shape) != 3:
            raise misfit(self.name, tensors, self.expected)
        (self._spec,) = tensors.outputs
        first = _BOX + self.objectness  # column of the first class
        if not is_readable(self._spec) or not self._check(self._spec.shape, first):
            raise misfit(self.name, tensors, self.expected)
        self._first = first
        self._scores = ScoreTable(self._spec, parameters.score_threshold)
        self._unit = BoxUnit(parameters.coordinates, tensors.preprocessing)

    def _check(self, shape: tuple[int, ...], first: int) -> bool:
        """Whether an output has this layout; -1 is an open extent."""
        return shape[0] in (1, -1) and (shape[2] > first or shape[2] == -1)

    def _table(self, outputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Return a view (rows, columns) of the output."""
        return table_of(outputs[0], 2)

    def decode(self, outputs: Sequence[NDArray[Any]], placement: Placement) -> Detections:
        """See ``Decoder``."""
        table = self._table(outputs)
        if table.shape[1] <= self._first:
            raise InferenceError(
                f"the output is {list(outputs[0].shape)}; expected {self.expected}"
            )
        check_finite(table)
        rows = self._candidates(table)
        values = real(table[rows], self._spec)
        check_scores(values[:, _BOX:])
        classes = values[:, self._first :].argmax(axis=1)
        scores = np.take_along_axis(values[:, self._first :], classes[:, np.newaxis], 1)[:, 0]
        if self.objectness:
            scores = scores * values[:, _BOX]
            kept = np.flatnonzero(scores >= self._asked.score_threshold)
            rows, values, classes, scores = rows[kept], values[kept], classes[kept], scores[kept]
        boxes = corners(self._boxes(values[:, :_BOX], rows))
        stays = suppress(boxes, scores, classes, self._asked)
        return detections(
            boxes[stays], scores[stays], classes[stays], placement, self._tensors.labels
        )

    def _candidates(self, table: NDArray[Any]) -> NDArray[np.intp]:
        """Return the rows whose score may reach the threshold."""
        column = table[:, _BOX] if self.objectness else table[:, self._first :]
        return self._scores.rows(column)

    def _boxes(self, values: NDArray[np.float32], rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return centre x, centre y, width and height (n, 4), in pixels of the tensor."""
        del rows
        return self._unit.pixels(values)


class YoloV5(_Rows):
    """Rows of box, objectness and classes: score = objectness * class; YOLOv5 to v7, v6 decoded."""

    name = "yolov5"
    objectness = True
    expected = "(1, rows, 5 + classes)"


class YoloV8(_Rows):
    """Rows of box and classes, or columns of them: YOLOv8, v9, v11."""

    name = "yolov8"
    objectness = False
    expected = "(1, 4 + classes, cells) or (1, cells, 4 + classes)"

    def _check(self, shape: tuple[int, ...], first: int) -> bool:
        # There are more cells than classes; where an extent is open, the cells are that one.
        self._turned = shape[1] > 0 and (shape[2] == -1 or shape[1] < shape[2])
        return shape[0] in (1, -1) and shape[1 if self._turned else 2] > first

    def _table(self, outputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        table = table_of(outputs[0], 2)
        return table.T if self._turned else table


class Yolox(_Rows):
    """Rows of box, objectness and classes, each box relative to its cell: YOLOX.

    x = (value + column) * stride, width = exp(value) * stride; the rows are those of the three
    grids, one after the other.
    """

    name = "yolox"
    objectness = True
    expected = "(1, cells of the strides 8, 16 and 32, 5 + classes)"

    def __init__(self, tensors: Tensors, parameters: YoloParameters) -> None:
        if parameters.coordinates is not Coordinates.PIXELS:
            raise UsageError("coordinates means nothing to the decoder yolox; leave it out")
        super().__init__(tensors, parameters)
        self._cells, self._strides = grids(tensors.preprocessing)
        if self._spec.shape[1] not in (-1, len(self._cells)):
            raise misfit(self.name, tensors, f"(1, {len(self._cells)}, 5 + classes)")

    def _boxes(self, values: NDArray[np.float32], rows: NDArray[np.intp]) -> NDArray[np.float32]:
        if len(rows) and rows[-1] >= len(self._cells):
            raise InferenceError(f"the model gave more rows than {len(self._cells)} cells")
        boxes = np.empty_like(values)
        np.add(values[:, :2], self._cells[rows], out=boxes[:, :2])
        np.exp(np.minimum(values[:, 2:], _LARGEST_EXPONENT), out=boxes[:, 2:])
        boxes *= self._strides[rows][:, np.newaxis]
        return boxes


def grids(contract: Preprocessing) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (column, row) of each cell of the three grids, (n, 2), and its stride, (n,)."""
    cells, strides = [], []
    for stride in STRIDES:
        rows, columns = -(-contract.height // stride), -(-contract.width // stride)
        y, x = np.mgrid[:rows, :columns]
        cells.append(np.stack((x.reshape(-1), y.reshape(-1)), axis=1))
        strides.append(np.full(rows * columns, stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


def corners(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return left, top, right, bottom (n, 4) of boxes of centre x, centre y, width, height."""
    half = boxes[:, 2:] / 2
    return np.concatenate((boxes[:, :2] - half, boxes[:, :2] + half), axis=1)
