"""``edge export`` of models that end in logits, in one sigmoid, or in several."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge.errors import UsageError
from edge.evaluation.output import Ending
from edge.modelfile import onnx_metadata, tflite_metadata
from edge.modelfile.contents import file_end
from edge.pipeline.export import export as run_export
from edge.pipeline.options import ExportOptions, OutputOptions
from edge.pipeline.report import Report
from edge.progress import Silent
from edge.runtime.bundle import Bundle
from edge.runtime.classifier import Classifier
from edge.runtime.output import OutputActivation
from edge.runtime.preprocess import load
from edge.training.models import load_keras, without_head
from tests.integration.conftest import Edge

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("warm_converters")]

VARIANTS = ("tflite-fp32", "tflite-int8", "onnx-fp32", "onnx-int8")
TINTS = {"blue": (70, 70, 190), "red": (190, 70, 70)}
# Between rounding to 256 steps in an integer file and the float model, over a few layers.
TOLERANCE = {"fp32": 1e-4, "int8": 0.08}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kinds") / "photos"
    random = np.random.default_rng(0)
    for name, tint in TINTS.items():
        (root / name).mkdir(parents=True)
        for number in range(24):
            shift = random.normal(0, 12, 3)
            pixels = random.normal(np.array(tint) + shift, 20, (24, 24, 3)).clip(0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{number:02}.png")
    return root


def network(path: Path, kernel: Any, bias: Any, ending: Any) -> Path:
    """A model that knows colours by arithmetic; ``ending`` makes the output of its logits."""
    import keras

    image = keras.Input((16, 16, 3))
    tensor = keras.layers.Rescaling(1 / 255)(image)
    tensor = keras.layers.Conv2D(3, 1, name="colours")(tensor)
    tensor = keras.layers.GlobalAveragePooling2D()(tensor)
    dense = keras.layers.Dense(np.shape(kernel)[1], name="logits")
    model = keras.Model(image, ending(dense(tensor)))
    model.get_layer("colours").set_weights([np.eye(3)[None, None], np.zeros(3)])
    dense.set_weights([np.asarray(kernel, float), np.asarray(bias, float)])
    model.save(path)
    return path


def exported(model: Path, photos: Path, folder: Path, **more: Any) -> Report:
    output = OutputOptions(
        output=folder / "bundle",
        overwrite=True,
        cache=folder / "cache",
        variants=more.pop("variants", ("tflite-fp32",)),
        calibration_images=16,
    )
    options = ExportOptions(model=str(model), calibration_data=photos, output=output, **more)
    return run_export(options, Silent())


def probabilities(bundle: Path, variant: str, paths: list[Path]) -> Any:
    classifier = Classifier.open(bundle, variant=variant)
    return np.stack([classifier.probabilities(load(p, classifier.preprocessing)) for p in paths])


def by_keras(model: Path, paths: list[Path], bundle: Path) -> Any:
    contract = Bundle.open(bundle).manifest.preprocessing
    return np.asarray(load_keras(model)(np.stack([load(p, contract) for p in paths]).astype("f")))


def test_logits_become_probabilities_in_every_file(photos: Path, tmp_path: Path) -> None:
    import keras

    kernel = [[-9, 9], [0, 0], [9, -9]]
    model = network(tmp_path / "logits.keras", kernel, [0, 0], keras.layers.Reshape((1, 1, 2)))
    report = exported(model, photos, tmp_path, variants=VARIANTS, labels=None)
    bundle, paths = tmp_path / "bundle", sorted(photos.rglob("*.png"))
    logits = by_keras(model, paths, bundle).reshape(-1, 2)
    assert logits.max() > 2
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for variant in VARIANTS:
        found = probabilities(bundle, variant, paths)
        assert found.min() >= 0 and found.max() <= 1
        assert found.sum(axis=1) == pytest.approx(np.ones(len(paths)), abs=0.01)
        assert found == pytest.approx(wanted, abs=TOLERANCE[variant.partition("-")[2]])
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["schema_version"] == 1
    assert manifest["output"]["kind"] == "single-label"
    assert "logits" in manifest["output"]["evidence"]
    assert report.output == Bundle.open(bundle).manifest.output


def test_one_sigmoid_is_two_classes(photos: Path, tmp_path: Path) -> None:
    import keras

    def ending(logit: Any) -> Any:
        inner = keras.Sequential([keras.Input((1,)), keras.layers.Activation("sigmoid")])
        return inner(logit)

    model = network(tmp_path / "one.keras", [[6], [0], [-6]], [0], ending)
    report = exported(model, photos, tmp_path, variants=VARIANTS)
    bundle, paths = tmp_path / "bundle", sorted(photos.rglob("*.png"))
    second = by_keras(model, paths, bundle)
    for variant in VARIANTS:
        found = probabilities(bundle, variant, paths)
        assert found.shape == (len(paths), 2)
        assert found[:, 1:] == pytest.approx(second, abs=TOLERANCE[variant.partition("-")[2]])
        assert found.sum(axis=1) == pytest.approx(np.ones(len(paths)), abs=0.01)
    assert Bundle.open(bundle).manifest.labels == ("blue", "red")
    assert report.reference.top1 == 1.0
    assert report.reference.labelled > 20
    assert "0.5" in report.output.evidence


def test_the_threshold_is_chosen_stated_and_kept(photos: Path, tmp_path: Path) -> None:
    """Every picture is below 0.5, as from a network that saw few of the second class."""
    import keras

    model = network(
        tmp_path / "low.keras", [[6], [0], [-6]], [-5], keras.layers.Activation("sigmoid")
    )
    report = exported(model, photos, tmp_path)
    bundle = tmp_path / "bundle"
    assert report.reference.top1 == 1.0
    assert 0 < report.output.threshold < 0.5
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["output"]["thresholds"] == [report.output.threshold]
    assert manifest["schema_version"] == 2
    classifier = Classifier.open(bundle)
    answer = classifier.answer(photos / "red" / "00.png", name="00", k=2, variant="")
    assert answer["categories"][0]["label"] == "red"
    assert answer["categories"][0]["score"] < 0.5
    assert answer["threshold"] == report.output.threshold
    with pytest.raises(UsageError, match="auto"):
        run_export(
            ExportOptions(
                model=str(model),
                calibration_data=photos,
                output=OutputOptions(
                    output=bundle, overwrite=True, cache=tmp_path / "cache", max_drop_points=0.5
                ),
            ),
            Silent(),
        )


def test_swapped_classes_stop_the_export_until_told(photos: Path, tmp_path: Path) -> None:
    import keras

    model = network(
        tmp_path / "swapped.keras", [[-6], [0], [6]], [0], keras.layers.Activation("sigmoid")
    )
    with pytest.raises(UsageError, match="swapped") as raised:
        exported(model, photos, tmp_path)
    assert "--positive-class 'blue'" in raised.value.hint


def test_the_base_of_a_classifier_is_what_lies_in_front_of_its_head(tmp_path: Path) -> None:
    """A head of sigmoids is no feature of a base to train on, as one of a softmax is none."""
    import keras

    for ending, columns in (("sigmoid", 1), ("sigmoid", 4), ("softmax", 4)):
        path = network(
            tmp_path / "base.keras",
            np.ones((3, columns)),
            np.zeros(columns),
            keras.layers.Activation(ending),
        )
        base = without_head(load_keras(path))
        assert base.outputs[0].shape == (None, 3)


def test_what_fits_no_model_of_that_kind_is_refused(photos: Path, tmp_path: Path) -> None:
    import keras

    softmax = network(
        tmp_path / "softmax.keras", np.eye(3), [0, 0, 0], keras.layers.Activation("softmax")
    )
    for options in (
        {"threshold": 0.3},
        {"positive_class": "red"},
        {"truth": tmp_path / "truth.csv"},
        {"output_activation": OutputActivation.MULTI_LABEL_LOGITS, "positive_class": "red"},
    ):
        with pytest.raises(UsageError) as raised:
            exported(softmax, photos, tmp_path, **options)
        assert raised.value.hint
    always = network(
        tmp_path / "always.keras", [[6], [0], [-6]], [0], keras.layers.Activation("softmax")
    )
    with pytest.raises(UsageError, match="always 1"):
        exported(always, photos, tmp_path)


def test_several_labels_from_end_to_end(tmp_path: Path) -> None:
    """``export``, ``evaluate``, ``compare`` and ``predict`` of one network, as a user runs them."""
    import keras
    import onnx

    random = np.random.default_rng(0)
    lines = ["file,red,blue"]
    (tmp_path / "photos").mkdir()
    for number in range(60):
        red, blue = random.integers(0, 2, 2)
        tint = np.array([190 if red else 70, 70, 190 if blue else 70]) + random.normal(0, 8, 3)
        pixels = random.normal(tint, 15, (24, 24, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number:02}.png")
        lines.append(f"{number:02}.png,{red},{blue}")
    truth = tmp_path / "truth.csv"
    truth.write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "labels.txt").write_text("red\nblue\n", encoding="utf-8")
    model = network(
        tmp_path / "several.keras",
        [[12, 0], [0, 0], [0, 12]],
        [-6, -6],
        keras.layers.Activation("sigmoid"),
    )
    report = exported(
        model,
        tmp_path / "photos",
        tmp_path,
        variants=VARIANTS,
        labels=tmp_path / "labels.txt",
        truth=truth,
    )
    bundle, paths = tmp_path / "bundle", sorted((tmp_path / "photos").glob("*.png"))
    assert report.reference.top1 is None
    assert report.reference.multi_label.mean_average_precision == 1.0
    assert {item.multi_label.macro_f1 for item in report.variants if item.multi_label} == {1.0}
    assert [item.top1 for item in report.variants] == [None] * 4
    page = (bundle / "report.html").read_text(encoding="utf-8")
    assert "No image has a label" not in page and "mAP 100.0" in page.replace("\u202f", " ")
    wanted = by_keras(model, paths, bundle)
    for variant in VARIANTS:
        found = probabilities(bundle, variant, paths)
        assert found == pytest.approx(wanted, abs=TOLERANCE[variant.partition("-")[2]])
        path = Bundle.open(bundle).model(variant)[1]
        assert file_end(path).ending is Ending.SIGMOID
        stated = (
            tflite_metadata.read(path.read_bytes())
            if path.suffix == ".tflite"
            else onnx_metadata.read(onnx.load(str(path)))
        )
        assert stated is not None and stated.edge_output == report.output.to_json()
    answer = Classifier.open(bundle).answer(paths[0], name="00", k=1, variant="")
    known = dict(zip(("red", "blue"), lines[1].split(",")[1:], strict=True))
    assert sorted(answer["labels"]) == sorted(name for name, holds in known.items() if holds == "1")
    edge = Edge(cache=tmp_path / "cache", work=tmp_path, temporary=tmp_path)
    done = edge.run("evaluate", bundle, "photos", "--truth", truth, "--json")
    assert done.returncode == 0, done.stderr
    scored = json.loads(done.stdout)["variants"][0]
    assert (scored["top1"], scored["multi_label"]["micro_f1"]) == (None, 1.0)
    sides = ("--baseline", "tflite-fp32", "--candidate", "tflite-int8")
    done = edge.run("compare", bundle, "photos", *sides, "--truth", truth, "--json")
    assert "map_drop" in {check["metric"] for check in json.loads(done.stdout)["checks"]}


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "labels"), [("logits", "circle\nsquare\ntriangle\n"), ("sigmoid", "circle\nsquare\n")]
)
def test_the_shared_faults(shared: Path, tmp_path: Path, name: str, labels: str) -> None:
    (tmp_path / "labels.txt").write_text(labels, encoding="utf-8")
    model, shapes = shared / f"{name}.keras", shared / "shapes"
    report = exported(
        model,
        shapes / "cal",
        tmp_path,
        variants=("tflite-int8",),
        labels=tmp_path / "labels.txt",
        evaluation_data=shapes / "eval",
    )
    paths = sorted((shapes / "eval").rglob("*.jpg"))
    found = probabilities(tmp_path / "bundle", "tflite-int8", paths)
    assert found.min() >= 0 and found.max() <= 1
    assert found.sum(axis=1) == pytest.approx(np.ones(len(paths)), abs=0.01)
    assert report.reference.top1 is not None and report.reference.top1 >= 0.98
    assert report.variants[0].top1 == report.reference.top1
    assert report.reference.labelled == 20 * len(labels.split())


@pytest.fixture
def shared() -> Path:
    root = os.environ.get("EDGE_TEST_DATA")
    if root is None:
        pytest.skip("EDGE_TEST_DATA does not name the folder of shared data")
    return Path(root) / "faults"
