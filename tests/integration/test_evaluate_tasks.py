"""``edge evaluate`` of bundles that are no classifiers: against annotations, and without any."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.color_bundles import SIDE, write_bundle
from tests.integration.conftest import Edge, succeeded
from tests.task_bundles import DECODER, LABELS, detector, write_detectors


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detectors(tmp_path_factory.mktemp("detectors") / "bundle")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twenty bright and twenty dark pictures, each with the one object that is in it."""
    folder = tmp_path / "photos"
    folder.mkdir()
    images, annotations = [], []
    for number in range(40):
        bright = number % 2 == 0
        level = 200 + number if bright else 5 + number
        name = f"{number:02}.png"
        Image.new("RGB", (SIDE, SIDE), (level,) * 3).save(folder / name)
        images.append({"id": number, "file_name": name, "width": SIDE, "height": SIDE})
        annotations.append(
            {
                "id": number + 1,
                "image_id": number,
                "category_id": 1 if bright else 2,
                "bbox": [1, 1, 5, 14],
            }
        )
    categories = [{"id": 1, "name": "bright"}, {"id": 2, "name": "dark"}]
    (folder / "truth.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return folder


def stated(edge: Edge, *words: str | Path) -> Any:
    result = edge.run(*words)
    succeeded(result)
    return json.loads(result.stdout)


def test_every_file_is_scored_against_the_annotations(
    edge: Edge, bundle: Path, photos: Path, tmp_path: Path
) -> None:
    words = ("evaluate", bundle, photos, "--json", "--cache", tmp_path / "cache")
    report = stated(edge, *words)
    scores = {item["name"]: item["score"] for item in report["variants"]}
    assert (report["task"], report["metric"], report["annotated"]) == ("detection", "map", 40)
    assert scores["onnx-fp32"] == scores["onnx-copy"] == pytest.approx(1.0)
    assert scores["onnx-moved"] < 0.2  # four pixels of five beside the object
    assert scores["onnx-blind"] == 0.0
    alike = {item["name"]: item["agreement"] for item in report["variants"]}
    assert alike["onnx-copy"] == pytest.approx(1.0)
    assert report["variants"][0]["interval"] == pytest.approx([1.0, 1.0])
    again = stated(edge, *words)  # from the cache
    assert again["variants"] == report["variants"]


def test_people_see_a_table_of_variants_and_of_classes(
    edge: Edge, bundle: Path, photos: Path
) -> None:
    shown = edge.run("evaluate", bundle, photos, "--quiet").stdout
    assert "mAP" in shown
    assert "onnx-moved" in shown
    assert "dark" in shown
    assert "not used" not in shown


def test_without_annotations_files_are_held_against_the_first(
    edge: Edge, bundle: Path, photos: Path
) -> None:
    (photos / "truth.json").unlink()
    result = edge.run("evaluate", bundle, photos)
    succeeded(result)
    assert "no image is annotated" in result.stderr
    assert "mAP " not in result.stdout
    alone = edge.run("evaluate", bundle, photos, "--variant", "onnx-fp32")
    assert alone.returncode == 2
    assert "--annotations" in alone.stderr


def test_agreement_is_that_of_a_comparison_with_and_without_annotations(
    edge: Edge, photos: Path, tmp_path: Path
) -> None:
    models = {"onnx-fp32": detector(), "onnx-int8": detector(score=0.6)}
    unsure = write_bundle(tmp_path / "unsure", models, labels=LABELS, decoder=DECODER)
    words = (unsure, photos, "--json", "--cache", tmp_path / "cache")
    sides = ("--baseline", "onnx-fp32", "--candidate", "onnx-int8")
    compared = json.loads(edge.run("compare", *words, *sides).stdout)["agreement"]
    assert 0.5 < compared < 0.9  # every object is found, by both, and less surely by one

    def evaluated() -> float:
        value: float = stated(edge, "evaluate", *words)["variants"][1]["agreement"]
        return value

    assert evaluated() == pytest.approx(compared)
    truth = json.loads((photos / "truth.json").read_text())
    truth["images"] = truth["images"][:10]
    truth["annotations"] = truth["annotations"][:10]
    (photos / "truth.json").write_text(json.dumps(truth))
    assert evaluated() == pytest.approx(compared)  # of all pictures, as in a comparison
    (photos / "truth.json").unlink()
    assert evaluated() == pytest.approx(compared)


@pytest.mark.parametrize("command", ["evaluate", "compare"])
def test_other_class_names_lead_to_another_export(
    edge: Edge, bundle: Path, photos: Path, command: str
) -> None:
    text = (photos / "truth.json").read_text()
    (photos / "truth.json").write_text(text.replace('"bright"', '"cat"').replace('"dark"', '"dog"'))
    sides = ("--baseline", "onnx-fp32", "--candidate", "onnx-copy")
    result = edge.run(command, bundle, photos, *(sides if command == "compare" else ()))
    assert result.returncode == 2
    said = result.stderr.replace("\n", " ")
    assert "none of the annotated classes is one of the model's" in said
    assert "export the model again with --labels FILE" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--truth", "truth.csv"), "--truth has no effect"),
        (("--annotations", "masks"), "says nothing about detection"),
        (("--annotations", "voc"), "no annotations of the format voc"),
        (("--annotations", "nowhere"), "no file or folder of annotations"),
    ],
)
def test_what_does_not_fit_is_refused(
    edge: Edge, bundle: Path, photos: Path, words: tuple[str, ...], said: str
) -> None:
    result = edge.run("evaluate", bundle, photos, *words)
    assert result.returncode == 2
    assert said in result.stderr.replace("\n", " ")
