import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.cache import StageCache
from edge.dataset.pictures import Picture
from edge.pipeline.calibration import calibration_array, calibration_id, choose
from edge.runtime.contract import Preprocessing
from edge.runtime.files import sha256_file
from edge.runtime.preprocess import load

SPEC = Preprocessing(height=8, width=12)


def pictures(counts: dict[int | None, int]) -> list[Picture]:
    return [
        Picture(Path(f"{label}-{n}"), hashlib.sha256(f"{label}:{n}".encode()).hexdigest(), label)
        for label, count in counts.items()
        for n in range(count)
    ]


def chosen(images: list[Picture], count: int, seed: int = 0) -> tuple[Picture, ...]:
    return choose(images, [image.label for image in images], count, seed)


def classes(images: tuple[Picture, ...]) -> Counter[int | None]:
    return Counter(image.label for image in images)


def test_the_classes_take_turns() -> None:
    images = pictures({0: 50, 1: 50, 2: 50})
    assert classes(chosen(images, 30)) == {0: 10, 1: 10, 2: 10}
    assert classes(chosen(images, 31)) == {0: 11, 1: 10, 2: 10}
    assert classes(chosen(images, 2)) == {0: 1, 1: 1}


def test_a_small_class_gives_all_it_has() -> None:
    assert classes(chosen(pictures({0: 50, 1: 3}), 20)) == {0: 17, 1: 3}


@pytest.mark.parametrize("count", [5, 6, 1000])
def test_no_more_than_there_are_and_none_twice(count: int) -> None:
    found = chosen(pictures({0: 2, 1: 3}), count)
    assert len(found) == len(set(found)) == 5


def test_images_without_a_class_count_as_one() -> None:
    assert classes(chosen(pictures({None: 50, 0: 50}), 10)) == {0: 5, None: 5}
    assert len(chosen(pictures({None: 50}), 10)) == 10


@pytest.mark.parametrize("count", [1, 7, 40, 100])
def test_the_listing_order_makes_no_difference(count: int) -> None:
    images = pictures({2: 20, 0: 15, None: 5, 1: 20})
    expected = chosen(images, count)
    shuffled = [images[i] for i in np.random.default_rng(1).permutation(len(images))]
    assert chosen(shuffled, count) == expected
    assert chosen(images[::-1], count) == expected


def test_names_make_no_difference() -> None:
    images = pictures({0: 20, 1: 20})
    renamed = [Picture(Path(f"z/{n}"), item.sha256, item.label) for n, item in enumerate(images)]
    expected = [image.sha256 for image in chosen(images, 10)]
    assert [image.sha256 for image in chosen(renamed, 10)] == expected


def test_the_seed_decides() -> None:
    images = pictures({0: 100, 1: 100})
    assert chosen(images, 20, seed=1) == chosen(images, 20, seed=1)
    assert set(chosen(images, 20, seed=1)) != set(chosen(images, 20, seed=2))


def test_more_images_keep_those_chosen_before() -> None:
    images = pictures({0: 100, 1: 100})
    assert set(chosen(images, 10)) < set(chosen(images, 20))


def test_nothing_to_choose_from() -> None:
    assert choose([], [], 10, 0) == ()


# ---- the array


def real_pictures(root: Path, count: int) -> list[Picture]:
    found = []
    for n in range(count):
        path = root / f"{n}.png"
        noise = np.random.default_rng(n).integers(0, 256, (20, 20, 3), np.uint8)
        Image.fromarray(noise).save(path)
        found.append(Picture(path, sha256_file(path)))
    return found


def test_the_array_holds_what_inference_would_see(tmp_path: Path) -> None:
    images, cache, told = real_pictures(tmp_path, 5), StageCache(tmp_path / "cache"), []
    path = calibration_array(images, SPEC, cache=cache, step=told.append)
    pixels = np.load(path, allow_pickle=False)
    assert (pixels.shape, pixels.dtype, sum(told)) == ((5, 8, 12, 3), np.uint8, 5)
    for position, image in enumerate(images):
        assert np.array_equal(pixels[position], load(image.path, SPEC))


def test_the_array_is_made_once(tmp_path: Path) -> None:
    images, cache = real_pictures(tmp_path, 3), StageCache(tmp_path / "cache")
    first = calibration_array(images, SPEC, cache=cache, step=lambda count: None)
    for image in images:
        image.path.unlink()
    told: list[int] = []
    assert calibration_array(images, SPEC, cache=cache, step=told.append) == first
    assert told == [3]


def test_the_id_depends_on_the_images_their_order_and_the_contract() -> None:
    images = pictures({0: 3})
    ids = {
        calibration_id(images, SPEC),
        calibration_id(images[:2], SPEC),
        calibration_id(images[::-1], SPEC),
        calibration_id(images, Preprocessing(height=12, width=8)),
    }
    assert len(ids) == 4
    moved = [Picture(Path("elsewhere"), image.sha256) for image in images]
    assert calibration_id(moved, SPEC) in ids
