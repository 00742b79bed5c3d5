"""``evaluate``: pictures that made the bundle are counted apart; scores have intervals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edge.cli.app import app
from edge.errors import BundleError
from edge.evaluation.confidence import normal_quantile, wilson
from edge.evaluation.evaluate import Evaluation, Scope, evaluate
from edge.evaluation.images import Origin, origins_of
from edge.progress import Silent
from edge.runtime.bundle import Bundle
from edge.runtime.files import sha256_file
from tests.color_bundles import LABELS, model, nearest_color, write_bundle, write_pictures

EACH = 30  # pictures of each of the four classes


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("evaluate")
    write_pictures(root / "pictures", EACH)
    return root


def hashes(place: Path) -> list[str]:
    """Of the pictures, the classes in turn."""
    paths = sorted((place / "pictures").rglob("*.png"), key=lambda path: (path.name, path.parent))
    return [sha256_file(path) for path in paths]


def lock(command: str = "build", **splits: list[str]) -> dict[str, Any]:
    data = {
        split: {"red": {f"{number}.png": digest for number, digest in enumerate(listed)}}
        for split, listed in splits.items()
    }
    return {"command": command, "inputs": {"data": {"photos": data}}}


def scored(place: Path, folder: Path, record: dict[str, Any] | None, **more: Any) -> Evaluation:
    models = more.pop("models", {"onnx-fp32": model()})
    return evaluate(
        write_bundle(folder, models, lock=record, **more),
        place / "pictures",
        variants=(),
        engine=None,
        cache=place / "cache",
        progress=Silent(),
    )


def test_pictures_that_made_the_bundle_are_scored_apart(place: Path, tmp_path: Path) -> None:
    listed = hashes(place)
    record = lock(train=listed[:40], val=listed[40:60], test=listed[60:80])
    found = scored(place, tmp_path / "bundle", record)
    assert found.scope is Scope.UNSEEN
    assert found.origins == {
        "train": 40, "validation": 20, "calibration": 0, "held_out": 20, "unknown": 40
    }  # fmt: skip
    assert (found.images, found.labelled) == (120, 120)
    (variant,) = found.variants
    assert variant.score.images == 60
    assert {origin: item.images for origin, item in variant.by_origin.items()} == {
        Origin.TRAIN: 40, Origin.VALIDATION: 20, Origin.HELD_OUT: 20, Origin.UNKNOWN: 40
    }  # fmt: skip
    apart = [variant.by_origin[origin] for origin in (Origin.HELD_OUT, Origin.UNKNOWN)]
    right = sum(round((item.top1 or 0) * item.labelled) for item in apart)
    assert variant.score.top1 == right / 60
    assert variant.top1_interval == wilson(right, 60, normal_quantile(0.95))
    assert "60 of the 120 images made the bundle" in " ".join(found.notes)


def test_only_pictures_it_learned_from(place: Path, tmp_path: Path) -> None:
    found = scored(place, tmp_path / "bundle", lock(train=hashes(place)))
    assert (found.scope, found.variants[0].score.images) == (Scope.SEEN, 120)
    assert "LEARNED FROM (120 train)" in " ".join(found.notes)


def test_without_a_lock_nothing_is_known_but_what_the_report_says(
    place: Path, tmp_path: Path
) -> None:
    found = scored(place, tmp_path / "a", None)
    assert (found.scope, found.origins["unknown"]) == (Scope.UNKNOWN, 120)
    assert "no edge.lock" in " ".join(found.notes)
    report = {"calibration": {"image_sha256": hashes(place)[:30]}}
    found = scored(place, tmp_path / "b", None, report=report)
    assert (found.scope, found.origins["calibration"]) == (Scope.UNKNOWN, 30)
    assert found.variants[0].score.images == 90


def test_an_export_does_not_know_what_trained_its_network(place: Path, tmp_path: Path) -> None:
    listed = hashes(place)
    record = lock("export", calibration=listed[:20], scored=listed[20:])
    found = scored(place, tmp_path / "bundle", record)
    assert (found.scope, found.variants[0].score.images) == (Scope.UNSEEN, 100)
    assert "trained before it was exported" in " ".join(found.notes)


def test_an_altered_lock_is_refused(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", {"onnx-fp32": model()}, lock=lock(train=["0"]))
    (bundle / "edge.lock").write_text(json.dumps(lock(test=["0"])))
    with pytest.raises(BundleError, match=r"edge\.lock"):
        origins_of(Bundle.open(bundle))
    other = write_bundle(tmp_path / "other", {"onnx-fp32": model()}, lock={"command": "build"})
    with pytest.raises(BundleError, match=r"edge\.lock cannot be used"):
        origins_of(Bundle.open(other))


def test_an_image_in_two_splits_counts_as_what_it_taught_most(tmp_path: Path) -> None:
    record = lock(test=["a", "b"], val=["a"], train=["b"])
    bundle = write_bundle(tmp_path / "bundle", {"onnx-fp32": model()}, lock=record)
    assert origins_of(Bundle.open(bundle)).by_hash == {"a": Origin.VALIDATION, "b": Origin.TRAIN}


def test_classes_and_what_guesses(place: Path, tmp_path: Path) -> None:
    weights, _ = nearest_color()
    red = model(weights=0 * weights, bias=np.array([1, 0, 0, 0], np.float32))
    models = {"onnx-fp32": model(), "onnx-red": red}
    listed = hashes(place)
    found = scored(place, tmp_path / "bundle", lock(test=listed), models=models)
    good, bad = (item.to_json(LABELS) for item in found.variants)
    assert [item["label"] for item in good["classes"]] == list(LABELS)
    for item in good["classes"]:
        low, high = item["recall_interval"]
        assert item["images"] == EACH
        assert low < item["recall"] <= high
    assert (good["level"], bad["level"]) == ("good", "chance")
    assert bad["chance"] == pytest.approx(0.25)
    text = " ".join(found.notes)
    assert "onnx-red is right on 30 of 120" in text
    assert "onnx-fp32 is right" not in text


def test_few_pictures_are_said(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", 2)
    found = scored(tmp_path, tmp_path / "bundle", lock(train=["0"]))
    text = " ".join(found.notes)
    assert "8 labelled images are few" in text
    assert "4 of 4 classes have fewer than 21" in text


def test_the_command_prints_what_its_json_says(place: Path, tmp_path: Path) -> None:
    record = lock(train=hashes(place)[:60])
    bundle = write_bundle(tmp_path / "bundle", {"onnx-fp32": model()}, lock=record)
    arguments = ["evaluate", str(bundle), str(place / "pictures"), "--cache", str(place / "cache")]
    said = CliRunner().invoke(app, [*arguments, "--json", "--quiet"])
    assert said.exit_code == 0
    value = json.loads(said.stdout)
    assert value["scored"] == {"images": 60, "labelled": 60}
    (variant,) = value["variants"]
    shown = CliRunner().invoke(app, arguments).stdout
    assert f"{100 * variant['top1']:.1f} %" in shown
    for item in variant["classes"]:
        assert item["label"] in shown
    assert "train" in shown


def overflowing(content: bytes) -> bytes:
    """The file with a layer beside it whose int8 weights overflow on some processors."""
    import onnx
    from onnx import helper, numpy_helper

    proto = onnx.load_from_string(content)
    constants = {
        "pixels": np.full((1, 4), 255, np.uint8),
        "kernel": np.full((4, 2), 127, np.int8),
        "step": np.float32(1),
        "point": np.uint8(0),
    }
    proto.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    )
    nodes = [
        helper.make_node("DequantizeLinear", ["pixels", "step", "point"], ["real"]),
        helper.make_node("DequantizeLinear", ["kernel", "step"], ["weighted"]),
        helper.make_node("MatMul", ["real", "weighted"], ["unread"]),
    ]
    proto.graph.node.extend(nodes)
    whole: bytes = proto.SerializeToString()
    return whole


def test_a_file_whose_answers_depend_on_the_processor_is_told_of(
    place: Path, tmp_path: Path
) -> None:
    models = {"onnx-fp32": model(), "onnx-int8": overflowing(model())}
    bundle = write_bundle(tmp_path / "bundle", models, lock=lock())
    arguments = ["evaluate", str(bundle), str(place / "pictures"), "--cache", str(place / "cache")]
    said = CliRunner().invoke(app, [*arguments, "--json"])
    assert said.exit_code == 0
    (note,) = [note for note in json.loads(said.stdout)["notes"] if "overflow" in note]
    assert note.startswith("onnx-int8: 1 of its 1 layers of int8 weights overflow on x86")
    assert note in said.stderr
    sides = ["--baseline", "onnx-fp32", "--candidate", "onnx-int8"]
    compared = CliRunner().invoke(app, ["compare", *arguments[1:], *sides, "--json"])
    (told,) = [text for text in json.loads(compared.stdout)["notes"] if "overflow" in text]
    assert told.endswith(note)
