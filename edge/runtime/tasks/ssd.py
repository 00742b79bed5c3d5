"""Raw SSD: encoded boxes and class scores of anchors, without the operator that decodes them.

Sources: Liu et al. 2016 (SSD); the box coder ``faster_rcnn_box_coder`` and the anchors of
``multiple_grid_anchor_generator.create_ssd_anchors`` of TensorFlow's object detection API, whose
MobileNet SSDs have six layers from scale 0.2 to 0.95, and three small anchors in the first layer.
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
from edge.runtime.tasks.landmarks import sigmoid
from edge.runtime.tasks.results import Detections
from edge.runtime.tasks.scores import ScoreTable, is_readable, real, table_of

_STRIDES: Final = (16, 32, 64, 128, 256, 512)  # pixels; a 300 x 300 net has grids of 19 ... 1
_RATIOS: Final = (1.0, 2.0, 0.5, 3.0, 0.3333)
_MOST_ANCHORS: Final = 200_000
_LARGEST_EXPONENT: Final = 20.0  # of a side in anchors; a wild value becomes huge, not infinite


class ScoreActivation(StrEnum):
    """What is still to be applied to the class scores."""

    SIGMOID = "sigmoid"
    SOFTMAX = "softmax"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class SsdParameters(Suppression):
    """How the outputs are read.

    Attributes:
        boxes: Which output holds the encoded boxes, from 0.
        scores: The same of the class scores.
        scales: What the encoded y, x, height and width are divided by.
        activation: What is still to be applied to the scores.
        background: Whether the first class is the background, which is no answer.
        anchors: Centre y, centre x, height and width of each anchor, as shares of the sides;
            nothing for those of the MobileNet SSDs of TensorFlow's object detection API.
    """

    iou_threshold: float = 0.6  # as the published files of the object detection API
    boxes: int = 0
    scores: int = 1
    scales: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    activation: ScoreActivation = ScoreActivation.SIGMOID
    background: bool = True
    anchors: tuple[tuple[float, float, float, float], ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no detector has."""
        Suppression.__post_init__(self)
        if sorted((self.boxes, self.scores)) != [0, 1] or min(self.scales) <= 0:
            raise UsageError("boxes and scores are the outputs 0 and 1, and scales are above 0")
        if len(self.anchors) > _MOST_ANCHORS:
            raise UsageError(
                f"there are {len(self.anchors)} anchors; at most {_MOST_ANCHORS} are read"
            )


class Ssd:
    """See ``Decoder``."""

    PARAMETERS: ClassVar = SsdParameters

    def __init__(self, tensors: Tensors, parameters: SsdParameters) -> None:
        expected = "encoded boxes (1, anchors, 4) and scores (1, anchors, classes)"
        specs = tensors.outputs
        shapes = [_squeezed(spec.shape) for spec in specs]
        if len(specs) != 2 or not all(len(shape) == 3 for shape in shapes):
            raise misfit("ssd-anchors", tensors, expected)
        if shapes[parameters.boxes][2] != 4 or not all(map(is_readable, specs)):
            raise misfit("ssd-anchors", tensors, expected)
        self._tensors, self._asked = tensors, parameters
        self._boxes, self._scores = specs[parameters.boxes], specs[parameters.scores]
        self._anchors = np.array(parameters.anchors, np.float32).reshape(-1, 4)
        if not parameters.anchors:
            self._anchors = mobilenet_anchors(tensors.preprocessing)
        count = shapes[parameters.boxes][1]
        if count not in (-1, len(self._anchors)):
            raise misfit(
                "ssd-anchors",
                tensors,
                f"{len(self._anchors)} anchors; name those of the model with --anchors FILE",
            )
        level = parameters.score_threshold
        if parameters.activation is ScoreActivation.SIGMOID:
            level = float(np.log(max(level, 1e-9)) - np.log1p(-min(level, 1 - 1e-9)))
        self._table = ScoreTable(self._scores, level)
        contract = tensors.preprocessing
        self._size = np.array((contract.width, contract.height) * 2, np.float32)

    def decode(self, outputs: Sequence[NDArray[Any]], placement: Placement) -> Detections:
        """See ``Decoder``."""
        asked = self._asked
        encoded = table_of(_as_table(outputs[asked.boxes]), 2)
        table = table_of(_as_table(outputs[asked.scores]), 2)
        if len(encoded) != len(self._anchors) or len(table) != len(encoded):
            raise InferenceError(f"the model gave {len(encoded)} boxes and {len(table)} scores")
        check_finite(encoded, table)
        first = int(asked.background)
        if asked.activation is ScoreActivation.SOFTMAX:
            values = _softmax(real(table, self._scores))[:, first:]
            rows = np.flatnonzero(values.max(axis=1) >= asked.score_threshold)
            values = values[rows]
        else:
            rows = self._table.rows(table[:, first:])
            values = real(table[rows, first:], self._scores)
            if asked.activation is ScoreActivation.SIGMOID:
                values = sigmoid(values)
        check_scores(values)
        classes = values.argmax(axis=1)
        scores = np.take_along_axis(values, classes[:, np.newaxis], 1)[:, 0]
        boxes = self._decoded(real(encoded[rows], self._boxes), rows)
        stays = suppress(boxes, scores, classes, asked)
        return detections(
            boxes[stays], scores[stays], classes[stays], placement, self._tensors.labels
        )

    def _decoded(self, values: NDArray[np.float32], rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return left, top, right and bottom (n, 4), in pixels of the tensor."""
        shifts = values / np.array(self._asked.scales, np.float32)
        anchors = self._anchors[rows]
        centre = shifts[:, :2] * anchors[:, 2:] + anchors[:, :2]
        half = np.exp(np.minimum(shifts[:, 2:], _LARGEST_EXPONENT)) * anchors[:, 2:] / 2
        corners: NDArray[Any] = np.concatenate((centre - half, centre + half), axis=1)
        boxes: NDArray[np.float32] = corners[:, [1, 0, 3, 2]] * self._size
        return boxes


def mobilenet_anchors(contract: Preprocessing) -> NDArray[np.float32]:
    """Return centre y, centre x, height and width of each anchor, float32 (anchors, 4), shares.

    Layer i of n has the scale 0.2 + 0.75 i / (n - 1), and for each aspect ratio r an anchor of
    height scale / sqrt(r) and width scale * sqrt(r), and one of the scale between its own and the
    next layer's. The first layer has three small ones.
    """
    scales = [0.2 + 0.75 * layer / (len(_STRIDES) - 1) for layer in range(len(_STRIDES))] + [1.0]
    parts = []
    for layer, stride in enumerate(_STRIDES):
        rows, columns = (-(-side // stride) for side in (contract.height, contract.width))
        kinds = [(scales[layer], ratio) for ratio in _RATIOS]
        kinds.append((float(np.sqrt(scales[layer] * scales[layer + 1])), 1.0))
        if layer == 0:
            kinds = [(0.1, 1.0), (scales[0], 2.0), (scales[0], 0.5)]
        sides = np.array([(scale / ratio**0.5, scale * ratio**0.5) for scale, ratio in kinds])
        y, x = np.mgrid[:rows, :columns]
        centres = np.stack(((y + 0.5) / rows, (x + 0.5) / columns), axis=-1).reshape(-1, 1, 2)
        shape = (len(centres), len(sides), 2)
        both = (np.broadcast_to(centres, shape), np.broadcast_to(sides, shape))
        parts.append(np.concatenate(both, axis=2).reshape(-1, 4))
    return np.concatenate(parts).astype(np.float32)


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return (1, anchors, columns) of (1, anchors, 1, columns), which some exporters write."""
    return (*shape[:2], shape[3]) if len(shape) == 4 and shape[2] == 1 else shape


def _as_table(output: NDArray[Any]) -> NDArray[Any]:
    return output[:, :, 0] if output.ndim == 4 and output.shape[2] == 1 else output


def _softmax(values: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    shares: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
    return shares
