"""Pictures that are decoded once for several models."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.cache import StageCache
from edge.dataset.pictures import Picture
from edge.errors import ImageError
from edge.evaluation import kept_pixels as module
from edge.evaluation.kept_pixels import kept_pixels
from edge.runtime.contract import ColorOrder, Preprocessing
from edge.runtime.preprocess import load

SPEC = Preprocessing(height=12, width=20)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Picture]:
    noise = np.random.default_rng(0).integers(0, 256, (9, 30, 40, 3), np.uint8)
    made = [Picture(tmp_path / f"{number}.png", str(number)) for number in range(9)]
    for picture, pixels in zip(made, noise, strict=True):
        Image.fromarray(pixels).save(picture.path)
    return made


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were decoded, in order."""
    names: list[str] = []

    def watched(path: Path, spec: Preprocessing) -> np.ndarray:
        names.append(path.name)
        return load(path, spec)

    monkeypatch.setattr(module, "load", watched)
    return names


def test_each_picture_is_decoded_once_whoever_asks(
    pictures: list[Picture], decoded: list[str], tmp_path: Path
) -> None:
    wanted = [load(picture.path, SPEC) for picture in pictures]
    with kept_pixels(pictures, SPEC, StageCache(tmp_path / "cache")) as decode:
        for _ in range(3):
            with ThreadPoolExecutor(4) as pool:
                found = list(pool.map(lambda picture: decode(picture.path, SPEC), pictures))
            for own, other in zip(found, wanted, strict=True):
                np.testing.assert_array_equal(own, other)
    assert sorted(decoded) == sorted(picture.path.name for picture in pictures)


def test_another_contract_and_another_picture_are_decoded_as_ever(
    pictures: list[Picture], decoded: list[str], tmp_path: Path
) -> None:
    grey = Preprocessing(height=5, width=5, color_order=ColorOrder.GREY)
    with kept_pixels(pictures[:1], SPEC, StageCache(tmp_path / "cache")) as decode:
        assert decode(pictures[0].path, SPEC).shape == (12, 20, 3)
        assert decode(pictures[0].path, grey).shape == (5, 5, 1)
        for _ in range(2):
            np.testing.assert_array_equal(
                decode(pictures[1].path, SPEC), load(pictures[1].path, SPEC)
            )
    assert decoded == ["0.png", "0.png", "1.png", "1.png"]


def test_what_would_take_too_much_of_the_disk_is_decoded_again(
    pictures: list[Picture],
    decoded: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 2 * 12 * 20 * 3)
    cache = StageCache(tmp_path / "cache")
    with kept_pixels(pictures[:4], SPEC, cache) as decode:
        for picture in pictures[:4] * 2:
            np.testing.assert_array_equal(decode(picture.path, SPEC), load(picture.path, SPEC))
        (file,) = [p for p in (tmp_path / "cache").rglob("pixels") if p.is_file()]
        assert file.stat().st_size == 2 * 12 * 20 * 3
    assert decoded == ["0.png", "1.png", "2.png", "3.png", "2.png", "3.png"]
    assert not file.exists()


def test_a_full_disk_costs_time_and_nothing_else(
    pictures: list[Picture], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with kept_pixels(pictures, SPEC, StageCache(tmp_path / "cache")) as decode:
        monkeypatch.setattr(module.os, "pwrite", full)
        for _ in range(2):
            np.testing.assert_array_equal(
                decode(pictures[0].path, SPEC), load(pictures[0].path, SPEC)
            )


def test_a_picture_that_cannot_be_read_is_an_error_each_time(tmp_path: Path) -> None:
    (tmp_path / "no.png").write_bytes(b"no picture")
    broken = Picture(tmp_path / "no.png", "0")
    with kept_pixels([broken], SPEC, StageCache(tmp_path / "cache")) as decode:
        for _ in range(2):
            with pytest.raises(ImageError):
                decode(broken.path, SPEC)
