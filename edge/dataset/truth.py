"""What annotations say of a picture: boxes, the class of each pixel, keypoints."""

from dataclasses import dataclass
from pathlib import Path

from edge.dataset.pictures import Picture


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueBox:
    """One annotated object, in pixels of the upright picture, (0, 0) at its top left corner.

    Attributes:
        index: The class index in the model's labels.
        left: Pixels from the left edge.
        top: Pixels from the upper edge.
        right: Pixels from the left edge.
        bottom: Pixels from the upper edge.
        ignored: Whether it counts neither as found nor as missed: crowds of COCO, difficult
            objects of VOC.
        keypoints: (x, y, visibility) of each keypoint, as COCO has them: 0 not labelled, 1 hidden,
            2 visible.
        area: The area that OKS and COCO's sizes are computed with, pixels; None for that of the
            box.
    """

    index: int
    left: float
    top: float
    right: float
    bottom: float
    ignored: bool = False
    keypoints: tuple[tuple[float, float, int], ...] = ()
    area: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureTruth:
    """One picture with its annotations.

    Attributes:
        picture: The picture.
        width: Columns of the upright picture.
        height: Rows of the upright picture.
        boxes: The annotated objects; a picture without any is a truth as well.
        mask: A PNG file of class indices, one a pixel; None where there is none.
    """

    picture: Picture
    width: int
    height: int
    boxes: tuple[TrueBox, ...] = ()
    mask: Path | None = None
