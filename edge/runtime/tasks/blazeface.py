"""BlazeFace of MediaPipe: faces with six keypoints (Bazarevsky et al. 2019).

Source: the graphs ``face_detection_short_range`` and ``face_detection_full_range``, with their
calculators ``SsdAnchorsCalculator`` and ``TensorsToDetectionsCalculator``: an anchor is the centre
of a cell; x, y, width and height, and the keypoints, are pixels of the model's input beside it.
Faces that overlap become one: their mean, weighted by the scores (``NonMaxSuppression``, WEIGHTED).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import InferenceError
from edge.runtime.placement import Placement
from edge.runtime.postprocess import dequantize
from edge.runtime.tasks.boxes import Suppression, check_finite, overlaps, surest
from edge.runtime.tasks.decoder import Tensors, misfit
from edge.runtime.tasks.landmarks import sigmoid
from edge.runtime.tasks.results import Detection, Detections, Keypoint

POINTS: Final = ("right eye", "left eye", "nose tip", "mouth", "right ear", "left ear")
# (stride, anchors a cell) of the grids: the short range has four layers, the last three of which
# share a stride; the full range has one.
_GRIDS: Final = {896: ((8, 2), (16, 6)), 2304: ((4, 1),)}
_SIDE: Final = {896: 128, 2304: 192}


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceParameters(Suppression):
    """How the outputs are read; the defaults are those of MediaPipe's graph."""

    score_threshold: float = 0.5
    iou_threshold: float = 0.3


class BlazeFace:
    """See ``Decoder``."""

    PARAMETERS: ClassVar = FaceParameters

    def __init__(self, tensors: Tensors, parameters: FaceParameters) -> None:
        shapes = [spec.shape for spec in tensors.outputs]
        boxes = [position for position, shape in enumerate(shapes) if shape[-1:] == (16,)]
        scores = [position for position, shape in enumerate(shapes) if shape[-1:] == (1,)]
        anchors = shapes[boxes[0]][1] if boxes and len(shapes[boxes[0]]) == 3 else 0
        contract = tensors.preprocessing
        fits = len(shapes) == 2 and len(boxes) == len(scores) == 1 and anchors in _GRIDS
        if not fits or {contract.width, contract.height} != {_SIDE.get(anchors, 0)}:
            raise misfit("blazeface", tensors, "(1, 896, 16) and (1, 896, 1) of 128 x 128 pixels")
        self._boxes, self._scores = boxes[0], scores[0]
        self._anchors = _centres(anchors)
        self._specs = tensors.outputs
        self._asked = parameters
        self._label = tensors.labels[0] if tensors.labels else "face"

    def decode(self, outputs: Sequence[NDArray[Any]], placement: Placement) -> Detections:
        """See ``Decoder``."""
        values = dequantize(outputs[self._boxes], self._specs[self._boxes]).reshape(-1, 16)
        logits = dequantize(outputs[self._scores], self._specs[self._scores]).reshape(-1)
        check_finite(values, logits)
        if len(values) != len(self._anchors) or len(logits) != len(values):
            raise InferenceError(f"the model gave {len(values)} boxes and {len(logits)} scores")
        scores = sigmoid(logits)
        rows = np.flatnonzero(scores >= self._asked.score_threshold)
        rows = rows[surest(scores[rows], self._asked.max_candidates)]
        centres = self._anchors[rows]
        centre = values[rows, :2] + centres
        half = values[rows, 2:4] / 2
        boxes: NDArray[np.float32] = np.concatenate((centre - half, centre + half), axis=1)
        points: NDArray[np.float32] = (
            values[rows, 4:].reshape(-1, len(POINTS), 2) + centres[:, np.newaxis]
        )
        return self._merged(boxes, points, scores[rows], placement)

    def _merged(
        self,
        boxes: NDArray[np.float32],
        points: NDArray[np.float32],
        scores: NDArray[np.float32],
        placement: Placement,
    ) -> Detections:
        """Return one face for each group that overlaps, the surest first."""
        left = np.arange(len(scores))
        found: list[Detection] = []
        while len(left) and len(found) < self._asked.max_results:
            alike = overlaps(boxes[left[:1]], boxes[left])[0] > self._asked.iou_threshold
            alike[0] = True  # a box without area overlaps with nothing
            group, left = left[alike], left[~alike]
            weights = scores[group] / scores[group].sum()
            box = placement.boxes((weights @ boxes[group])[np.newaxis])[0]
            if box[0] >= box[2] or box[1] >= box[3]:
                continue
            middle = np.tensordot(weights, points[group], axes=1)
            places = placement.points(middle).tolist()
            keypoints = tuple(
                Keypoint(label=label, x=x, y=y)
                for label, (x, y) in zip(POINTS, places, strict=True)
            )
            found.append(_face(self._label, float(scores[group[0]]), box, keypoints))
        return Detections(items=tuple(found))


def _face(
    label: str, score: float, box: NDArray[np.float32], keypoints: tuple[Keypoint, ...]
) -> Detection:
    left, top, right, bottom = box.tolist()
    return Detection(
        index=0,
        label=label,
        score=score,
        left=left,
        top=top,
        right=right,
        bottom=bottom,
        keypoints=keypoints,
    )


def _centres(anchors: int) -> NDArray[np.float32]:
    """Return x and y of each anchor, (anchors, 2), in pixels of the model's input."""
    side = _SIDE[anchors]
    parts = []
    for stride, each in _GRIDS[anchors]:
        y, x = np.mgrid[: side // stride, : side // stride]
        cells = np.stack((x.reshape(-1), y.reshape(-1)), axis=1)
        parts.append(np.repeat((cells + 0.5) * stride, each, axis=0))
    centres: NDArray[np.float32] = np.concatenate(parts).astype(np.float32)
    return centres
