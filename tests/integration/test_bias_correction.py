"""What corrects a float model before its weights are rounded: over layers of real files."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from converters.onnx_graph import OnnxFloatGraph
from converters.quantizable import Calibration, FloatGraph, Quantizable
from converters.rounding import WeightedOperator, nearest
from tests.integration.test_quantization import quantizable

pytestmark = pytest.mark.slow

FORMATS = ("tflite", "onnx")


def rounded(model: Quantizable, graph: FloatGraph) -> FloatGraph:
    """The float model with the kernels that an int8 file made of the graph would hold."""
    copy = model.graph()
    for layer, _ in graph.layers().values():
        copy.replace(replace(layer, kernel=nearest(layer.kernel, scale=steps(graph, layer))))
    return copy


def steps(graph: FloatGraph, layer: WeightedOperator) -> NDArray[np.float64] | None:
    """The steps of a layer's weights, where they are not the quantizer's to choose."""
    if not isinstance(graph, OnnxFloatGraph):
        return None
    (found,) = graph.steps([name for name in graph.layers() if name != layer.name]).values()
    return np.array([item["scale"] for item in found], np.float64)[:, np.newaxis, np.newaxis]


def answers(graph: FloatGraph, format_: str, images: Calibration) -> NDArray[np.float64]:
    """Of the float graph, (images and positions, channels)."""
    from converters.onnx_graph import OnnxActivations
    from converters.tflite_graph import TfliteActivations

    run = (TfliteActivations if format_ == "tflite" else OnnxActivations)(graph.observable())
    found = []
    for image in images:
        _, (_, answer), *_ = [(name, np.array(values)) for name, values in run(image)]
        found.append(answer.reshape(-1, answer.shape[-1]))
    return np.concatenate(found).astype(np.float64)


def mean_answer(graph: FloatGraph, format_: str, images: Calibration) -> NDArray[np.float64]:
    """Over images and positions, (channels,)."""
    found: NDArray[np.float64] = answers(graph, format_, images).mean(axis=0)
    return found


@pytest.fixture
def pixels(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (20, 12, 12, 3), np.uint8)
    np.save(tmp_path / "pixels.npy", noise)
    return tmp_path / "pixels.npy"


def model_of(kind: str) -> Any:
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(1)
    image = keras.Input((12, 12, 3), name="image")
    if kind == "conv":
        answer = layers.Conv2D(5, 3, use_bias=False)(image)
    elif kind == "grouped":
        answer = layers.Conv2D(6, 3, groups=3)(image)
    elif kind == "depthwise":
        answer = layers.DepthwiseConv2D(3, depth_multiplier=2)(image)
    else:
        answer = layers.Dense(4, bias_initializer="random_normal")(
            layers.GlobalAveragePooling2D()(image)
        )
    return keras.Model(image, answer)


@pytest.mark.parametrize("kind", ["conv", "grouped", "depthwise", "dense"])
@pytest.mark.parametrize("format_", FORMATS)
def test_the_mean_output_of_rounded_weights_is_that_of_the_floats(
    kind: str, format_: str, pixels: Path
) -> None:
    model = quantizable(model_of(kind), pixels)[format_]
    assert len(model.graph().layers()) == 1
    wanted = mean_answer(model.graph(), format_, model.calibration)
    corrected = model.graph()
    model.correct(corrected, ())
    plain, mended = (
        np.abs(mean_answer(rounded(model, graph), format_, model.calibration) - wanted).max()
        for graph in (model.graph(), corrected)
    )
    # A 3 x 3 window sees the border pixels less often than the image's mean does.
    assert mended < plain / (50 if kind == "dense" else 5)
    assert np.array_equal(mean_answer(model.graph(), format_, model.calibration), wanted)


@pytest.mark.parametrize("format_", FORMATS)
def test_layers_that_stay_in_floats_are_not_touched(format_: str, pixels: Path) -> None:
    model = quantizable(model_of("conv"), pixels)[format_]
    ((name, (before, _)),) = model.graph().layers().items()
    kept, corrected = model.graph(), model.graph()
    model.correct(kept, {name})
    model.correct(corrected, ())
    assert np.array_equal(kept.layers()[name][0].bias, before.bias)
    assert not np.array_equal(corrected.layers()[name][0].bias, before.bias)


@pytest.mark.parametrize("format_", FORMATS)
def test_the_whole_network_loses_less_with_it(format_: str, tmp_path: Path) -> None:
    """MobileNet's features, every kernel rounded: the error without and with the correction."""
    from edge.training.backbones import backbone
    from edge.training.weights import load_base

    coarse = np.random.default_rng(0).integers(0, 256, (24, 6, 6, 3), np.uint8)
    np.save(tmp_path / "pixels.npy", coarse.repeat(16, axis=1).repeat(16, axis=2))
    base = load_base(backbone("mobilenet"), 96, "imagenet", 0).model
    model = quantizable(base, tmp_path / "pixels.npy")[format_]
    wanted = answers(model.graph(), format_, model.calibration)
    corrected = model.graph()
    model.correct(corrected, ())
    plain, mended = (
        np.sqrt(np.mean((answers(rounded(model, graph), format_, model.calibration) - wanted) ** 2))
        for graph in (model.graph(), corrected)
    )
    assert mended < plain / 2
