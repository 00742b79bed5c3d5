"""MoveNet: the 17 keypoints of COCO of one body, or of up to six.

Source: https://www.tensorflow.org/hub/tutorials/movenet: (1, 1, 17, 3) of y, x and score, shares of
the model's input; or (1, 6, 56), where a box of four numbers and a score follow the keypoints.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from edge.runtime.placement import Placement
from edge.runtime.postprocess import dequantize
from edge.runtime.tasks.boxes import check_bounds, check_finite, check_scores
from edge.runtime.tasks.decoder import Tensors, misfit
from edge.runtime.tasks.results import Keypoint, Pose, Poses

POINTS: Final = (
    *("nose", "left eye", "right eye", "left ear", "right ear", "left shoulder"),
    *("right shoulder", "left elbow", "right elbow", "left wrist", "right wrist"),
    *("left hip", "right hip", "left knee", "right knee", "left ankle", "right ankle"),
)
_ONE, _SEVERAL = (1, 1, 17, 3), (1, 6, 56)


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyParameters:
    """How the output is read.

    Attributes:
        score_threshold: The least score of a body, 0..1: of one body, the mean of its keypoints'.
    """

    score_threshold: float = 0.2

    def __post_init__(self) -> None:
        """Refuse what no body has."""
        check_bounds("score_threshold", self.score_threshold, 0, 1)


class MoveNet:
    """See ``Decoder``."""

    PARAMETERS: ClassVar = BodyParameters

    def __init__(self, tensors: Tensors, parameters: BodyParameters) -> None:
        shape = tensors.outputs[0].shape if len(tensors.outputs) == 1 else ()
        if shape not in (_ONE, _SEVERAL):
            raise misfit("movenet", tensors, "(1, 1, 17, 3) or (1, 6, 56)")
        (self._spec,) = tensors.outputs
        self._several = shape == _SEVERAL
        self._asked = parameters
        self._labels = tensors.labels if len(tensors.labels) == len(POINTS) else POINTS
        self._size = np.array((tensors.preprocessing.width, tensors.preprocessing.height))

    def decode(self, outputs: Sequence[NDArray[Any]], placement: Placement) -> Poses:
        """See ``Decoder``."""
        rows = dequantize(outputs[0], self._spec).reshape(6 if self._several else 1, -1)
        check_finite(rows)
        check_scores(rows[:, 2:51:3])
        check_scores(rows[:, 55:])
        poses = []
        for row in rows:
            points = row[:51].reshape(17, 3)
            score = float(row[55] if self._several else points[:, 2].mean())
            if score < self._asked.score_threshold:
                continue
            places = placement.points(points[:, 1::-1] * self._size)
            found = zip(self._labels, places.tolist(), points[:, 2].tolist(), strict=True)
            keypoints = tuple(
                Keypoint(label=label, x=x, y=y, score=min(max(sure, 0.0), 1.0))
                for label, (x, y), sure in found
            )
            poses.append(Pose(score=min(max(score, 0.0), 1.0), keypoints=keypoints))
        return Poses(items=tuple(sorted(poses, key=lambda pose: -pose.score)))
