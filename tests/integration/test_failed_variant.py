"""A network of which one file cannot be written: the others make the bundle, for every command."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from converters.base import DEFAULT_TARGETS
from tests.integration import planted
from tests.integration.conftest import NAME, Edge, failed, succeeded, whole

pytestmark = pytest.mark.slow

LOST = "onnx-int8"
DATA = ("--calibration-data", "pictures", "--calibration-images", "12")
WRITTEN = tuple(name for name in DEFAULT_TARGETS if name != LOST)


@dataclass(frozen=True)
class Place:
    """What the tests share, and none may change."""

    edge: Edge
    report: dict[str, Any]
    stdout: str


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A bidirectional GRU, whose loops ONNX Runtime's quantizer breaks, and its export."""
    import keras

    root = tmp_path_factory.mktemp("gru")
    (root / "tmp").mkdir()
    keras.utils.set_random_seed(3)
    layers = keras.layers
    image = keras.Input((planted.SIZE, planted.SIZE, 3))
    x = layers.Conv2D(4, 3, strides=4, activation="relu")(layers.Rescaling(1 / 255)(image))
    x = layers.Bidirectional(layers.GRU(6))(layers.Reshape((8, -1))(x))
    keras.Model(image, layers.Dense(planted.CLASSES, activation="softmax")(x)).save(
        root / "gru.keras"
    )
    planted.saved(root / "pictures", range(40))
    edge = Edge(cache=root / "cache", work=root, temporary=root / "tmp")
    done = edge.run("export", "gru.keras", *DATA, "--output", NAME)
    succeeded(done)
    report = json.loads((root / NAME / "report.json").read_text(encoding="utf-8"))
    return Place(edge, report, done.stdout)


def test_the_others_make_the_bundle_and_the_failed_one_is_a_row(place: Place) -> None:
    bundle = whole(place.edge.work / NAME)
    assert tuple(item.name for item in bundle.manifest.variants) == WRITTEN
    assert [item["name"] for item in place.report["variants"]] == list(WRITTEN)
    (row,) = place.report["failed"]
    assert row["name"] == LOST
    assert len(row["reason"]) > 20
    assert "Traceback" not in row["reason"]
    page = (bundle.path / "report.html").read_text(encoding="utf-8")
    for text in (place.stdout, page):
        assert f"{LOST} is not in the bundle" in text
    assert not (bundle.path / "models" / f"{LOST}.onnx").exists()


def test_an_int8_file_whose_loops_are_float_says_so(place: Place) -> None:
    (int8,) = [item for item in place.report["variants"] if item["name"] == "tflite-int8"]
    assert int8["quantized_operators"] < int8["operators"] / 2
    assert any("tflite-int8 is called an integer file" in note for note in place.report["notes"])
    found = json.loads(place.edge.run("inspect", NAME, "--json").stdout)["tflite-int8"]
    assert found["quantized_operators"] == int8["quantized_operators"]
    assert any("called an integer file" in note for note in found["notes"])


def test_asked_for_by_name_it_is_an_error(place: Place) -> None:
    output = place.edge.work / "named"
    names = ("--variants", f"tflite-fp32,{LOST}")
    failed(place.edge.run("export", "gru.keras", *DATA, "--output", output, *names), 4, LOST)
    assert not output.exists()
    only = ("--variants", LOST, "--json")
    result = place.edge.run("export", "gru.keras", *DATA, "--output", output, *only)
    failed(result, 4, LOST)
    assert (result.stdout, output.exists()) == ("", False)


def test_what_reads_a_bundle_copes_with_fewer_variants(place: Place) -> None:
    edge = place.edge
    compared = edge.run(
        "compare", NAME, "pictures", "--baseline", "tflite-fp32", "--candidate", "tflite-fp16",
        "--inconclusive", "pass", "--json",
    )  # fmt: skip
    assert "Traceback" not in compared.stderr
    assert json.loads(compared.stdout)["images"] == 28  # 12 of 40 calibrated
    missing = edge.run(
        "compare", NAME, "pictures", "--baseline", "tflite-fp32", "--candidate", LOST
    )
    failed(missing, 2, "tflite-int8")
    timed = edge.run("benchmark", NAME, "--runs", "3", "--json")
    succeeded(timed)
    assert LOST not in timed.stdout
    healthy = edge.run("diagnose", NAME, "pictures", "--images", "4", "--json")
    assert "unexpected" not in healthy.stderr
    assert json.loads(healthy.stdout)["images"] == 4


def test_it_is_made_again_with_the_same_variants(place: Place) -> None:
    result = place.edge.run("reproduce", NAME, "pictures", "--json")
    value = json.loads(result.stdout)
    made = {item["path"]: item["equal"] for item in value["files"]}
    assert {f"models/{name}.{name.partition('-')[0]}" for name in WRITTEN} <= made.keys()
    assert f"models/{LOST}.onnx" not in made
    # tf2onnx numbers what lies in loops from a counter: that file differs from run to run.
    assert {path for path, equal in made.items() if not equal} <= {"models/onnx-fp32.onnx"}
