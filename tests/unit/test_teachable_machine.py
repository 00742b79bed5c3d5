"""Teachable Machine's downloads: labels, range and crop by its own rule; hostile archives."""

import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge.cache import StageCache
from edge.errors import EdgeError, ModelLoadError, UsageError
from edge.evaluation.evaluate import evaluate
from edge.pipeline.export import export
from edge.pipeline.given_model import given_model
from edge.pipeline.options import ExportOptions, OutputOptions
from edge.pipeline.teachable_machine import open_download
from edge.progress import Silent
from edge.runtime.bundle import Bundle
from edge.runtime.classifier import Classifier
from edge.runtime.contract import Preprocessing, Resize
from edge.runtime.preprocess import load
from tests.integration.conftest import noisy

pytestmark = pytest.mark.slow

LEGACY = Path(os.environ.get("EDGE_TEST_DATA", "absent")) / "models/legacy"
COLORS = {"1 red": (220, 40, 40), "2 blue": (40, 40, 220)}
# Says red or blue by the mean of a picture.
KERNEL = np.array([[4.0, -4.0], [0.0, 0.0], [-4.0, 4.0]], np.float32)


def topology() -> list[dict[str, Any]]:
    """A Sequential model of two, as TensorFlow.js writes it: a list without a name."""
    image = {"name": "in", "batch_input_shape": [None, 16, 16, 3], "dtype": "float32"}
    nodes = [
        {"class_name": "InputLayer", "name": "in", "config": image, "inbound_nodes": []},
        {
            "class_name": "ZeroPadding2D",
            "name": "pad",
            "config": {"name": "pad", "padding": [[0, 0], [0, 0]]},
            "inbound_nodes": [[["in", 0, 0, {}]]],
        },
    ]
    features = {
        "name": "features",
        "layers": nodes,
        "input_layers": [["in", 0, 0]],
        "output_layers": [["pad", 0, 0]],
    }
    dense = {"name": "dense", "units": 2, "activation": "softmax", "use_bias": False}
    return [
        {
            "class_name": "Sequential",
            "config": [
                {"class_name": "Model", "config": features},
                {"class_name": "GlobalAveragePooling2D", "config": {"name": "pool"}},
            ],
        },
        {"class_name": "Sequential", "config": [{"class_name": "Dense", "config": dense}]},
    ]


def tfjs_files(**changes: Any) -> dict[str, bytes]:
    weights = [{"name": "dense/kernel", "shape": [3, 2], "dtype": "float32"}]
    model = {
        "modelTopology": {"class_name": "Sequential", "config": topology()},
        "weightsManifest": [{"paths": ["weights.bin"], "weights": weights}],
    } | changes
    return {
        "model.json": json.dumps(model).encode(),
        "weights.bin": KERNEL.tobytes(),
        "metadata.json": json.dumps({"labels": list(COLORS)}).encode(),
    }


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("__MACOSX/._model.json", b"\0\5\26\7")
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def options(model: Path, tmp_path: Path, pictures: Path, variant: str) -> ExportOptions:
    output = OutputOptions(
        output=tmp_path / "bundle",
        overwrite=True,
        cache=tmp_path / "cache",
        variants=(variant,),
        calibration_images=4,
    )
    return ExportOptions(model=str(model), calibration_data=pictures, output=output)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Wide pictures: the square in the middle has the class's colour, the rest the other's."""
    root = tmp_path / "pictures"
    for index, (name, color) in enumerate(COLORS.items()):
        (root / name).mkdir(parents=True)
        other = list(COLORS.values())[1 - index]
        for number in range(6):
            wide = noisy(number, other, 48).resize((96, 32))
            wide.paste(noisy(10 * index + number, color, 32), (32, 0))
            wide.save(root / name / f"{number}.png")
    return root


def test_a_tfjs_download_becomes_a_bundle(pictures: Path, tmp_path: Path) -> None:
    path = zipped(tmp_path / "tm-my-model.zip", tfjs_files())
    report = export(options(path, tmp_path, pictures, "tflite-fp32"), Silent())
    assert report.reference.top1 == 1.0
    assert "Teachable Machine" in " ".join(report.data.notes)
    bundle = Bundle.open(tmp_path / "bundle")
    bundle.verify()
    manifest = bundle.manifest
    assert manifest.labels == tuple(COLORS)  # though they begin with numbers
    assert manifest.provenance["model"] == "tm-my-model.zip"
    assert manifest.preprocessing.crop_fraction == 1.0
    picture = next((pictures / "1 red").iterdir())
    (answer, *_) = Classifier.open(tmp_path / "bundle").classify(picture)
    pixels = load(picture, manifest.preprocessing).astype(np.float64) / 127.5 - 1
    logits = pixels.mean((0, 1)) @ KERNEL
    assert answer.score == pytest.approx(1 / (1 + np.exp(logits[1] - logits[0])), abs=1e-4)


def test_a_folder_and_its_model_json_are_the_same(pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "unpacked"
    folder.mkdir()
    for name, content in tfjs_files().items():
        (folder / name).write_bytes(content)
    found = [
        given_model(options(path, tmp_path, pictures, "tflite-fp32"))
        for path in (folder, folder / "model.json")
    ]
    assert found[0].options.model == found[1].options.model
    assert {item.name for item in found} == {"unpacked"}


def tflite_file(factor: float = 1.0) -> bytes:
    import tensorflow as tf

    kernel = factor * KERNEL
    function = tf.function(lambda image: tf.nn.softmax(tf.reduce_mean(image, (1, 2)) @ kernel))
    spec = tf.TensorSpec((1, 16, 16, 3), tf.float32)
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [function.get_concrete_function(spec)]
    )
    return bytes(converter.convert())


def test_a_tflite_download_is_adopted(pictures: Path, tmp_path: Path) -> None:
    content = tflite_file()
    files = {"model_unquant.tflite": content, "labels.txt": b"0 1 red\n1 2 blue\n"}
    path = zipped(tmp_path / "converted_tflite.zip", files)
    asked = options(path, tmp_path, pictures, "onnx-fp32")
    asked = replace(asked, output=replace(asked.output, required=("onnx-fp32",)))
    with pytest.raises(UsageError, match="onnx-fp32 cannot be made"):
        export(asked, Silent())
    report = export(options(path, tmp_path, pictures, "tflite-fp32"), Silent())
    assert report.reference.top1 == 1.0
    (only,) = report.variants
    assert only.name == report.default_variant == "tflite-fp32"
    # Agreeing with itself would prove nothing.
    assert (only.drop_points, only.agreement, only.agreement_interval) == (None, None, None)
    assert report.classes.differences is None
    page = (tmp_path / "bundle/report.html").read_text(encoding="utf-8")
    assert "Keras model" not in page
    assert "adopted" in page
    (again,) = evaluate(
        tmp_path / "bundle",
        pictures,
        variants=(),
        engine=None,
        cache=tmp_path / "cache",
        progress=Silent(),
    ).variants
    assert (again.score.top1, again.score.agreement) == (1.0, None)
    assert "as it is" in " ".join(report.data.notes)
    bundle = Bundle.open(tmp_path / "bundle")
    bundle.verify()
    assert bundle.manifest.variants[0].agreement is None
    assert bundle.manifest.labels == tuple(COLORS)
    assert bundle.manifest.preprocessing.value_range == (-1.0, 1.0)
    assert (tmp_path / "bundle/models/tflite-fp32.tflite").read_bytes() == content
    assert not (tmp_path / "bundle/source").exists()  # there is no Keras model
    picture = next((pictures / "2 blue").iterdir())
    (answer, *_) = Classifier.open(tmp_path / "bundle").classify(picture)
    assert (answer.label, answer.score > 0.9) == ("2 blue", True)


def test_a_download_whose_weights_are_no_numbers_is_refused(pictures: Path, tmp_path: Path) -> None:
    content = tflite_file(np.nan)
    path = zipped(tmp_path / "tm.zip", {"model_unquant.tflite": content})
    with pytest.raises(ModelLoadError, match="weights that are not finite numbers"):
        export(options(path, tmp_path, pictures, "tflite-fp32"), Silent())


def test_an_adopted_file_answers_as_its_interpreter(pictures: Path, tmp_path: Path) -> None:
    """20 pictures that are square, so that the contract's crop and size change nothing."""
    from ai_edge_litert.interpreter import Interpreter

    path = zipped(tmp_path / "tm.zip", {"model_unquant.tflite": tflite_file()})
    export(options(path, tmp_path, pictures, "tflite-fp32"), Silent())
    interpreter = Interpreter(str(tmp_path / "bundle/models/tflite-fp32.tflite"))
    interpreter.allocate_tensors()
    (image,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    classifier = Classifier.open(tmp_path / "bundle")
    random, spread = np.random.default_rng(5), []
    for number in range(20):
        array = random.integers(0, 256, (16, 16, 3), np.uint8)
        array[..., 0] //= 1 + number % 4
        array[..., 2] //= 1 + number % 3
        picture = tmp_path / f"{number}.png"
        Image.fromarray(array).save(picture)
        interpreter.set_tensor(image["index"], (array[None].astype(np.float32) - 127.5) / 127.5)
        interpreter.invoke()
        expected = interpreter.get_tensor(answer["index"])[0]
        found = {item.index: item.score for item in classifier.classify(picture)}
        assert [found[0], found[1]] == pytest.approx(expected, abs=1e-6)
        spread.append(float(expected[0]))
    assert np.std(spread) > 0.1  # else they would be alike whatever is fed


def test_broken_and_hostile_archives_are_refused(tmp_path: Path) -> None:
    weights = {"name": "dense/kernel", "shape": [300, 2], "dtype": "float32"}
    outside = [{"paths": ["../../secret.bin"], "weights": []}]
    (tmp_path / "secret.bin").write_bytes(b"secret")
    graph = {"node": []}
    lacking = tfjs_files()
    del lacking["weights.bin"]
    cases = {
        "lacks weights.bin": lacking,
        "cut off": tfjs_files(weightsManifest=[{"paths": ["weights.bin"], "weights": [weights]}]),
        "lacks secret.bin": tfjs_files(weightsManifest=outside),
        "graph model": tfjs_files(modelTopology=graph),
        "Edge TPU": {"model_edgetpu.tflite": b"x"},
        "holds no model": {"readme.txt": b"x"},
    }
    for said, files in cases.items():
        with pytest.raises(EdgeError, match=said):
            open_download(zipped(tmp_path / "a.zip", files), StageCache(tmp_path / "cache"))
    whole = zipped(tmp_path / "a.zip", tfjs_files()).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EdgeError, match="not a whole zip"):
        open_download(tmp_path / "cut.zip", StageCache(tmp_path / "cache"))


@pytest.mark.shared_data
@pytest.mark.skipif(not LEGACY.is_dir(), reason="needs EDGE_TEST_DATA")
def test_a_genuine_download_answers_as_tensorflow_js(tmp_path: Path) -> None:
    """The first class's score by @tensorflow/tfjs in Node for the same arrays."""
    import keras

    expected = [
        0.992664,
        0.997014,
        0.998298,
        0.992686,
        0.997922,
        0.992457,
        0.996691,
        0.998265,
        0.998183,
        0.997293,
        0.998586,
        2.9e-05,
        4.3e-05,
        0.000574,
        0.000374,
        2.3e-05,
        3.6e-05,
        8e-06,
        6e-06,
        1e-05,
    ]
    with zipfile.ZipFile(LEGACY / "teachable_machine_pictures.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.startswith("Class"))
        names = [name for name in names if name.endswith(".png")][:20]
        for name in names:
            (tmp_path / name.replace("/", "_")).write_bytes(archive.read(name))
    spec = Preprocessing(height=224, width=224, resize=Resize.CENTER_CROP, crop_fraction=1.0)
    images = np.stack([load(tmp_path / name.replace("/", "_"), spec) for name in names])
    download = open_download(LEGACY / "teachable_machine_tfjs.zip", StageCache(tmp_path / "cache"))
    assert json.loads(download.labels.read_text()) == ["Class 1", "Class 2"]  # type: ignore[union-attr]
    answers = keras.models.load_model(download.path).predict(images.astype("f4"), verbose=0)
    np.testing.assert_allclose(answers[:, 0], expected, atol=1e-4)
