"""``edge compare`` of detectors, as a user runs it: verdicts, refusals, report files."""

import json
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from tests.color_bundles import model, write_bundle, write_pictures
from tests.integration.conftest import Edge, failed, succeeded
from tests.task_bundles import detector, write_detectors

SIDES: Final = ("--baseline", "onnx-fp32", "--candidate")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of detectors and pictures that no test changes."""
    root = tmp_path_factory.mktemp("compare-tasks")
    write_detectors(root / "bundle")
    write_pictures(root / "pictures", 10)
    write_pictures(root / "few", 1)
    return root


def test_the_same_answers_pass(edge: Edge, place: Path, tmp_path: Path) -> None:
    run = ("compare", place / "bundle", place / "pictures", *SIDES)
    result = edge.run(*run, "onnx-copy")
    succeeded(result)
    assert "detection, 40 images" in result.stdout
    assert "0 of 40 images changed their answer." in result.stdout
    assert result.stdout.rstrip().endswith("verdict: pass")
    file = tmp_path / "given.onnx"
    file.write_bytes(detector(note="a file"))
    result = edge.run(*run, file)
    succeeded(result)
    said = " ".join(result.stdout.split())
    assert "given.onnx does not say its input range" in said
    assert "it is fed and read as the bundle's own variants are" in said
    blind = edge.run(*run, file, "--score-threshold", "0.99", "--json")
    assert blind.returncode == 1
    stated = json.loads(blind.stdout)
    assert any("score threshold" in note or "as the bundle's" in note for note in stated["notes"])
    assert len(stated["changes"]) == 40
    dark = edge.run(*run, file, "--input-range", "-1,1", "--json")
    assert dark.returncode == 1
    assert any("input range -1" in note for note in json.loads(dark.stdout)["notes"])
    refused = edge.run(*run, "onnx-copy", "--resize", "stretch")
    failed(refused, 2, "--resize is for a model file; both sides state theirs")


def test_a_file_with_boxes_of_another_unit_has_the_same_answers(
    edge: Edge, place: Path, tmp_path: Path
) -> None:
    """The decoder is the bundle's; what the file itself shows of its outputs is the file's."""
    file = tmp_path / "shares.onnx"
    file.write_bytes(detector(shares=True))
    result = edge.run("compare", place / "bundle", place / "pictures", *SIDES, file)
    succeeded(result)
    assert "0 of 40 images changed their answer." in result.stdout
    assert "normalized" in result.stdout


@pytest.mark.parametrize("ruined", ["onnx-moved", "onnx-blind"])
def test_a_ruined_detector_fails(edge: Edge, place: Path, tmp_path: Path, ruined: str) -> None:
    reports = ("--junit", tmp_path / "j.xml", "--markdown", tmp_path / "m.md", "--sarif")
    run = ("compare", place / "bundle", place / "pictures", *SIDES, ruined, "--json")
    result = edge.run(*run, *reports, tmp_path / "s.sarif")
    assert result.returncode == 1
    stated = json.loads(result.stdout)
    assert (stated["verdict"], stated["task"]) == ("fail", "detection")
    assert stated["checks"][0]["metric"] == "task_agreement"
    assert len(stated["changes"]) == 40
    change = stated["changes"][0]
    assert {text.split()[0] for text in change["lost"]} == {"bright", "dark"}
    assert len(change["gained"]) == (2 if ruined == "onnx-moved" else 0)
    case = ElementTree.parse(tmp_path / "j.xml").find(".//testcase[@name='task_agreement']")
    assert case is not None
    assert case.find("failure") is not None
    text = (tmp_path / "m.md").read_text(encoding="utf-8")
    assert "Images whose answer changed: 40" in text
    assert Path(change["path"]).name in text


def test_four_pictures_are_too_few(edge: Edge, place: Path) -> None:
    result = edge.run("compare", place / "bundle", place / "few", *SIDES, "onnx-copy")
    assert result.returncode == 1
    assert "verdict: inconclusive" in result.stdout
    assert "more images would tell" in result.stdout


def test_where_nothing_is_found_nothing_passes(edge: Edge, place: Path) -> None:
    sides = ("--baseline", "onnx-blind", "--candidate", "onnx-blind")
    result = edge.run("compare", place / "bundle", place / "pictures", *sides)
    assert result.returncode == 1
    assert "neither side finds anything on these images; the policy needs it" in result.stdout


def test_what_is_for_classifiers_is_refused(edge: Edge, place: Path, tmp_path: Path) -> None:
    run = ("compare", place / "bundle", place / "pictures", *SIDES, "onnx-copy")
    refused = edge.run(*run, "--margin", "2")
    failed(refused, 2, "--margin is for classifiers")
    policy = tmp_path / "policy.toml"
    policy.write_text('schema_version = 1\n[[rule]]\nmetric = "top1_drop"\nat_most = 1\n')
    refused = edge.run(*run, "--policy", policy)
    failed(refused, 2, "limits top1_drop, which is not for a model for detection")
    assert "task_agreement" in refused.stderr


def test_what_is_for_tasks_is_refused(edge: Edge, place: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "colors", {"onnx-fp32": model()})
    policy = tmp_path / "policy.toml"
    policy.write_text('schema_version = 1\n[[rule]]\nmetric = "task_agreement"\nat_least = 0.9\n')
    run = ("compare", tmp_path / "colors", place / "pictures", *SIDES)
    refused = edge.run(*run, "onnx-fp32", "--policy", policy)
    failed(refused, 2, "limits task_agreement, which is not for a classifier")
    refused = edge.run(*run, place / "bundle")
    failed(refused, 2, "they have no answer in common")
    refused = edge.run(*run, "onnx-fp32", "--score-threshold", "0.5")
    failed(refused, 2, "--score-threshold has no effect")


def test_a_diagnosis_of_detectors_is_refused(edge: Edge, place: Path) -> None:
    """It would take the boxes for the probabilities of classes."""
    refused = edge.run("diagnose", place / "bundle", place / "pictures")
    failed(refused, 2, "these models are for detection", "edge compare")


VOC: Final = """<annotation><filename>{name}</filename><size><width>{side}</width>
<height>{side}</height><depth>3</depth></size><object><name>{label}</name><bndbox><xmin>2</xmin>
<ymin>2</ymin><xmax>6</xmax><ymax>15</ymax></bndbox></object></annotation>"""


def annotated(pictures: Path) -> Path:
    """Annotate each picture with the object whose score is the greater."""
    for old in sorted(pictures.rglob("*.png")):
        file = old.rename(old.with_name(f"{old.parent.name}-{old.name}"))  # a name of its own
        with Image.open(file) as image:
            label = "bright" if np.asarray(image).mean() > 127 else "dark"
            text = VOC.format(name=file.name, side=image.width, label=label)
        file.with_suffix(".xml").write_text(text, encoding="utf-8")
    return pictures


def test_annotations_give_scores_and_their_policy(edge: Edge, place: Path, tmp_path: Path) -> None:
    pictures = annotated(write_pictures(tmp_path / "pictures", 80))
    run = ("compare", place / "bundle", pictures, *SIDES)
    same = edge.run(*run, "onnx-copy")
    succeeded(same)
    assert "320 annotated" in same.stdout
    assert "mAP50" in same.stdout
    assert "called like no class" not in same.stdout
    reports = ("--json", "--markdown", tmp_path / "m.md")
    ruined = edge.run(*run, "onnx-moved", *reports)
    assert ruined.returncode == 1
    stated = json.loads(ruined.stdout)
    checks = {check["metric"]: check for check in stated["checks"]}
    assert checks["task_score_drop"]["verdict"] == "fail"
    assert checks["task_score_drop"]["value"] >= 50
    assert checks["worst_class_score_drop"]["verdict"] == "fail"
    assert stated["baseline"]["score"]["values"]["map50"] > 0.9
    assert "output" not in stated["baseline"]
    assert "| mAP |" in (tmp_path / "m.md").read_text(encoding="utf-8")


def test_a_score_needs_annotations(edge: Edge, place: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('schema_version = 1\n[[rule]]\nmetric = "task_score_drop"\nat_most = 1\n')
    run = ("compare", place / "bundle", place / "pictures", "--policy", policy, *SIDES)
    refused = edge.run(*run, "onnx-copy")
    assert refused.returncode == 1
    assert "no image is annotated; the policy needs it" in refused.stdout
    assert "--annotations" in refused.stderr
