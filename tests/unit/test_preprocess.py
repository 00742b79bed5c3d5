from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.errors import ImageError
from edge.runtime import preprocess as preprocess_module
from edge.runtime.contract import ColorOrder, Interpolation, Preprocessing, Resize
from edge.runtime.preprocess import load, preprocess
from tests.unit.conftest import BLUE, GREEN, RED, WHITE, corners, encoded, noise, oriented

SPEC = Preprocessing(height=20, width=30)
ALL_RULES = [(resize, interpolation) for resize in Resize for interpolation in Interpolation]


@pytest.mark.parametrize(("resize", "interpolation"), ALL_RULES)
@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (30, 20), (33, 97), (640, 480)])
def test_shape_and_layout(
    resize: Resize, interpolation: Interpolation, size: tuple[int, int]
) -> None:
    spec = replace(SPEC, resize=resize, interpolation=interpolation)
    tensor = preprocess(Image.new("RGB", size, (10, 20, 30)), spec)
    assert tensor.shape == (20, 30, 3)
    assert tensor.dtype == np.uint8
    assert tensor.flags.c_contiguous
    # A one-pixel line of a letterbox may lie on either side of the middle.
    assert [10, 20, 30] in (tensor[9, 14].tolist(), tensor[10, 15].tolist())


def test_stretch_keeps_every_corner() -> None:
    tensor = preprocess(corners(200, 100), SPEC)
    assert tensor[2, 2].tolist() == list(RED)
    assert tensor[2, 27].tolist() == list(GREEN)
    assert tensor[17, 2].tolist() == list(BLUE)
    assert tensor[17, 27].tolist() == list(WHITE)


@pytest.mark.parametrize("interpolation", [Interpolation.BILINEAR, Interpolation.BICUBIC])
def test_stretch_is_pillow_resize(interpolation: Interpolation) -> None:
    image = noise(3, 75, 50)
    expected = image.resize((30, 20), Image.Resampling[interpolation.name])
    tensor = preprocess(image, replace(SPEC, interpolation=interpolation))
    assert np.array_equal(tensor, np.asarray(expected))


@pytest.mark.parametrize(("height", "width"), [(512, 768), (1024, 512), (256, 256)])
def test_center_crop_is_scaling_then_cropping(height: int, width: int) -> None:
    """Sizes where both ways meet whole pixels, so that they must agree."""
    image = noise(4, height, width)
    spec = Preprocessing(height=224, width=224, resize=Resize.CENTER_CROP, crop_fraction=0.875)
    short = min(height, width)
    scaled = image.resize((width * 256 // short, height * 256 // short), Image.Resampling.BILINEAR)
    left, top = (scaled.width - 224) // 2, (scaled.height - 224) // 2
    expected = np.asarray(scaled.crop((left, top, left + 224, top + 224)), int)
    assert np.abs(preprocess(image, spec) - expected).max() <= 1  # float against whole box


def test_center_crop_window_of_an_oblong_target() -> None:
    """A ramp over x tells which columns were kept."""
    ramp = np.tile(np.arange(200, dtype=np.uint8)[None, :, None], (100, 1, 3))
    spec = Preprocessing(
        height=50, width=50, resize=Resize.CENTER_CROP, crop_fraction=0.5
    )  # 100 rows stand for 100: the window is 50 x 50 at (25, 75)
    tensor = preprocess(Image.fromarray(ramp), spec)
    assert tensor[0, :, 0].tolist() == list(range(75, 125))
    wide = preprocess(Image.fromarray(ramp), replace(spec, width=100))
    assert wide[0, :, 0].tolist() == list(range(50, 150))


def test_whole_crop_keeps_the_shorter_side() -> None:
    spec = Preprocessing(height=7, width=7, resize=Resize.CENTER_CROP, crop_fraction=1.0)
    for height in range(1, 60):  # no rounding puts the box outside the image
        assert preprocess(Image.new("RGB", (61, height), RED), spec)[3, 3].tolist() == list(RED)


def test_letterbox_pads_with_grey_and_centres() -> None:
    spec = Preprocessing(height=40, width=40, resize=Resize.LETTERBOX)
    tensor = preprocess(Image.new("RGB", (80, 40), RED), spec)
    assert (tensor[:10] == 128).all()
    assert (tensor[30:] == 128).all()
    assert (tensor[10:30] == RED).all()
    upright = preprocess(Image.new("RGB", (40, 80), RED), spec)
    assert (upright[:, :10] == 128).all()
    assert (upright[:, 10:30] == RED).all()


def test_nearest_makes_no_new_colour() -> None:
    tensor = preprocess(corners(301, 203), replace(SPEC, interpolation=Interpolation.NEAREST))
    found = {tuple(pixel) for pixel in tensor.reshape(-1, 3).tolist()}
    assert found == {RED, GREEN, BLUE, WHITE}


def test_mode_and_orientation_of_a_given_image() -> None:
    turned = Image.open(BytesIO(oriented(corners(), 6, "PNG")))
    assert preprocess(turned, SPEC)[2, 27].tolist() == list(RED)
    assert preprocess(corners().convert("P"), SPEC)[2, 2].tolist() == list(RED)


@pytest.mark.parametrize("format", ["PNG", "BMP", "JPEG"])
@pytest.mark.parametrize("resize", list(Resize))
def test_load_is_decode_then_preprocess(tmp_path: Path, format: str, resize: Resize) -> None:
    path = tmp_path / "picture"
    path.write_bytes(encoded(noise(5, 70, 90), format))
    spec = replace(SPEC, resize=resize, reducing_gap=0.0)
    expected = preprocess(Image.open(path).convert("RGB"), spec)
    assert np.array_equal(load(path, spec), expected)
    assert np.array_equal(load(BytesIO(path.read_bytes()), spec), expected)


@pytest.mark.parametrize(
    ("options", "minimum"),
    [
        ({}, (40, 60)),
        ({"reducing_gap": 0.0}, None),
        ({"reducing_gap": 1.01}, (21, 31)),
        ({"resize": Resize.LETTERBOX}, (40, 60)),
        ({"resize": Resize.CENTER_CROP, "crop_fraction": 0.5}, (80, 120)),
    ],
)
def test_load_asks_for_the_size_it_needs(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, object], minimum: tuple[int, int] | None
) -> None:
    asked: list[object] = []

    def decode(
        source: object, *, minimum: object, **rest: object
    ) -> tuple[Image.Image, tuple[int, int]]:
        asked.append(minimum)
        return corners(), corners().size

    monkeypatch.setattr(preprocess_module, "decode_sized", decode)
    load(Path("any.jpg"), replace(SPEC, **options))  # type: ignore[arg-type]
    assert asked == [minimum]


@pytest.mark.parametrize("resize", Resize)
@pytest.mark.parametrize("color_order", ColorOrder)
def test_the_tensor_has_the_channels_of_the_contract(
    resize: Resize, color_order: ColorOrder
) -> None:
    spec = Preprocessing(height=8, width=12, resize=resize, color_order=color_order)
    pixels = load(BytesIO(encoded(corners(), "PNG")), spec)
    assert pixels.shape == spec.shape == (8, 12, {"L": 1, "RGB": 3, "RGBA": 4}[color_order])
    assert pixels.dtype == np.uint8


def test_reduced_decoding_stays_close_to_full_decoding() -> None:
    smooth = noise(6, 8, 12).resize((960, 640), Image.Resampling.BICUBIC)
    content = encoded(smooth, "JPEG", quality=95)
    spec = Preprocessing(height=120, width=180)
    full = load(BytesIO(content), replace(spec, reducing_gap=0.0)).astype(int)
    reduced = load(BytesIO(content), spec).astype(int)
    assert not np.array_equal(full, reduced)  # the reduction did take place
    assert np.abs(full - reduced).max() <= 6  # measured: 2; a wrong scale gives above 100


def test_load_passes_errors_on(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"none\.jpg"):
        load(tmp_path / "none.jpg", SPEC)
