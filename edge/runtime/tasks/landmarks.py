"""Landmark models of MediaPipe: the points of one body, hand or face that fills the picture.

MediaPipe finds the body first and gives these models the part of the picture around it, turned
upright. Here they get the whole picture, which has to show one body, hand or face.

Source: the graphs ``pose_landmark_by_roi``, ``hand_landmark_cpu`` and ``face_landmark_cpu`` of
MediaPipe: the coordinates are pixels of the model's input; of a body each point has x, y, z,
visibility and presence, the last two before their sigmoid; of a hand or face x, y and z.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import InferenceError
from edge.runtime.placement import Placement
from edge.runtime.postprocess import dequantize
from edge.runtime.tasks.boxes import check_bounds, check_finite, check_scores
from edge.runtime.tasks.decoder import Tensors, misfit
from edge.runtime.tasks.results import Keypoint, Pose, Poses

BODY: Final = (
    *("nose", "left eye inner", "left eye", "left eye outer", "right eye inner", "right eye"),
    *("right eye outer", "left ear", "right ear", "mouth left", "mouth right", "left shoulder"),
    *("right shoulder", "left elbow", "right elbow", "left wrist", "right wrist", "left pinky"),
    *("right pinky", "left index", "right index", "left thumb", "right thumb", "left hip"),
    *("right hip", "left knee", "right knee", "left ankle", "right ankle", "left heel"),
    *("right heel", "left foot index", "right foot index"),
)
_FINGERS: Final = ("thumb", "index finger", "middle finger", "ring finger", "pinky")
HAND: Final = (
    "wrist",
    *("thumb cmc", "thumb mcp", "thumb ip", "thumb tip"),
    *(f"{finger} {joint}" for finger in _FINGERS[1:] for joint in ("mcp", "pip", "dip", "tip")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LandmarkKind:
    """One kind of landmarks.

    Attributes:
        labels: The names of the points, which are the first of those that the model gives.
        values: Numbers of each point.
        sigmoid: Whether the score of the whole is before its sigmoid.
    """

    labels: tuple[str, ...]
    values: int
    sigmoid: bool = False


# How many numbers the output of landmarks has -> what they are.
KINDS: Final[Mapping[int, LandmarkKind]] = {
    195: LandmarkKind(labels=BODY, values=5),  # 39 points: 6 of them only place the next crop
    63: LandmarkKind(labels=HAND, values=3),
    1404: LandmarkKind(labels=tuple(map(str, range(468))), values=3, sigmoid=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LandmarkParameters:
    """How the outputs are read.

    Attributes:
        score_threshold: The least score that there is a body, hand or face, 0..1.
    """

    score_threshold: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what nothing has."""
        check_bounds("score_threshold", self.score_threshold, 0, 1)


class Landmarks:
    """See ``Decoder``."""

    PARAMETERS: ClassVar = LandmarkParameters

    def __init__(self, tensors: Tensors, parameters: LandmarkParameters) -> None:
        sizes = [_size(spec.shape) for spec in tensors.outputs]
        points = [position for position, size in enumerate(sizes) if size in KINDS]
        single = [position for position, size in enumerate(sizes) if size == 1]
        if not points or not single:
            raise misfit("landmarks", tensors, "195, 63 or 1404 numbers, and one score")
        # MediaPipe reads the first of each; a hand has a second set, in metres, and its side.
        self._points, self._score = points[0], single[0]
        self._kind = KINDS[sizes[self._points]]
        self._specs = tensors.outputs
        self._asked = parameters
        names = tensors.labels
        self._labels = names if len(names) == len(self._kind.labels) else self._kind.labels

    def decode(self, outputs: Sequence[NDArray[Any]], placement: Placement) -> Poses:
        """See ``Decoder``."""
        score = self._read(outputs, self._score)
        points = self._read(outputs, self._points).reshape(-1, self._kind.values)
        if score.size != 1:
            raise InferenceError(f"the score of the model has {score.size} values, expected one")
        value = float(sigmoid(score)[0] if self._kind.sigmoid else score[0])
        check_scores(np.array([value], np.float32))
        if value < self._asked.score_threshold:
            return Poses(items=())
        points = points[: len(self._labels)]
        places = placement.points(points[:, :2]).tolist()
        sure: list[float | None] = [None] * len(points)
        if self._kind.values == 5:
            sure = sigmoid(points[:, 3]).tolist()
        keypoints = tuple(
            Keypoint(label=label, x=x, y=y, score=seen)
            for label, (x, y), seen in zip(self._labels, places, sure, strict=True)
        )
        return Poses(items=(Pose(score=min(max(value, 0.0), 1.0), keypoints=keypoints),))

    def _read(self, outputs: Sequence[NDArray[Any]], position: int) -> NDArray[np.float32]:
        values = dequantize(outputs[position], self._specs[position]).reshape(-1)
        check_finite(values)
        return values


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod([extent for extent in shape if extent > 0], dtype=np.int64))


def sigmoid(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 1 / (1 + exp(-value)), float32; beyond 80 the answer is 0 or 1 in float32."""
    return (1 / (1 + np.exp(-np.clip(values, -80, 80)))).astype(np.float32)
