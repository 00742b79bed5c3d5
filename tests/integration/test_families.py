"""Networks that are put together otherwise than MobileNet: their files say what Keras says."""

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from converters.base import CONVERTERS, ConversionRequest, Precision
from edge.errors import ConversionError, ModelLoadError
from edge.runtime.bundle import Bundle
from edge.runtime.classifier import Classifier
from edge.runtime.contract import Preprocessing
from edge.runtime.session import open_session
from tests.integration.conftest import Edge, failed, make_photos, succeeded

pytestmark = pytest.mark.slow

SIZE = 24
LABELS = ("one", "two", "three")
SPEC = Preprocessing(height=SIZE, width=SIZE)
FLOAT_TOLERANCE = 1e-5  # of a probability: the same arithmetic in another order
INT8_TOLERANCE = 0.1


def pictures(count: int, seed: int) -> NDArray[np.uint8]:
    random = np.random.default_rng(seed)
    tints = random.normal(120, 50, (count, 1, 1, 3))
    return (tints + random.normal(0, 40, (count, SIZE, SIZE, 3))).clip(0, 255).astype(np.uint8)


def tail(x: Any) -> Any:
    import keras

    layers = keras.layers
    x = layers.Conv2D(12, 1, activation="relu", name="pointwise")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return layers.Dense(len(LABELS), activation="softmax", name="answer")(x)


def stem(name: str = "stem") -> Any:
    import keras

    return keras.layers.Conv2D(8, 3, strides=2, activation="relu", name=name)


def scaling() -> Any:
    import keras

    return keras.layers.Rescaling(1 / 127.5, offset=-1.0)


def normalized() -> Any:
    """As in EfficientNet: mean and variance are tensors of the layer, not variables."""
    import keras

    image = keras.Input((SIZE, SIZE, 3))
    layer = keras.layers.Normalization(mean=[120.0, 110.0, 100.0], variance=[2500.0] * 3)
    return keras.Model(image, tail(stem()(layer(image))))


def normalized_per_pixel() -> Any:
    """More numbers than TensorFlow makes a constant of by itself."""
    import keras

    image = keras.Input((SIZE, SIZE, 3))
    layer = keras.layers.Normalization(axis=(1, 2, 3))
    layer.adapt(pictures(8, seed=3).astype(np.float32))
    return keras.Model(image, tail(stem()(layer(image))))


def grouped() -> Any:
    """As in ConvNeXt: Keras compiles such convolutions with XLA; GELU has an Erfc."""
    import keras

    image = keras.Input((SIZE, SIZE, 3))
    x = stem()(scaling()(image))
    for number, groups in enumerate((8, 4)):
        layer = keras.layers.Conv2D(8, 3, groups=groups, padding="same", name=f"grouped{number}")
        x = keras.activations.gelu(layer(x))
    return keras.Model(image, tail(x))


def constant_first() -> Any:
    """The constant of ``1 - x`` stands first among the operator's inputs."""
    import keras

    image = keras.Input((SIZE, SIZE, 3))
    return keras.Model(image, tail(1.0 - stem()(scaling()(image))))


def sequential() -> Any:
    import keras

    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            scaling(),
            stem(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(len(LABELS), activation="softmax", name="answer"),
        ]
    )


def nested() -> Any:
    """As tutorials do it: augmentation, scaling and the base are models within the model."""
    import keras

    layers = keras.layers
    augmentation = keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.5)])
    within = keras.Input((SIZE, SIZE, 3))
    base = keras.Model(within, stem()(within), name="base")
    image = keras.Input((SIZE, SIZE, 3))
    return keras.Model(image, tail(base(scaling()(augmentation(image)), training=False)))


NETWORKS = (normalized, normalized_per_pixel, grouped, constant_first, sequential, nested)


def made(make: Callable[[], Any]) -> Any:
    """The network with random weights, its answers spread over the classes."""
    import keras

    keras.utils.set_random_seed(5)
    model = make()
    images = pictures(32, seed=1).astype(np.float32)
    last = model.get_layer("answer")
    features = keras.Model(model.inputs[0], model.layers[-2].output)(images, training=False).numpy()
    spread = features - features.mean(axis=0)
    kernel = np.random.default_rng(0).normal(0, 1, (features.shape[1], len(LABELS)))
    kernel = (kernel / (spread @ kernel).std()).astype(np.float32)
    last.set_weights([kernel, -features.mean(axis=0) @ kernel])
    return model


def request(folder: Path, format_: str, *precisions: Precision) -> ConversionRequest:
    np.save(folder / "calibration.npy", pictures(64, seed=2))
    return ConversionRequest(
        keras_model=folder / "unused.keras",
        format=format_,
        precisions=precisions,
        output=folder,
        calibration=folder / "calibration.npy",
        name="family",
        labels=LABELS,
        preprocessing=SPEC,
    )


def convert(folder: Path, model: Any, format_: str, *precisions: Precision) -> list[Path]:
    module, _, function = CONVERTERS[format_].partition(":")
    asked = request(folder, format_, *precisions)
    results = getattr(import_module(module), function)(asked, model, lambda: None)
    return [result.path for result in results]


def keras_answers(model: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    answers: NDArray[np.float32] = model(images.astype(np.float32), training=False).numpy()
    return answers


@pytest.mark.parametrize("format_", CONVERTERS)
@pytest.mark.parametrize("make", NETWORKS)
def test_the_files_say_what_keras_says(
    make: Callable[[], Any], format_: str, tmp_path: Path
) -> None:
    model = made(make)
    images = pictures(24, seed=4)
    expected = keras_answers(model, images)
    assert expected.std(axis=0).min() > 0.05  # the answers depend on the image
    files = convert(tmp_path, model, format_, Precision.FP32, Precision.INT8)
    for path, tolerance in zip(files, (FLOAT_TOLERANCE, INT8_TOLERANCE), strict=True):
        session = open_session(path)
        (image,) = session.inputs
        assert image.shape[1:] == (SIZE, SIZE, 3)
        classifier = Classifier(session, LABELS, SPEC)
        answers = np.stack([classifier.probabilities(picture) for picture in images])
        assert np.abs(answers - expected).max() <= tolerance, path.name


@pytest.mark.parametrize("make", [grouped, constant_first, sequential, nested])
def test_the_scaling_is_folded(make: Callable[[], Any]) -> None:
    from converters.pixel_input import pixel_model

    model = made(make)
    found = pixel_model(model)
    assert (found.folded, found.zero_point) == (True, 128)
    images = pictures(8, seed=4)
    answers = found.model(images.astype(np.float32) - 128, training=False).numpy()
    assert np.abs(answers - keras_answers(model, images)).max() <= FLOAT_TOLERANCE


def test_two_layers_of_one_name_are_left_as_they_are() -> None:
    import keras

    from converters.pixel_input import pixel_model

    within = keras.Input((SIZE, SIZE, 3))
    base = keras.Model(within, stem("pointwise")(within))
    image = keras.Input((SIZE, SIZE, 3))
    model = keras.Model(image, tail(base(scaling()(image))))
    found = pixel_model(model)
    assert (found.model, found.folded) == (model, False)


def test_an_operator_that_onnx_lacks_is_named(tmp_path: Path) -> None:
    import keras

    image = keras.Input((SIZE, SIZE, 3))
    model = keras.Model(image, tail(keras.ops.erfinv(stem()(scaling()(image)))))
    with pytest.raises(ConversionError, match="no operator for Erfinv"):
        convert(tmp_path, model, "onnx", Precision.FP32)


# ---- from the command line


def test_a_sequential_file_is_exported(edge: Edge, tmp_path: Path) -> None:
    path = tmp_path / "mine.keras"
    made(sequential).save(path)
    photos = make_photos(tmp_path / "photos", count=4)
    output = edge.work / "bundle"
    arguments = ("--calibration-data", photos, "--variants", "tflite-int8,onnx-fp32", "--json")
    result = edge.run("export", path, "--output", output, *arguments)
    succeeded(result)
    report = json.loads(result.stdout)
    assert [item["name"] for item in report["variants"]] == ["tflite-int8", "onnx-fp32"]
    assert report["variants"][1]["agreement"] == 1.0
    Bundle.open(output).verify()


def test_a_model_that_does_not_state_its_inputs(edge: Edge, tmp_path: Path) -> None:
    import keras

    path = tmp_path / "open.keras"
    keras.Sequential([scaling(), keras.layers.Flatten(), keras.layers.Dense(2)]).save(path)
    photos = make_photos(tmp_path / "photos", count=2)
    result = edge.run("export", path, "--calibration-data", photos, "--output", "bundle")
    failed(result, 3, "Sequential", "does not state its inputs", "keras.Input")


def test_a_subclassed_model_is_refused(tmp_path: Path) -> None:
    import keras

    from edge.training.models import load_keras

    class Mine(keras.Model):  # type: ignore[misc]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.dense = keras.layers.Dense(2)

        def call(self, images: Any) -> Any:
            return self.dense(images)

    path = tmp_path / "mine.keras"
    model = Mine()
    model(np.zeros((1, 4), np.float32))
    model.save(path)
    with pytest.raises(ModelLoadError, match=r"code of its own.*: Mine") as caught:
        load_keras(path)
    assert "--custom-objects" in caught.value.hint
    assert "{" not in caught.value.message  # Keras ends with the model's whole configuration
    with keras.saving.custom_object_scope({"Mine": Mine}):
        with pytest.raises(ModelLoadError, match="class Mine and does not state its inputs"):
            load_keras(path)
