"""Grad-CAM and layers of Keras models whose evidence is in a known place."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge.errors import ModelLoadError, UsageError
from edge.explanation.explain import explain
from edge.explanation.keras_model import GradCam, activations, chosen_layers, first_filters
from edge.explanation.options import ExplainOptions
from edge.explanation.result import correlation
from edge.progress import Silent
from edge.runtime.contract import Preprocessing
from tests.color_bundles import model as onnx_model
from tests.color_bundles import nearest_color, write_bundle

pytestmark = pytest.mark.slow
SIDE = 32
LABELS = ("blue", "red")


def _network(*, seed: int | None = None, activation: str = "softmax", last: bool = False) -> Any:
    """Answers red or blue by the mean colour; with a seed, its weights are random instead."""
    import keras

    layers = keras.layers
    image = keras.Input((SIDE, SIDE, 3), name="image")
    tensor = layers.Rescaling(1 / 255, name="scale")(image)
    tensor = layers.Conv2D(4, 1, activation="relu", name="colors")(tensor)
    tensor = layers.AveragePooling2D(4, name="coarse")(tensor)
    tensor = layers.GlobalAveragePooling2D(name="pool")(tensor)
    own = None if last else activation
    tensor = layers.Dense(2, activation=own, name="answer")(tensor)
    if last:
        tensor = layers.Softmax(name="softmax")(tensor)
    network = keras.Model(image, tensor)
    random = np.random.default_rng(seed)
    colors = np.array([[4, -4, 0, 0], [-4, -4, 0, 0], [-4, 4, 0, 0]], np.float32)
    answer = np.array([[-9, 9], [9, -9], [0, 0], [0, 0]], np.float32)
    if seed is not None:
        colors, answer = random.normal(0, 4, (3, 4)), random.normal(0, 9, (4, 2))
    network.get_layer("colors").set_weights([colors.reshape(1, 1, 3, 4), np.zeros(4)])
    network.get_layer("answer").set_weights([answer, np.zeros(2)])
    return network


@pytest.fixture(scope="module")
def pixels() -> np.ndarray[Any, Any]:
    """Grey noise with a red upper left and a blue lower right corner."""
    pixels = np.random.default_rng(0).integers(100, 140, (SIDE, SIDE, 3), np.uint8)
    pixels[:12, :12] = (220, 30, 30)
    pixels[-10:, -10:] = (30, 30, 220)
    return pixels


@pytest.mark.parametrize("network", [{}, {"last": True}, {"activation": "sigmoid"}])
def test_grad_cam_lights_up_where_the_class_is(
    network: dict[str, Any], pixels: np.ndarray[Any, Any]
) -> None:
    answers = np.asarray(_network(**network)(pixels[np.newaxis].astype(np.float32)))[0]
    found = GradCam(_network(**network), 2)
    red, probabilities = found.map(pixels, 1)
    blue, _ = found.map(pixels, 0)
    assert (found.layer, found.shape) == ("coarse", (8, 8))
    assert np.allclose(probabilities, answers, atol=1e-5)  # the activation is put back
    assert red[:12, :12].sum() > 0.7 * red.sum()  # bilinear, 4 pixels a place
    assert blue[-10:, -10:].sum() > 0.7 * blue.sum()


def test_a_random_model_gives_another_map(pixels: np.ndarray[Any, Any]) -> None:
    """The sanity check of Adebayo et al. 2018: a map that stays shows the image, not the model."""
    own, _ = GradCam(_network(), 2).map(pixels, 1)
    others = [GradCam(_network(seed=seed), 2).map(pixels, 1)[0] for seed in range(6)]
    alike = [correlation(own, other) or 0.0 for other in others]
    assert np.mean(alike) < 0.5
    assert correlation(own, GradCam(_network(), 2).map(pixels, 1)[0]) == pytest.approx(1)


def test_a_model_without_class_scores_is_refused() -> None:
    import keras

    network = _network()
    embedding = keras.Model(network.inputs[0], network.get_layer("pool").output)
    with pytest.raises(ModelLoadError, match="no score for each of 2 classes"):
        GradCam(embedding, 2)


def test_layers_and_filters(pixels: np.ndarray[Any, Any]) -> None:
    network = _network()
    assert chosen_layers(network, []) == ["colors", "coarse"]
    (found,) = activations(network, ["colors"], pixels)
    assert found.maps.shape == (SIDE, SIDE, 4)
    assert found.maps[:12, :12, 0].mean() > 10 * found.maps[12:, 12:, 0].mean()
    filters = first_filters(network)
    assert filters is not None
    assert (filters[0], filters[1].shape) == ("colors", (1, 1, 3, 4))
    with pytest.raises(UsageError, match="no layer 'color'") as caught:
        chosen_layers(network, ["color"])
    assert "colors" in caught.value.hint


def test_a_bundle_with_its_keras_model(pixels: np.ndarray[Any, Any], tmp_path: Path) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.png")
    folder = tmp_path / "bundle"
    (folder / "source").mkdir(parents=True)
    _network().save(folder / "source/model.keras")
    weights, bias = nearest_color(SIDE)
    content = onnx_model(weights=weights[:, [2, 0]], bias=bias[[2, 0]], side=SIDE)
    contract = Preprocessing(height=SIDE, width=SIDE)
    bundle = write_bundle(folder, {"onnx-fp32": content}, labels=LABELS, preprocessing=contract)
    options = ExplainOptions(bundle=bundle, images=(tmp_path / "a.png",), label="red", masks=200)
    result = explain(options, Silent())
    (found,) = result.images
    cam, file = found.maps
    assert (cam.source, cam.method, file.source) == ("keras", "grad-cam", "onnx-fp32")
    assert cam.correlation is not None
    assert cam.correlation > 0.3  # two models and two methods, and one red corner
    assert [layer.layer for layer in found.layers] == ["colors", "coarse"]
    assert result.settings.gradcam_layer == "coarse"
    assert not result.without_keras
