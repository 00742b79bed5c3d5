"""How near keypoints are: OKS for the 17 points of COCO, PCK for other sets of points.

OKS = mean over labelled points of exp(-d^2 / (2 area (2 sigma)^2)), with d the distance in pixels
and the sigmas of ``pycocotools.cocoeval``. PCK is the share of points within a tenth of the longer
side of the object's box (Yang and Ramanan 2013).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from edge.dataset.truth import PictureTruth, TrueBox
from edge.errors import DataError
from edge.evaluation.tasks.metric import TaskScore, weights_of
from edge.runtime.tasks.results import Answer, Pose, Poses

_SPREADS: Final = (0.26, 0.25, 0.25, 0.35, 0.35, 0.79, 0.79, 0.72, 0.72, 0.62, 0.62)
SIGMAS: Final = np.array((*_SPREADS, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89)) / 10
WITHIN: Final = 0.1  # of the longer side of the box


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PoseRecords:
    """What each image says of a pose model.

    Attributes:
        total: The sum of the values of its annotated bodies, (images,); a body that is not found
            has 0.
        bodies: How many are annotated, (images,).
    """

    total: NDArray[np.float64]
    bodies: NDArray[np.int64]


class PoseMetric:
    """See ``TaskMetric``: the mean over annotated bodies, each with the answer that fits best."""

    def __init__(self, labels: tuple[str, ...], threshold: float) -> None:
        self.name = "oks" if len(labels) == len(SIGMAS) else "pck"
        self._threshold = threshold

    def records(self, truth: Sequence[PictureTruth], answers: Sequence[Answer]) -> PoseRecords:
        """See ``TaskMetric``."""
        total = np.zeros(len(truth))
        bodies = np.zeros(len(truth), np.int64)
        for image, (item, answer) in enumerate(zip(truth, answers, strict=True)):
            wanted = [box for box in item.boxes if _labelled(box) and not box.ignored]
            items = cast(Poses, answer).items
            given = [pose for pose in items if pose.score >= self._threshold]
            bodies[image] = len(wanted)
            total[image] = self._matched(wanted, given)
        return PoseRecords(total=total, bodies=bodies)

    def _matched(self, wanted: Sequence[TrueBox], given: Sequence[Pose]) -> float:
        """Return the sum of the values of the best pairs; each answer serves one body."""
        if not wanted or not given:
            return 0.0
        from scipy.optimize import linear_sum_assignment

        values = np.array([[self._value(box, pose) for pose in given] for box in wanted])
        rows, columns = linear_sum_assignment(-values)
        return float(values[rows, columns].sum())

    def _value(self, box: TrueBox, pose: Pose) -> float:
        points = np.array([(item.x, item.y) for item in pose.keypoints])
        wanted = np.array(box.keypoints)
        if len(points) != len(wanted):
            raise DataError(
                f"the annotations have {len(wanted)} keypoints and the model gives {len(points)}",
                hint="Annotate the points of the model, in its order.",
            )
        labelled = wanted[:, 2] > 0
        distances = np.hypot(*(points - wanted[:, :2])[labelled].T)
        if self.name == "oks":
            return oks(distances, box.size, SIGMAS[labelled])
        side = max(box.right - box.left, box.bottom - box.top)
        return float((distances <= WITHIN * side).mean())

    def score(self, records: PoseRecords, images: NDArray[np.int64] | None = None) -> TaskScore:
        """See ``TaskMetric``."""
        value = self.primary(records, weights_of(images, len(records.total)))
        return TaskScore(primary=value, values={self.name: value})

    def primary(self, records: PoseRecords, weights: NDArray[np.int64]) -> float | None:
        """See ``TaskMetric``."""
        bodies = int(weights @ records.bodies)
        return float(weights @ records.total) / bodies if bodies else None


def oks(distances: NDArray[np.float64], area: float, sigmas: NDArray[np.float64]) -> float:
    """Return the object keypoint similarity, 0..1.

    Args:
        distances: The distance of each labelled point, pixels, (n,).
        area: The area of the object, pixels.
        sigmas: The sigmas of the same points, (n,).
    """
    spread = 2 * (2 * sigmas) ** 2 * (area + np.spacing(1))
    return float(np.exp(-(distances**2) / spread).mean())


def _labelled(box: TrueBox) -> bool:
    return any(visible > 0 for _, _, visible in box.keypoints)
