"""Where a model's image tensor lies in the picture that it was made of, and the way back."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.runtime.contract import PadPosition, Preprocessing, Resize
from edge.runtime.frozen import frozen_dataclass


@frozen_dataclass(kw_only=True)
class Placement:
    """An affine map from tensor to picture, both in pixels with (0, 0) at the top left corner.

    The picture is upright: its EXIF orientation has been applied. x = left + column * scale_x.

    Attributes:
        width: Columns of the picture.
        height: Rows of the picture.
        left: Where the left edge of the tensor lies in the picture; below 0 with bars beside it.
        top: The same of the upper edge.
        scale_x: Columns of the picture in one column of the tensor.
        scale_y: Rows of the picture in one row of the tensor.
    """

    width: int
    height: int
    left: float
    top: float
    scale_x: float
    scale_y: float

    def points(self, points: NDArray[Any]) -> NDArray[np.float32]:
        """Return points (..., 2) of x and y, float32, in pixels of the picture, not clipped.

        Args:
            points: (..., 2) of x and y, in pixels of the tensor.
        """
        scale = np.array((self.scale_x, self.scale_y), np.float32)
        origin = np.array((self.left, self.top), np.float32)
        return np.asarray(points, np.float32) * scale + origin

    def boxes(self, boxes: NDArray[Any]) -> NDArray[np.float32]:
        """Return boxes (n, 4), float32, in pixels of the picture, clipped to it.

        Args:
            boxes: (n, 4) of left, top, right and bottom, in pixels of the tensor.
        """
        corners = self.points(np.asarray(boxes, np.float32).reshape(-1, 2, 2))
        size = np.array((self.width, self.height), np.float32)
        return np.clip(corners, 0, size).reshape(-1, 4)


def resampled_size(spec: Preprocessing) -> tuple[int, int]:
    """Return (height, width) that the whole image must cover (crop) or lie within (letterbox)."""
    if spec.resize is not Resize.CENTER_CROP:
        return spec.height, spec.width
    return round(spec.height / spec.crop_fraction), round(spec.width / spec.crop_fraction)


def central_window(size: tuple[int, int], spec: Preprocessing) -> tuple[float, float, float, float]:
    """Return (left, top, right, bottom), in pixels of the image, of what a center crop keeps.

    Args:
        size: (width, height) of the image, pixels.
        spec: The contract.
    """
    columns, rows = size
    wanted_rows, wanted_columns = resampled_size(spec)
    scale = max(wanted_rows / rows, wanted_columns / columns)
    # Rounding of the division must not put the box outside the image, which Pillow refuses.
    width = min(spec.width / scale, float(columns))
    height = min(spec.height / scale, float(rows))
    left, top = (columns - width) / 2, (rows - height) / 2
    return left, top, min(left + width, columns), min(top + height, rows)


def letterboxed(size: tuple[int, int], spec: Preprocessing) -> tuple[int, int, int, int]:
    """Return (left, top, width, height), in pixels of the tensor, of the image between the bars.

    Args:
        size: (width, height) of the image, pixels.
        spec: The contract.
    """
    columns, rows = size
    scale = min(spec.height / rows, spec.width / columns)
    height, width = max(1, round(rows * scale)), max(1, round(columns * scale))
    if spec.pad_position is PadPosition.TOP_LEFT:
        return 0, 0, width, height
    return (spec.width - width) // 2, (spec.height - height) // 2, width, height


def placement_of(
    size: tuple[int, int], spec: Preprocessing, *, decoded: tuple[int, int] | None = None
) -> Placement:
    """Return where the tensor lies in the picture.

    Args:
        size: (width, height) of the upright picture, pixels.
        spec: The contract.
        decoded: (width, height) of what was resized, where a JPEG was decoded at a smaller size.
    """
    given = decoded or size
    if spec.resize is Resize.LETTERBOX:
        column, row, width, height = letterboxed(given, spec)
        scale_x, scale_y = given[0] / width, given[1] / height
        left, top = -column * scale_x, -row * scale_y
    else:
        box = (0.0, 0.0, *map(float, given))
        if spec.resize is Resize.CENTER_CROP:
            box = central_window(given, spec)
        left, top, right, bottom = box
        scale_x, scale_y = (right - left) / spec.width, (bottom - top) / spec.height
    across, down = size[0] / given[0], size[1] / given[1]
    return Placement(
        width=size[0],
        height=size[1],
        left=left * across,
        top=top * down,
        scale_x=scale_x * across,
        scale_y=scale_y * down,
    )
