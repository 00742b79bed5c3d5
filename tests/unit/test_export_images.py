"""What the pictures of an export say of the contract."""

from pathlib import Path

import pytest
from PIL import Image

from edge.pipeline.export_images import ImageFolders, export_images
from edge.runtime.contract import Preprocessing, Resize

CUT = Preprocessing(height=64, width=48, resize=Resize.CENTER_CROP, crop_fraction=0.875)


def pictures(folder: Path, *sizes: tuple[int, int]) -> Path:
    folder.mkdir()
    for number, size in enumerate(sizes):
        Image.new("RGB", size, (number, 0, 0)).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    ("sizes", "fraction"),
    [
        (((48, 64), (48, 64)), 1.0),
        (((48, 64), (480, 640)), 0.875),
        (((64, 48), (64, 48)), 0.875),
    ],
)
def test_pictures_of_the_models_own_size_are_taken_whole_and_that_is_said(
    tmp_path: Path, sizes: tuple[tuple[int, int], ...], fraction: float
) -> None:
    folder = pictures(tmp_path / "pictures", *sizes)
    found = export_images(ImageFolders(folder, None), (), (), CUT, most=1, seed=0)
    assert found.preprocessing.crop_fraction == fraction
    said = [note for note in found.notes if "taken whole" in note]
    assert bool(said) == (fraction == 1)
    assert not said or "48 x 64" in said[0]
