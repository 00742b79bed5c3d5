"""``edge predict`` with a model file of somebody else's, and thresholds of a bundle."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.integration.conftest import Edge, succeeded
from tests.task_bundles import write_detectors
from tests.unit.foreign_models import colour_segmenter, foreign_onnx, noise


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
    assert "resize: letterbox" in quiet.stderr  # an assumption is no progress
    assert quiet.stdout == f"{photo}: dog 90.0 % at 64,0 to 192,32\n"


def test_a_dry_run_looks_at_the_folders_that_are_named(
    edge: Edge, detector: Path, tmp_path: Path
) -> None:
    lost = edge.run("export", detector, "--dry-run", "--calibration-data", tmp_path / "nope")
    assert lost.returncode == 2
    assert "nope" in lost.stderr
    taken = edge.run("export", detector, "--dry-run", "--output", detector.parent)
    assert taken.returncode == 2
    new = tmp_path / "new"
    done = edge.run("export", detector, "--dry-run", "--calibration-data", tmp_path, "-o", new)
    succeeded(done)
    assert "--calibration-data, --output" in done.stderr
    assert not new.exists()


@pytest.mark.slow
def test_a_segmentation_with_leading_classes_is_exported_as_it_is_read(
    edge: Edge, tmp_path: Path
) -> None:
    """As every export of PyTorch is; file and bundle, float and int8 have to agree."""
    model = colour_segmenter(tmp_path / "colours.onnx")
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(12):
        column = np.eye(3, dtype=np.uint8)[(np.arange(32) + number) // 4 % 3] * (150 + 9 * number)
        Image.fromarray(np.repeat(column[np.newaxis], 32, axis=0)).save(photos / f"{number}.png")
    green = tmp_path / "green.png"
    Image.new("RGB", (40, 40), (0, 200, 0)).save(green)
    fed = ("--input-range", "0,1")
    made = ("--calibration-data", photos, "--output", tmp_path / "bundle")
    succeeded(edge.run("export", model, *made, *fed))
    manifest = json.loads((tmp_path / "bundle/manifest.json").read_text())
    assert manifest["decoder"]["parameters"] == {"channels": "first"}
    variants = [("--variant", item["name"]) for item in manifest["variants"]]
    assert len(variants) == 2
    for run in ((model, *fed), *((tmp_path / "bundle", *variant) for variant in variants)):
        answer = edge.run("predict", run[0], green, *run[1:], "--json")
        succeeded(answer)
        (segment,) = json.loads(answer.stdout)[0]["segments"]
        assert (segment["label"], segment["share"]) == ("1", 1.0)


def test_scores_before_their_sigmoid_are_an_error(edge: Edge, tmp_path: Path, photo: Path) -> None:
    table = np.zeros((1, 6, 84), np.float32)
    table[0, :, 5] = (32, 16, 32, 16, -4, 3)
    done = edge.run("predict", foreign_onnx(tmp_path / "raw.onnx", [table]), photo)
    assert done.returncode == 4
    assert "no probabilities" in done.stderr
    assert "hint:" in done.stderr


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
