"""What a model says of a picture, by task: plain data, the same on host and device.

Every place is in pixels of the picture as it is shown: upright, its EXIF orientation applied, with
(0, 0) at the top left corner. Letterbox bars, crops and stretches are undone.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from edge.runtime.tasks.table import Task

UNSEEN: Final = 255  # the class of pixels that the model was not shown, beside a central crop


@dataclass(frozen=True, slots=True, kw_only=True)
class Keypoint:
    """One point of a face or of a body.

    Attributes:
        label: The name of the point.
        x: Pixels from the left edge of the picture; points may lie outside.
        y: Pixels from the upper edge.
        score: How sure the model is of it, 0..1; None where it does not say.
    """

    label: str
    x: float
    y: float
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """One object.

    Attributes:
        index: The class index.
        label: The name of the class.
        score: How sure the model is, 0..1.
        left: Pixels from the left edge of the picture; inside it, as the other three.
        top: Pixels from the upper edge.
        right: Pixels from the left edge, at least ``left``.
        bottom: Pixels from the upper edge, at least ``top``.
        keypoints: The points of the object, where the model gives some.
    """

    index: int
    label: str
    score: float
    left: float
    top: float
    right: float
    bottom: float
    keypoints: tuple[Keypoint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """One body, hand or face.

    Attributes:
        score: How sure the model is that there is one, 0..1.
        keypoints: Its points, in the order of the labels.
    """

    score: float
    keypoints: tuple[Keypoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Detections:
    """The answer of a detector, the surest object first."""

    KEY: ClassVar[str] = "detections"

    items: tuple[Detection, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the answer as JSON values."""
        return {self.KEY: [asdict(item) for item in self.items]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Poses:
    """The answer of a pose model, the surest body first."""

    KEY: ClassVar[str] = "poses"

    items: tuple[Pose, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the answer as JSON values."""
        return {self.KEY: [asdict(item) for item in self.items]}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segmentation:
    """The answer of a segmentation model.

    Attributes:
        mask: The class index of each pixel of the picture, uint8 (height, width); ``UNSEEN`` where
            the model was not shown the pixel.
        labels: The names of the classes.
    """

    KEY: ClassVar[str] = "segments"

    mask: NDArray[np.uint8]
    labels: tuple[str, ...]

    def label(self, index: int) -> str:
        """Return the name of a class index of the mask."""
        if index < len(self.labels):
            return self.labels[index]
        return "not seen" if index == UNSEEN else str(index)

    def to_json(self) -> dict[str, Any]:
        """Return the classes that have pixels as JSON values, the largest first, with no mask."""
        counts = np.bincount(self.mask.reshape(-1), minlength=len(self.labels))
        order = [int(index) for index in np.argsort(-counts, kind="stable") if counts[index]]
        return {
            self.KEY: [
                {
                    "index": index,
                    "label": self.label(index),
                    "pixels": int(counts[index]),
                    "share": float(counts[index] / self.mask.size),
                }
                for index in order
            ]
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Embedding:
    """The answer of a model that gives a vector.

    Attributes:
        values: float32 (values,).
    """

    KEY: ClassVar[str] = "embedding"

    values: NDArray[np.float32]

    def to_json(self) -> dict[str, Any]:
        """Return the answer as JSON values."""
        return {self.KEY: [float(value) for value in self.values]}


Answer = Detections | Segmentation | Poses | Embedding
ANSWERS: Final[Mapping[Task, type[Answer]]] = {
    Task.DETECTION: Detections,
    Task.SEGMENTATION: Segmentation,
    Task.POSE: Poses,
    Task.EMBEDDING: Embedding,
}
