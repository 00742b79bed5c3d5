"""What annotations say of a picture: boxes, the class of each pixel, keypoints."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.dataset.pictures import Picture

IGNORED: Final = 255  # class index of a pixel that counts nowhere


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotatedBox:
    """One annotated object.

    Attributes:
        left: Pixels from the left edge.
        top: Pixels from the upper edge.
        right: Pixels from the left edge.
        bottom: Pixels from the upper edge.
        ignored: Whether it counts neither as found nor as missed: difficult objects of VOC, and
            crowds.
        crowd: Whether it stands for many objects, as COCO's ``iscrowd``: any number of results may
            match it, each by the share of its own area.
        keypoints: (x, y, visibility) of each keypoint, as COCO has them: 0 not labelled, 1 hidden,
            2 visible.
        area: The area that OKS and COCO's sizes are computed with, pixels; None for that of the
            box.
    """

    left: float
    top: float
    right: float
    bottom: float
    ignored: bool = False
    crowd: bool = False
    keypoints: tuple[tuple[float, float, int], ...] = ()
    area: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueBox(AnnotatedBox):
    """An object in pixels of the upright picture, (0, 0) at its top left corner.

    Attributes:
        index: The class index in the model's labels.
    """

    index: int

    @property
    def size(self) -> float:
        """The area, pixels."""
        own = (self.right - self.left) * (self.bottom - self.top)
        return own if self.area is None else self.area


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PictureTruth:
    """One picture with its annotations.

    Attributes:
        picture: The picture.
        width: Columns of the upright picture.
        height: Rows of the upright picture.
        boxes: The annotated objects; a picture without any is a truth as well.
        mask: The class index of each pixel, uint8 (height, width), or a PNG file of it; 255 counts
            nowhere. None where there is none.
        vector: The embedding of another file, float32 (values,); None where there is none.
    """

    picture: Picture
    width: int
    height: int
    boxes: tuple[TrueBox, ...] = ()
    mask: Path | NDArray[np.uint8] | None = None
    vector: NDArray[np.float32] | None = None
