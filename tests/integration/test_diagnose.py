"""``edge diagnose`` on a small trained-like network, sound and with planted faults.

Faults of kernels cannot be planted into a file; ``tests/unit/test_diagnosis_blame.py`` has them.
"""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.diagnosis.diagnose import diagnose
from edge.diagnosis.result import Culprit, Diagnosis
from edge.errors import BundleError, DataError, ModelLoadError, UsageError
from edge.progress import Silent
from tests.integration.conftest import NAME, Edge, failed, noisy, succeeded
from tests.integration.faults import (
    edit_onnx,
    edit_tflite,
    operator_giving,
    reseal,
    scale_buffer,
    scale_initializer,
)

pytestmark = pytest.mark.slow
SIZE = 24


def _network() -> Any:
    """Convolutions of every kind that MobileNets have, a residual, and a classifier of 3."""
    import keras

    keras.utils.set_random_seed(3)
    layers = keras.layers

    def block(tensor: Any, name: str, convolution: Any) -> Any:
        tensor = layers.BatchNormalization(name=f"{name}_bn")(convolution(tensor))
        return layers.ReLU(6.0, name=f"{name}_relu")(tensor)

    image = keras.Input((SIZE, SIZE, 3), name="image")
    tensor = layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")(image)
    he = {"use_bias": False, "padding": "same", "kernel_initializer": "he_normal"}
    depthwise = {"use_bias": False, "padding": "same", "depthwise_initializer": "he_normal"}
    stem = block(tensor, "stem", layers.Conv2D(8, 3, strides=2, name="stem", **he))
    tensor = block(stem, "dw", layers.DepthwiseConv2D(3, name="dw", **depthwise))
    tensor = block(tensor, "pw", layers.Conv2D(8, 1, name="pw", **he))
    tensor = layers.Add(name="sum")([stem, tensor])
    tensor = block(tensor, "last", layers.Conv2D(16, 3, strides=2, name="last", **he))
    tensor = layers.GlobalAveragePooling2D(name="pool")(tensor)
    answer = layers.Dense(3, activation="softmax", name="probabilities")(tensor)
    return keras.Model(image, answer, name="net")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(24):
        color = np.random.default_rng(seed).integers(0, 256, 3).tolist()
        noisy(seed, color, size=30, spread=60).save(folder / f"{seed:02}.png")
    return folder


@pytest.fixture(scope="module")
def sound(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of all six variants; tests copy it."""
    root = tmp_path_factory.mktemp("sound")
    (root / "tmp").mkdir()
    _network().save(root / "net.keras")
    (root / "labels.txt").write_text("a\nb\nc\n")
    edge = Edge(cache=root / "cache", work=root, temporary=root / "tmp")
    options = ("--labels", root / "labels.txt", "--calibration-data", photos)
    succeeded(edge.run("export", root / "net.keras", *options, "--output", root / NAME))
    return root / NAME


@pytest.fixture
def copy(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / NAME))


@pytest.fixture
def run(photos: Path) -> Callable[..., Diagnosis]:
    def run(bundle: Path, directory: Path = photos, images: int = 8) -> Diagnosis:
        return diagnose(bundle, directory, images=images, progress=Silent())

    return run


def _blamed(result: Diagnosis) -> set[tuple[Culprit, str, str | None]]:
    return {(item.culprit, item.variant, item.layer) for item in result.findings}


def test_a_sound_bundle_is_healthy_and_every_layer_is_where_rounding_puts_it(
    sound: Path, run: Callable[..., Diagnosis]
) -> None:
    result = run(sound)
    assert result.findings == ()
    assert result.reference == "keras"
    assert [row.name for row in result.rows] == [
        "keras",
        "tflite-fp32",
        "tflite-fp16",
        "tflite-dynamic",
        "tflite-int8 reference",
        "tflite-int8 built-in",
        "tflite-int8 xnnpack",
        "onnx-fp32",
        "onnx-int8 reference",
        "onnx-int8 optimized",
    ]
    assert len(result.pairs) == 45
    for file in result.files:
        layers = {layer.layer: layer for layer in file.layers}
        assert {"stem_relu", "dw_relu", "pw_relu", "sum", "last_relu", "pool"} <= layers.keys()
        assert layers["probabilities"].accumulated is not None
        if file.precision == "int8":
            for layer in file.layers:
                assert layer.alone is not None and layer.alone < 0.05, layer
                # ONNX leaves the last Softmax in floats.
                floats = file.variant == "onnx-int8" and layer.layer == "probabilities"
                assert (layer.step is None) == floats, layer
            # The first layer has no error but its own, and rounding is all of it.
            first = layers["stem_relu"]
            assert first.accumulated == pytest.approx(first.alone, rel=0.05)
            assert first.excess == pytest.approx(1.0, abs=0.5)


def test_what_computes_is_told_by_the_interpreter(
    sound: Path, run: Callable[..., Diagnosis]
) -> None:
    rows = {row.name: row for row in run(sound, images=2).rows}
    assert rows["tflite-int8 reference"].note == rows["tflite-int8 built-in"].note == ""
    taken, total = (
        int(word) for word in rows["tflite-int8 xnnpack"].note.split() if word.isdigit()
    )
    assert 0 < taken <= total


@pytest.mark.parametrize("layer", ["dw", "pw", "last"])
def test_ruined_int8_weights_of_one_tflite_layer_name_it(
    layer: str, copy: Path, run: Callable[..., Diagnosis]
) -> None:
    def ruin(model: Any, subgraph: Any) -> None:
        operator = operator_giving(subgraph, f"/{layer}_relu")
        weights = subgraph.tensors[operator.inputs[1]]
        scale_buffer(model, weights, np.int8, -0.5)

    edit_tflite(copy, "tflite-int8", ruin)
    result = run(copy)
    assert _blamed(result) == {(Culprit.QUANTIZER, "tflite-int8", f"{layer}_relu")}
    assert not result.healthy


def test_a_wrong_weight_scale_of_one_tflite_layer_names_it(
    copy: Path, run: Callable[..., Diagnosis]
) -> None:
    def ruin(model: Any, subgraph: Any) -> None:
        operator = operator_giving(subgraph, "/pw_relu")
        parameters = subgraph.tensors[operator.inputs[1]].quantization
        parameters.scale = np.asarray(parameters.scale, np.float32) * np.float32(3)
        bias = subgraph.tensors[operator.inputs[2]].quantization
        bias.scale = np.asarray(bias.scale, np.float32) * np.float32(3)

    edit_tflite(copy, "tflite-int8", ruin)
    assert _blamed(run(copy)) == {(Culprit.QUANTIZER, "tflite-int8", "pw_relu")}


def test_a_range_that_is_far_too_wide_names_the_layer(
    copy: Path, run: Callable[..., Diagnosis]
) -> None:
    def widen(graph: Any) -> None:
        for item in graph.initializer:
            if item.name.endswith("dw_relu_1/Relu6:0_scale"):
                scale_initializer(graph, item.name, 40.0)
                return
        raise AssertionError([item.name for item in graph.initializer])

    edit_onnx(copy, "onnx-int8", widen)
    assert _blamed(run(copy)) == {(Culprit.QUANTIZER, "onnx-int8", "dw_relu")}


def test_a_ruined_onnx_weight_scale_names_the_layer(
    copy: Path, run: Callable[..., Diagnosis]
) -> None:
    def ruin(graph: Any) -> None:
        node = next(n for n in graph.node if n.output[0].endswith("last_relu_1/Relu6:0"))
        weights = next(n for n in graph.node if node.input[1] in n.output)
        scale_initializer(graph, weights.input[1], 0.2)

    edit_onnx(copy, "onnx-int8", ruin)
    assert _blamed(run(copy)) == {(Culprit.QUANTIZER, "onnx-int8", "last_relu")}


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_altered_weights_of_a_float_file_are_the_converters_fault(
    format: str, copy: Path, run: Callable[..., Diagnosis]
) -> None:
    def tflite(model: Any, subgraph: Any) -> None:
        operator = operator_giving(subgraph, "/pw_relu")
        scale_buffer(model, subgraph.tensors[operator.inputs[1]], np.float32, 1.5)

    def onnx(graph: Any) -> None:
        node = next(n for n in graph.node if "/pw_" in n.name and n.op_type == "Conv")
        scale_initializer(graph, node.input[1], 1.5)

    if format == "tflite":
        edit_tflite(copy, "tflite-fp32", tflite)
    else:
        edit_onnx(copy, "onnx-fp32", onnx)
    found = run(copy).findings
    assert [(item.culprit, item.variant) for item in found] == [
        (Culprit.CONVERTER, f"{format}-fp32")
    ]
    assert found[0].layer is not None and found[0].layer.startswith("pw")


@pytest.mark.parametrize(("factor", "said"), [(0.0, "constant"), (np.nan, "NaN")])
def test_useless_answers_of_a_float_file_are_named(
    factor: float, said: str, copy: Path, run: Callable[..., Diagnosis]
) -> None:
    def ruin(model: Any, subgraph: Any) -> None:
        operator = operator_giving(subgraph, "/last_relu")
        scale_buffer(model, subgraph.tensors[operator.inputs[1]], np.float32, factor)
        scale_buffer(model, subgraph.tensors[operator.inputs[2]], np.float32, factor)

    edit_tflite(copy, "tflite-fp32", ruin)
    result = run(copy)
    assert next(row for row in result.rows if row.name == "tflite-fp32").failure == said
    assert _blamed(result) == {(Culprit.CONVERTER, "tflite-fp32", "last_relu")}
    layer = next(file for file in result.files if file.variant == "tflite-fp32")
    failures = {item.layer: item.failure for item in layer.layers}
    assert failures["last_relu"] == ("NaN" if said == "NaN" else "all zero")
    assert failures["pw_relu"] == ""
    json.dumps(result.to_json(), allow_nan=False)


def test_all_zero_answers_are_named(copy: Path, run: Callable[..., Diagnosis]) -> None:
    def ruin(model: Any, subgraph: Any) -> None:
        output = subgraph.tensors[subgraph.outputs[0]].quantization
        output.scale = np.asarray(output.scale, np.float32) * np.float32(600)

    edit_tflite(copy, "tflite-int8", ruin)
    result = run(copy)
    rows = [row for row in result.rows if row.variant == "tflite-int8"]
    assert {row.failure for row in rows} == {"all zero"}
    assert {item.culprit for item in result.findings} == {Culprit.QUANTIZER}


def test_without_tensorflow_the_float_file_is_the_reference(
    sound: Path, run: Callable[..., Diagnosis], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    result = run(sound)
    assert "TensorFlow is not installed" in result.rows[0].problem
    assert (result.reference, result.files, result.findings) == ("tflite-fp32", (), ())


def test_the_same_without_the_keras_file(copy: Path, run: Callable[..., Diagnosis]) -> None:
    (copy / "source" / "model.keras").unlink()
    result = run(copy, images=1)
    assert result.rows[0].problem == "the bundle lacks source/model.keras"
    assert result.reference == "tflite-fp32"


def _of_a_file(copy: Path, source: str | None, precisions: tuple[str, ...]) -> None:
    """Make a bundle of a given .tflite file of a bundle of a Keras model."""
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["variants"] = [
        item
        for item in manifest["variants"]
        if item["format"] == "tflite" and item["precision"] in precisions
    ]
    manifest["default_variant"] = manifest["variants"][0]["name"]
    manifest["provenance"]["identified"] = {"task": "classification (stated)"}
    digest = manifest["files"].pop("source/model.keras")
    (copy / "source" / "model.keras").unlink()
    if source is not None:
        manifest["files"][source] = digest
    (copy / "manifest.json").write_text(json.dumps(manifest))


def test_a_given_float_file_is_the_reference_and_nobody_misses_keras(
    copy: Path, run: Callable[..., Diagnosis]
) -> None:
    _of_a_file(copy, "source/model.tflite", ("fp32", "int8"))
    result = run(copy)
    assert (result.reference, result.findings) == ("tflite-fp32", ())
    assert "not of a Keras model" in result.rows[0].problem
    assert "float file does" in result.conclusion
    assert not any("without the Keras model" in note for note in result.notes)
    assert any("float file that was given" in note for note in result.notes)


@pytest.mark.parametrize(
    ("source", "said"),
    [(None, "no float file to hold it against"), ("source/model.tflite", "no float variant")],
)
def test_integer_files_of_others_alone_are_refused(
    copy: Path, run: Callable[..., Diagnosis], source: str | None, said: str
) -> None:
    _of_a_file(copy, source, ("int8",))
    with pytest.raises(UsageError, match=said):
        run(copy)


def test_unreadable_images_are_skipped(
    sound: Path, photos: Path, tmp_path: Path, run: Callable[..., Diagnosis]
) -> None:
    folder = Path(shutil.copytree(photos, tmp_path / "some"))
    (folder / "00.png").write_bytes(b"no image")
    result = run(sound, folder, images=2)
    assert result.images == 1
    assert list(result.skipped) == [str(folder / "00.png")]


def test_wrong_input(
    copy: Path, photos: Path, tmp_path: Path, run: Callable[..., Diagnosis]
) -> None:
    with pytest.raises(UsageError, match="no bundle"):
        run(photos)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        run(copy, tmp_path / "empty")
    (tmp_path / "empty" / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="can be read"):
        run(copy, tmp_path / "empty")
    model = copy / "models" / "tflite-int8.tflite"
    content = model.read_bytes()
    model.write_bytes(content[: len(content) // 2])
    with pytest.raises(BundleError, match="sha256 differs"):
        run(copy)
    reseal(copy, "tflite-int8")
    with pytest.raises(ModelLoadError, match="does not load"):
        run(copy)


def test_a_bundle_without_int8_is_refused(copy: Path, run: Callable[..., Diagnosis]) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["variants"] = [item for item in manifest["variants"] if item["precision"] != "int8"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match="no int8 variant"):
        run(copy)


def test_the_command(
    sound: Path, photos: Path, copy: Path, edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    picture, drawing = edge.work / "layers.png", edge.work / "layers.svg"
    healthy = edge.run("diagnose", sound, photos, "--images", "4", "--plot", picture)
    succeeded(healthy)
    assert "Healthy" in healthy.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert max(map(len, healthy.stdout.splitlines())) <= 100

    def ruin(model: Any, subgraph: Any) -> None:
        operator = operator_giving(subgraph, "/pw_relu")
        scale_buffer(model, subgraph.tensors[operator.inputs[1]], np.int8, -1.0)

    edit_tflite(copy, "tflite-int8", ruin)
    ill = edge.run("diagnose", copy, photos, "--images", "4", "--json", "--plot", drawing)
    failed(ill, 1, "quantizer is to blame: tflite-int8 is wrong from layer pw_relu on")
    assert "it helps: export again" in ill.stderr
    answer = json.loads(ill.stdout)
    assert answer["schema_version"] == 1
    assert answer["healthy"] is False
    assert answer["findings"][0]["layer"] == "pw_relu"
    assert b"<svg" in drawing.read_bytes()
    failed(edge.run("diagnose", sound, photos, "--plot", "layers.jpg"), 2, ".png", hint=False)
    failed(edge.run("diagnose", sound, photos, "--plot", "none/a.png"), 2, "does not exist")
