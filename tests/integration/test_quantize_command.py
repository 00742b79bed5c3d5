"""``--quantize``, ``--max-drop`` and ``--recipe`` as a user types them."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edge.runtime.classifier import Classifier
from edge.runtime.session import open_session
from tests.integration import planted
from tests.integration.conftest import (
    NAME,
    TIMEOUT,
    Edge,
    SmallBundle,
    contents,
    end,
    failed,
    names,
    read_until,
    succeeded,
    whole,
)

pytestmark = pytest.mark.slow

MIXED = ("tflite-mixed", "onnx-mixed")
CALIBRATION, SCORED = 24, 60  # pictures
SEARCH = ("--quantize", "auto", "--max-drop", "10")


@dataclass(frozen=True)
class Place:
    """Models and pictures; do not write there.

    Attributes:
        root: Of all.
        cache: Of the export of ``bundle``.
        bundle: What the search left.
    """

    root: Path
    cache: Path
    bundle: Path

    @property
    def report(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.bundle / "report.json").read_text())
        return value

    @property
    def data(self) -> tuple[object, ...]:
        """The options that name the pictures."""
        return (
            *("--calibration-data", self.root / "calibration"),
            *("--evaluation-data", self.root / "scored"),
        )


def variants(*wanted: str) -> tuple[str, str]:
    return "--variants", ",".join(wanted)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The fragile network, searched in both formats."""
    root = tmp_path_factory.mktemp("place")
    (root / "tmp").mkdir()
    planted.fragile().save(root / "fragile.keras")
    planted.saved(root / "calibration", range(CALIBRATION))
    planted.saved(root / "scored", range(100, 100 + SCORED))
    found = Place(root, root / "cache", root / NAME)
    edge = Edge(cache=found.cache, work=root, temporary=root / "tmp")
    wanted = variants("tflite-int8", "onnx-int8", *MIXED)
    options = (*found.data, "--output", found.bundle, *SEARCH, *wanted)
    succeeded(edge.run("export", root / "fragile.keras", *options))
    return found


def mixed_files(bundle: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(bundle / "models").items() if "mixed" in name}


# ---- a search


def test_the_mixed_files_hold_the_budget_that_int8_does_not(place: Place) -> None:
    report = place.report
    scored = {item["name"]: item for item in report["variants"]}
    for format_ in ("tflite", "onnx"):
        mixed = scored[f"{format_}-mixed"]
        assert mixed["latency_ms"] > 0
        search = report["search"][f"{format_}-mixed"]
        assert search["candidates"][0]["kept"] == []
        assert search["candidates"][0]["agreement"] < 0.9 <= mixed["agreement"]
        assert search["chosen"] in search["candidates"]
        assert (search["max_drop_points"], search["images"]) == (10.0, SCORED)
        assert search["blocks"] == len(planted.LAYERS)
        assert "last" in search["chosen"]["kept"][0]
        assert any(item["on_front"] for item in search["candidates"])
        # The search saw the pictures that the file was scored on, and saw the same answers.
        assert search["chosen"]["agreement"] == mixed["agreement"]
        assert search["chosen"]["size_bytes"] == mixed["size_bytes"]
    assert f"{SCORED} of the {SCORED} scored images chose the blocks" in report["selection"]
    assert report["default_variant"] in scored


def test_the_int8_files_keep_by_themselves_what_breaks_them_and_say_so(place: Place) -> None:
    scored = {item["name"]: item for item in place.report["variants"]}
    for format_ in ("tflite", "onnx"):
        int8 = scored[f"{format_}-int8"]
        assert int8["agreement"] >= 0.9
        assert any("blocks stay in floats" in note for note in int8["notes"])


def test_mixed_files_are_part_of_the_bundle(place: Place) -> None:
    bundle = whole(place.bundle)
    recipe = json.loads((place.bundle / "recipe.json").read_text())
    assert "recipe.json" in bundle.manifest.files
    assert recipe["max_drop_points"] == 10
    for variant in bundle.manifest.variants:
        assert variant.input_dtype == "uint8"
        kept = place.report["search"].get(variant.name, {}).get("chosen", {}).get("kept")
        if variant.precision == "mixed":
            assert recipe["keep_float"][variant.format] == kept
        session = open_session(place.bundle / variant.path)
        spec = bundle.manifest.preprocessing
        pixels = planted.pictures([7])[0]
        scores = Classifier(session, bundle.manifest.labels, spec).probabilities(pixels)
        assert scores.sum() == pytest.approx(1, abs=0.03)


def test_the_report_has_the_audit(place: Place) -> None:
    report = place.report["calibration"]
    assert report["images"] == len(report["image_sha256"]) == len(set(report["image_sha256"]))
    assert report["images"] == CALIBRATION
    assert all(len(digest) == 64 for digest in report["image_sha256"])
    assert (report["labelled"], report["classes"]) == (0, 0)
    assert report["classes_of_model"] == planted.CLASSES
    assert report["scored_images_among_them"] == 0
    for format_ in ("tflite", "onnx"):
        observed = report["observed"][format_]
        assert observed["images"] == CALIBRATION
        assert observed["tensors"] > len(planted.LAYERS)
        assert 0 <= observed["clipped_share"] <= observed["worst_clipped"]["share"] < 0.05
        assert observed["unlike"] is None
        assert observed["stable_after"] is None or 1 < observed["stable_after"] < CALIBRATION


def test_a_recipe_gives_the_same_files_without_a_search(place: Place, edge: Edge) -> None:
    """In a fresh cache, with other variants beside them."""
    recipe = ("--recipe", place.bundle / "recipe.json", "--max-drop", "10")
    output = edge.work / NAME
    wanted = variants("tflite-fp32", *MIXED)
    model = place.root / "fragile.keras"
    result = edge.run("export", model, *place.data, "--output", output, *recipe, *wanted)
    succeeded(result)
    assert "search" not in result.stderr
    assert "was made for" not in result.stderr  # this very model
    assert set(mixed_files(output)) == {"tflite-mixed.tflite", "onnx-mixed.onnx"}
    assert mixed_files(output) == mixed_files(place.bundle)
    report = json.loads((output / "report.json").read_text())
    assert report["search"] == {}
    assert "A recipe says what tflite-mixed and onnx-mixed keep in floats" in report["selection"]
    assert report["selection"] in " ".join(result.stdout.split())
    assert (output / "recipe.json").read_text() == (place.bundle / "recipe.json").read_text()
    whole(output)


def test_the_same_search_again_comes_from_the_cache(
    place: Place, make_edge: Callable[..., Edge], tmp_path: Path
) -> None:
    edge = make_edge(Path(shutil.copytree(place.cache, tmp_path / "cache")))
    output, model = edge.work / NAME, place.root / "fragile.keras"
    stages = {entry.name for entry in (tmp_path / "cache" / "stages").iterdir()}
    succeeded(
        edge.run("export", model, *place.data, "--output", output, *SEARCH, *variants(*MIXED))
    )
    assert mixed_files(output) == mixed_files(place.bundle)
    assert {entry.name for entry in (tmp_path / "cache" / "stages").iterdir()} == stages
    assert json.loads((output / "report.json").read_text())["search"] == place.report["search"]


# ---- what is refused


def test_a_recipe_that_loses_more_than_was_allowed(place: Place, edge: Edge) -> None:
    (edge.work / "recipe.json").write_text('{"schema_version": 1, "keep_float": {"onnx": []}}')
    options = ("--recipe", edge.work / "recipe.json", "--max-drop", "5", *variants("onnx-mixed"))
    output = edge.work / NAME
    model = place.root / "fragile.keras"
    result = edge.run("export", model, *place.data, "--output", output, *options)
    failed(result, 1, "onnx-mixed loses", "--max-drop 5")
    assert not output.exists()


def test_a_budget_that_cannot_be_held(place: Place, edge: Edge) -> None:
    planted.hopeless().save(edge.work / "hopeless.keras")
    output = edge.work / NAME
    options = (*place.data, "--output", output, "--quantize", "auto", "--max-drop", "0")
    result = edge.run("export", edge.work / "hopeless.keras", *options, *variants(*MIXED))
    failed(result, 1, "file with integer blocks holds the budget of 0 points", "of 5 blocks")
    assert not output.exists()
    assert not list(edge.temporary.iterdir())


def test_a_recipe_of_another_model(place: Place, edge: Edge) -> None:
    recipe = json.loads((place.bundle / "recipe.json").read_text())
    recipe["keep_float"]["onnx"] = ["net/elsewhere"]
    (edge.work / "recipe.json").write_text(json.dumps(recipe))
    output = edge.work / NAME
    options = ("--output", output, "--recipe", edge.work / "recipe.json", *variants("onnx-mixed"))
    result = edge.run("export", place.root / "fragile.keras", *place.data, *options)
    failed(result, 2, "'net/elsewhere'", "It has 5 blocks")
    assert not output.exists()


def test_a_recipe_of_another_network_is_refused_before_any_work(place: Place, edge: Edge) -> None:
    """Its id is another one, and no layer has a name that its blocks state."""
    recipe = json.loads((place.bundle / "recipe.json").read_text())
    recipe |= {"model": "other", "model_id": "f" * 64, "keep_float": {"onnx": ["net/elsewhere"]}}
    (edge.work / "recipe.json").write_text(json.dumps(recipe))
    output = edge.work / NAME
    options = ("--output", output, "--recipe", edge.work / "recipe.json", *variants("onnx-mixed"))
    result = edge.run("export", place.root / "fragile.keras", *place.data, *options)
    failed(result, 2, "is of another network: other (id ffffffffffff)", "'net/elsewhere'")
    assert "reference" not in result.stderr
    assert not output.exists()


def test_a_recipe_of_other_weights_is_taken_with_a_word(place: Place, edge: Edge) -> None:
    recipe = json.loads((place.bundle / "recipe.json").read_text())
    recipe |= {"model": "other", "model_id": "f" * 64}
    (edge.work / "recipe.json").write_text(json.dumps(recipe))
    output = edge.work / NAME
    options = ("--output", output, "--recipe", edge.work / "recipe.json", *variants("onnx-mixed"))
    result = edge.run("export", place.root / "fragile.keras", *place.data, *options)
    succeeded(result)
    assert "was made for other (id ffffffffffff), and this is" in " ".join(result.stderr.split())
    assert mixed_files(output) == {
        name: content
        for name, content in mixed_files(place.bundle).items()
        if name.startswith("onnx")
    }


def test_a_picture_that_calibrates_is_not_scored(place: Place, edge: Edge) -> None:
    other = planted.saved(edge.work / "other", range(200, 210))
    planted.picture(3).save(other / "seen.png")
    data = ("--calibration-data", place.root / "calibration", "--evaluation-data", other)
    output = edge.work / NAME
    result = edge.run("export", place.root / "fragile.keras", *data, "--output", output)
    failed(result, 2, "1 of the 11 images", str(other / "seen.png"), "--evaluation-data")
    assert not output.exists()


# ---- what is warned of


def test_calibration_pictures_unlike_those_that_are_scored(place: Place, edge: Edge) -> None:
    """Grey noise, without the colours of the others."""
    grey = edge.work / "grey"
    grey.mkdir()
    for seed in range(12):
        planted.noisy(seed, (128, 128, 128), planted.SIZE, 10).save(grey / f"{seed}.png")
    output = edge.work / NAME
    data = ("--calibration-data", grey, "--evaluation-data", place.root / "scored")
    model = place.root / "fragile.keras"
    result = edge.run("export", model, *data, "--output", output, *variants("onnx-int8"))
    succeeded(result)
    assert "calibration (onnx): " in result.stderr
    assert "do not look like the images to score on" in result.stderr
    report = json.loads((output / "report.json").read_text())["calibration"]
    assert report["observed"]["onnx"]["worst_clipped"]["share"] > 0.1
    unlike = report["observed"]["onnx"]["unlike"]
    assert unlike["p_value"] < 0.01
    assert report["observed"]["onnx"]["clipped_share"] > 0.01


# ---- edge build


def test_build_with_w8a16(edge: Edge, small_bundle: SmallBundle) -> None:
    output = edge.work / NAME
    options = ("--size", planted.SIZE, "--quantize", "w8a16", *variants("tflite-w8a16"))
    succeeded(edge.run("build", small_bundle.photos, "--output", output, *options))
    (variant,) = whole(output).manifest.variants
    assert (variant.name, variant.precision) == ("tflite-w8a16", "w8a16")
    assert variant.input_dtype == "uint8"
    assert variant.size_bytes < 5_000_000  # a byte a weight; floats would take 13 MB
    assert not (output / "recipe.json").exists()


def test_a_network_that_tensorflow_cannot_write_as_w8a16(
    warm: Edge, small_bundle: SmallBundle
) -> None:
    """Random weights at this size let the last activations vanish."""
    options = ("--quantize", "w8a16", *variants("tflite-w8a16"))
    result = warm.build(small_bundle.photos, warm.work / NAME, *options)
    failed(result, 4, "w8a16 file that does not load", "int8")
    assert names(warm.work) == set()


def test_build_with_a_budget_that_int8_holds(warm: Edge, small_bundle: SmallBundle) -> None:
    """Nothing has to stay in floats: the mixed file is the int8 one but for its name."""
    output = warm.work / NAME
    wanted = variants("onnx-mixed", "onnx-int8")
    options = ("--quantize", "auto", "--max-drop", "100", *wanted)
    succeeded(warm.build(small_bundle.photos, output, *options))
    whole(output)
    assert json.loads((output / "recipe.json").read_text())["keep_float"] == {"onnx": []}
    report = json.loads((output / "report.json").read_text())
    assert report["search"]["onnx-mixed"]["ranking"] == []
    int8, mixed = report["variants"]
    assert (int8["top1"], int8["agreement"]) == (mixed["top1"], mixed["agreement"])
    assert report["calibration"]["least_of_a_class"] == report["calibration"]["most_of_a_class"]


# ---- Ctrl-C


def test_ctrl_c_in_a_search(place: Place, edge: Edge) -> None:
    from tests.integration.test_interrupted import converters, waited_for

    output = edge.work / NAME
    options = ("--output", output, *SEARCH, *variants("onnx-mixed"))
    process = edge.start("export", place.root / "fragile.keras", *place.data, *options)
    try:
        read_until(process, "convert, search ...")
        assert waited_for(lambda: list(edge.cache.rglob("edge-search-*/*")), TIMEOUT)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=TIMEOUT)
    finally:
        end(process)
    assert process.returncode == 130, said
    assert "interrupted" in said
    assert "Traceback" not in said
    assert names(edge.work) == set()
    assert converters(edge.cache) == []
    assert not list((edge.cache / "stages").glob(".*"))
