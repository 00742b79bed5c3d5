"""The way from a model's tensor back to the picture that it was made of."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from edge.runtime.contract import PadPosition, Preprocessing, Resize
from edge.runtime.placement import placement_of
from edge.runtime.preprocess import load_placed

MARK = (300, 120, 40)  # left, top and side of a white square in a picture of 640 x 480


def photo(orientation: int = 1) -> BytesIO:
    """Return a JPEG that shows the square at MARK, whatever its EXIF orientation."""
    pixels = np.zeros((480, 640, 3), np.uint8)
    left, top, side = MARK
    pixels[top : top + side, left : left + side] = 255
    image = Image.fromarray(pixels)
    if orientation == 6:  # stored turned by a quarter; a viewer turns it back
        image = image.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = BytesIO()
    image.save(stream, "JPEG", quality=95, exif=exif)
    stream.seek(0)
    return stream


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("gap", [0.0, 1.0])  # 1: the JPEG is decoded at half its size or less
@pytest.mark.parametrize(
    "spec",
    [
        {"resize": Resize.STRETCH},
        {"resize": Resize.CENTER_CROP},
        {"resize": Resize.LETTERBOX},
        {"resize": Resize.LETTERBOX, "pad_position": PadPosition.TOP_LEFT},
    ],
    ids=lambda spec: "-".join(map(str, spec.values())),
)
def test_a_box_in_the_tensor_is_found_again_in_the_picture(
    spec: dict[str, object], gap: float, orientation: int
) -> None:
    contract = Preprocessing(height=160, width=160, reducing_gap=gap, pad_value=0, **spec)  # type: ignore[arg-type]
    placed = load_placed(photo(orientation), contract)
    rows, columns = np.nonzero(placed.pixels[:, :, 0] > 127)
    box = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]])
    (found,) = placed.placement.boxes(box)
    left, top, side = MARK
    assert (placed.placement.width, placed.placement.height) == (640, 480)
    # A pixel of the tensor is up to four of the picture, and an edge lies within one.
    np.testing.assert_allclose(found, (left, top, left + side, top + side), atol=4.1)


def test_boxes_are_clipped_and_points_are_not() -> None:
    placement = placement_of((100, 50), Preprocessing(height=10, width=10))
    assert placement.boxes(np.array([[-5, -5, 50, 50]])).tolist() == [[0, 0, 100, 50]]
    assert placement.points(np.array([[-5, 20]])).tolist() == [[-50, 100]]
