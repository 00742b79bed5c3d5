"""The ImageNet classifier by its name: answers of ``edge predict`` and tags of ``edge tag``."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edge.cli.app import app
from edge.errors import EdgeError, UsageError

pytestmark = [pytest.mark.shared_data, pytest.mark.slow]
NAMES = ("tench", "goldfinch", "pelican", "sea_lion", "gondola", "seashore", "dalmatian")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    named = os.environ.get("EDGE_TEST_DATA")
    if not named:
        pytest.skip("EDGE_TEST_DATA names no folder with pictures")
    folder = tmp_path_factory.mktemp("photos")
    for path in sorted((Path(named) / "images/imagenet-sample").glob("*.jpg")):
        if path.stem.split("_", 2)[2] in NAMES:
            shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def _run(cache: Path, *words: object) -> Any:
    done = CliRunner().invoke(app, [*map(str, words), "--cache", str(cache), "--json"])
    if isinstance(done.exception, EdgeError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_predict_by_the_name_of_a_network(photos: Path, cache: Path) -> None:
    images = sorted(photos.glob("*.jpg"))
    answers = _run(cache, "predict", "MobileNet", *images)
    right = [
        answer["categories"][0]["label"].replace(" ", "_") == image.stem.split("_", 2)[2]
        for image, answer in zip(images, answers, strict=True)
    ]
    assert len(images) >= 5
    assert sum(right) >= len(images) - 1  # 92.6 % on the whole set
    assert answers and all(len(answer["categories"]) == 3 for answer in answers)
    with pytest.raises(UsageError, match="has no variants"):
        _run(cache, "predict", "mobilenet", images[0], "--variant", "tflite-int8")
    with pytest.raises(UsageError, match="no network has that name") as caught:
        _run(cache, "predict", "mobilnet", images[0])
    assert "mobilenet" in caught.value.hint


def test_tag_with_the_same_classifier(photos: Path, cache: Path) -> None:
    tagged = _run(cache, "tag", photos)
    assert tagged["settings"]["network"] == "mobilenet"
    assert tagged["new"] == len(list(photos.glob("*.jpg")))
    found = [item["image"] for item in _run(cache, "tag", photos, "--find", "sea")["found"]]
    assert any("sea_lion" in name or "seashore" in name or "gondola" in name for name in found)
    assert not any("goldfinch" in name for name in found)
    assert _run(cache, "tag", photos, "--find", "bird")["new"] == 0
