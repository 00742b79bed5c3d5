"""What an exported network is fed: found out, told, or refused; the proof is of the right thing."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge.dataset.pictures import find_pictures
from edge.errors import ModelLoadError, UsageError
from edge.pipeline.build import build as run_build
from edge.pipeline.export import export as run_export
from edge.pipeline.options import BuildOptions, ExportOptions, OutputOptions
from edge.progress import Silent
from edge.runtime.bundle import Bundle
from edge.runtime.classifier import Classifier
from edge.runtime.contract import ColorOrder, Preprocessing
from edge.runtime.preprocess import load
from edge.training.base import Base
from edge.training.input_evidence import find_input
from edge.training.input_range import parse_range, takes_pixels
from edge.training.options import BaseOptions

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("warm_converters")]

CLASSES = ("blue", "green", "red")
SIZE = 16


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 pictures of each colour, from pale to strong, on noise."""
    root = tmp_path_factory.mktemp("colors")
    random = np.random.default_rng(0)
    for index, name in enumerate(CLASSES):
        (root / name).mkdir()
        for number in range(40):
            pixels = random.integers(60, 190, (SIZE, SIZE, 3)).astype(float)
            pixels[..., 2 - index] += random.uniform(4, 60)
            image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            image.save(root / name / f"{number:02}.png")
    (root / "labels.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    return root


def trained(photos: Path, text: str, channels: int = 3) -> Any:
    """A small network with batch normalisation that wants that range and has learned on it."""
    import keras

    keras.utils.set_random_seed(1)
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    paths = sorted(photos.glob("*/*.png"))
    pixels = np.stack([np.array(Image.open(path).convert(mode)) for path in paths])
    fed = parse_range(text).applied(pixels.reshape(len(paths), SIZE, SIZE, channels))
    truth = np.array([CLASSES.index(path.parent.name) for path in paths])
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, channels)),
            layers.Conv2D(8, 3, strides=2, padding="same"),
            layers.BatchNormalization(momentum=0.7),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.03), "sparse_categorical_crossentropy")
    model.fit(fed, truth, epochs=30, batch_size=40, verbose=0)
    return model


@pytest.fixture(scope="module")
def tf_model(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of -1..1 that does not say so."""
    path = tmp_path_factory.mktemp("model") / "tf.keras"
    trained(photos, "-1,1").save(path)
    return path


Export = Callable[..., dict[str, Any]]


@pytest.fixture
def export(photos: Path, tmp_path: Path) -> Export:
    """Export to ``tmp_path / "bundle"``; the report as JSON values."""

    def export(model: Path, **changes: Any) -> dict[str, Any]:
        variants = changes.pop("variants", ("tflite-fp32",))
        output = OutputOptions(
            output=tmp_path / "bundle",
            overwrite=True,
            cache=tmp_path / "cache",
            variants=variants,
            calibration_images=60,
        )
        options = {"labels": photos / "labels.txt", "calibration_data": photos} | changes
        report = run_export(ExportOptions(model=str(model), output=output, **options), Silent())
        value: dict[str, Any] = json.loads(json.dumps(report.to_json()))
        return value

    return export


def test_a_misfed_network_stops_the_export_and_a_told_one_is_right(
    export: Export, tf_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"--input-range=-1,1") as caught:
        export(tf_model)
    assert caught.value.exit_code == 2
    assert "--input-range=-1,1" in caught.value.hint
    assert not (tmp_path / "bundle").exists()

    variants = ("tflite-fp32", "tflite-int8", "onnx-fp32", "onnx-int8")
    report = export(tf_model, input_range="tf", variants=variants)

    assert report["reference"]["top1"] > 0.9
    assert all(item["agreement"] > 0.95 for item in report["variants"])
    assert [report["input"]["mean"], report["input"]["std"]] == [[127.5], [127.5]]
    assert report["input"]["told"]
    bundle = Bundle.open(tmp_path / "bundle")
    assert bundle.manifest.provenance["input"]["range"] == "-1 to 1"
    int8 = Classifier.open(tmp_path / "bundle", variant="tflite-int8").session.inputs[0]
    assert int8.quantization is not None
    assert int8.quantization.scales == (1.0,)  # the pixel itself
    # The lock replays it.
    lock = json.loads((tmp_path / "bundle" / "edge.lock").read_text())
    assert lock["inputs"]["options"]["input_range"] == "tf"


def test_a_wrong_range_that_was_told_is_accepted_and_noted(export: Export, tf_model: Path) -> None:
    report = export(tf_model, input_range="pixels")
    assert any("--input-range=-1,1" in note for note in report["notes"])
    assert report["input"]["better"]["option"] == "--input-range=-1,1"


def test_without_labels_the_memory_of_the_network_tells(
    export: Export, tf_model: Path, photos: Path, tmp_path: Path
) -> None:
    mixed = tmp_path / "unlabelled"
    mixed.mkdir()
    for path in photos.glob("*/*.png"):
        (mixed / f"{path.parent.name}{path.name}").write_bytes(path.read_bytes())
    with pytest.raises(UsageError, match="first features"):
        export(tf_model, calibration_data=mixed)


def test_a_network_that_scales_by_itself_raises_no_alarm(photos: Path) -> None:
    import keras

    contract = Preprocessing(height=SIZE, width=SIZE)
    pictures = find_pictures(photos, CLASSES).pictures[::2]
    inside = takes_pixels(trained(photos, "-1,1"), parse_range("-1,1"))
    fresh = keras.Sequential([keras.Input((SIZE, SIZE, 3)), keras.layers.Flatten()])
    found = find_input(inside, pictures, contract, None)
    assert found.better is None
    assert not found.doubts
    assert "Rescaling" in found.evidence[0]
    # Labels in another order answer nothing: that is not the range's fault.
    turned = [type(item)(item.path, item.sha256, ((item.label or 0) + 1) % 3) for item in pictures]
    assert find_input(inside, turned, contract, None).better is None
    # Nothing to tell by: it is said.
    bare = [type(item)(item.path, item.sha256) for item in pictures]
    assert find_input(fresh, bare, contract, None).doubts


@pytest.mark.parametrize(("channels", "order"), [(1, ColorOrder.GREY), (4, ColorOrder.RGBA)])
def test_one_and_four_channels(
    channels: int,
    order: ColorOrder,
    export: Export,
    photos: Path,
    tmp_path: Path,
) -> None:
    path = tmp_path / "other.keras"
    model = trained(photos, "0,1", channels)
    model.save(path)
    variants = ("tflite-fp32", "tflite-int8", "onnx-fp32", "onnx-int8")
    report = export(path, input_range="0,1", variants=variants)
    assert report["variants"] and all(item["agreement"] > 0.9 for item in report["variants"])
    bundle = Bundle.open(tmp_path / "bundle")
    assert bundle.manifest.preprocessing.shape == (SIZE, SIZE, channels)
    assert bundle.manifest.preprocessing.color_order is order

    picture = sorted(photos.glob("red/*.png"))[0]
    pixels = load(picture, bundle.manifest.preprocessing)
    assert pixels.shape == (SIZE, SIZE, channels)
    expected = np.asarray(model(pixels[np.newaxis].astype(np.float32) / 255))[0]
    for variant in variants:
        found = Classifier.open(tmp_path / "bundle", variant=variant)
        scores = found.probabilities(pixels)
        from_array = found.classify(np.array(Image.open(picture).convert(str(order))))
        assert from_array == found.classify(picture)
        np.testing.assert_allclose(scores, expected, atol=1e-4 if "fp32" in variant else 0.1)


def test_a_base_is_fed_what_it_was_trained_on_or_stops(
    tf_model: Path, photos: Path, tmp_path: Path
) -> None:
    options = BuildOptions(
        photos=photos,
        base=BaseOptions(backbone=str(tf_model)),
        output=OutputOptions(
            output=tmp_path / "bundle",
            overwrite=False,
            cache=tmp_path / "cache",
            variants=("tflite-fp32",),
        ),
    )
    with pytest.raises(UsageError, match="--input-range=-1,1"):
        run_build(options, Silent())
    told = replace(options, base=replace(options.base, input_range="-1..1"))
    report = run_build(told, Silent())
    assert report is not None
    assert report.reference.top1 > 0.8
    assert report.input is not None and report.input.taken.mean == (127.5,)
    with pytest.raises(UsageError, match="Keras Applications"):
        Base(BaseOptions(backbone="mobilenet", input_range="0,1"))


# ---- weights that are no numbers


def ruined(tf_model: Path, place: Path, layer: int, weight: int, value: float) -> Any:
    """The trained network with one value of one weight replaced; saved there, and returned."""
    import keras

    model = keras.models.load_model(tf_model, compile=False)
    arrays = model.layers[layer].get_weights()
    arrays[weight].flat[0] = value
    model.layers[layer].set_weights(arrays)
    model.save(place)
    return model


@pytest.mark.parametrize(
    ("layer", "weight", "value", "named"),
    [
        (-1, 1, np.nan, "'bias'"),
        (0, 0, np.nan, "'kernel'"),
        (1, 3, np.nan, "'moving_variance'"),
        (-1, 0, np.inf, "'kernel'"),
        (1, 3, np.inf, "'moving_variance'"),
    ],
)
def test_weights_that_are_no_numbers_are_named_and_no_option_is_blamed(
    export: Export,
    tf_model: Path,
    tmp_path: Path,
    layer: int,
    weight: int,
    value: float,
    named: str,
) -> None:
    model = ruined(tf_model, tmp_path / "nan.keras", layer, weight, value)
    with pytest.raises(ModelLoadError, match=r"nan\.keras has weights that are not") as caught:
        export(tmp_path / "nan.keras")
    told = caught.value.message + caught.value.hint
    assert f"1 of the {model.layers[layer].get_weights()[weight].size} values of {named}" in told
    assert model.layers[layer].name in told
    assert "--" not in told and "order" not in told
    if layer != -1:  # the last layer is cut off a base
        with pytest.raises(ModelLoadError, match="weights that are not finite"):
            Base(BaseOptions(backbone=str(tmp_path / "nan.keras"), input_range="tf"))


def test_a_graph_that_hides_its_weights_and_answers_nan(
    export: Export, tf_model: Path, tmp_path: Path
) -> None:
    model = ruined(tf_model, tmp_path / "nan.keras", -1, 1, np.nan)
    model.export(tmp_path / "saved", verbose=False)
    with pytest.raises(ModelLoadError, match="NaN or infinite values") as caught:
        export(tmp_path / "saved")
    assert "--output-activation" not in caught.value.hint


def test_a_weights_file_that_is_no_numbers(tmp_path: Path) -> None:
    import keras

    from edge.training.backbones import backbone
    from edge.training.weights import load_base

    base = keras.applications.MobileNet(
        weights=None, include_top=False, input_shape=(32, 32, 3), alpha=0.25
    )
    arrays = base.get_weights()
    arrays[0].flat[0] = np.nan
    base.set_weights(arrays)
    base.save_weights(tmp_path / "nan.weights.h5")
    with pytest.raises(ModelLoadError, match=r"nan\.weights\.h5 has weights that are not"):
        load_base(backbone("mobilenet"), 32, str(tmp_path / "nan.weights.h5"), 0, 0.25)
