"""``edge predict`` with a model file of somebody else's, and thresholds of a bundle."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.integration.conftest import Edge, succeeded
from tests.task_bundles import write_detectors
from tests.unit.foreign_models import foreign_onnx, noise


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    """A YOLOv8 that finds a dog at 16..48 x 8..24 of 64 pixels, and a cat it is not sure of."""
    table = np.zeros((1, 6, 84), np.float32)
    table[0, :, 5] = (32, 16, 32, 16, 0.1, 0.9)
    table[0, :, 9] = (40, 50, 10, 10, 0.3, 0.1)
    properties = {"task": "detect", "names": "{0: 'cat', 1: 'dog'}", "imgsz": "[64, 64]"}
    return foreign_onnx(tmp_path / "detector.onnx", [table], properties=properties)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture of 256 x 128: in the letterbox of 64 x 64, one pixel is four, below bars of 16."""
    path = tmp_path / "photo.png"
    Image.new("RGB", (256, 128), (90, 120, 30)).save(path)
    return path


def test_a_file_answers_in_pixels_of_the_picture(edge: Edge, detector: Path, photo: Path) -> None:
    result = edge.run("predict", detector, photo, "--json")
    succeeded(result)
    (answer,) = json.loads(result.stdout)
    first, second = answer["detections"]
    assert (first["label"], second["label"]) == ("dog", "cat")
    found = [first[side] for side in ("left", "top", "right", "bottom")]
    assert found == pytest.approx([64, 0, 192, 32])  # 8 - 16 rows of bars: cut at the edge
    assert "resize: letterbox" in result.stderr
    assert "--resize changes it" in result.stderr
    quiet = edge.run("predict", detector, photo, "--quiet", "--score-threshold", "0.5")
    assert quiet.stderr == ""
    assert quiet.stdout == f"{photo}: dog 90.0 % at 64,0 to 192,32\n"


def test_what_is_drawn_is_a_picture(
    edge: Edge, detector: Path, photo: Path, tmp_path: Path
) -> None:
    place = tmp_path / "drawn.png"
    succeeded(edge.run("predict", detector, photo, "--draw", place))
    with Image.open(place) as drawn:
        assert drawn.size == (256, 128)
        assert len(drawn.convert("RGB").getcolors(1 << 15) or ()) > 2
    again = edge.run("predict", detector, photo, "--draw", place)
    assert again.returncode == 2
    several = edge.run("predict", detector, photo, photo, "--draw", tmp_path / "both.jpg")
    assert several.returncode == 2
    assert "Name a folder" in several.stderr


def test_a_classifier_of_others(edge: Edge, photo: Path, tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "net.onnx", [noise(1, 3)], end="Softmax")
    unknown = edge.run("predict", path, photo)
    assert unknown.returncode == 2
    assert "--input-range" in unknown.stderr
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\n")
    told = ("--input-range", "0,1", "--labels", labels)
    result = edge.run("predict", path, photo, *told, "--json", "--top-k", "1")
    succeeded(result)
    (answer,) = json.loads(result.stdout)
    assert answer["categories"][0]["index"] == int(noise(1, 3).argmax())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--variant", "onnx-int8"), "has no variants"),
        (("--cache", "elsewhere"), "--cache has no effect"),
        (("--task", "pose"), "answers detection"),
        (("--threshold", "0.4"), "--threshold"),
    ],
)
def test_what_does_not_fit_a_file_is_refused(
    edge: Edge, detector: Path, photo: Path, words: tuple[str, ...], said: str
) -> None:
    result = edge.run("predict", detector, photo, *words)
    assert result.returncode == 2
    assert said in result.stderr


def test_thresholds_of_a_bundle_can_change_and_nothing_else(
    edge: Edge, photo: Path, tmp_path: Path
) -> None:
    bundle = write_detectors(tmp_path / "bundle")
    all_of_them = edge.run("predict", bundle, photo, "--json", "--score-threshold", "0")
    succeeded(all_of_them)
    assert len(json.loads(all_of_them.stdout)[0]["detections"]) == 2
    none = edge.run("predict", bundle, photo, "--score-threshold", "0.99")
    assert "no object" in none.stdout
    refused = edge.run("predict", bundle, photo, "--input-range", "0,1")
    assert refused.returncode == 2
    assert "--input-range has no effect with a bundle" in refused.stderr
