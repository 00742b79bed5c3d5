"""Bias correction: what rounding a kernel adds on average is taken out again."""

from pathlib import Path

import numpy as np
import pytest

from converters.bias_correction import KERNEL_AXES, bias_corrected
from converters.calibration import Calibration

pytestmark = pytest.mark.slow


@pytest.fixture
def calibration(tmp_path: Path) -> Calibration:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 12, 12, 3), np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    return Calibration(tmp_path / "pixels.npy", zero_point=40)


def _rounded(model):
    """The model with the kernels that an int8 file would hold."""
    for layer in model.layers:
        axes = KERNEL_AXES.get(type(layer).__name__)
        if axes:
            kernel = np.asarray(layer.kernel)
            scale = np.abs(kernel).max(axis=axes, keepdims=True) / 127
            layer.kernel.assign(np.rint(kernel / scale) * scale)
    return model


@pytest.mark.parametrize("kind", ["conv", "grouped", "depthwise", "dense"])
def test_the_mean_output_of_rounded_weights_is_that_of_the_floats(
    kind: str, calibration: Calibration
) -> None:
    import keras

    keras.utils.set_random_seed(1)
    image = keras.Input((12, 12, 3), name="image")
    tensor = image
    if kind == "conv":
        tensor = keras.layers.Conv2D(5, 3, use_bias=False)(tensor)
    elif kind == "grouped":
        tensor = keras.layers.Conv2D(6, 3, groups=3)(tensor)
    elif kind == "depthwise":
        tensor = keras.layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False)(tensor)
    else:
        tensor = keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(tensor))
    model = keras.Model(image, tensor)
    images = np.concatenate(list(calibration))

    def mean(candidate: "keras.Model") -> np.ndarray:
        answer = candidate.predict(images, verbose=0)
        return answer.mean(axis=tuple(range(answer.ndim - 1)))

    wanted = mean(model)
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    plain_error = np.abs(mean(_rounded(copy)) - wanted).max()
    corrected_error = np.abs(mean(_rounded(bias_corrected(model, calibration))) - wanted).max()

    # A 3 x 3 window sees the border pixels less often than the image's mean does.
    assert corrected_error < plain_error / (50 if kind == "dense" else 5)
    assert np.array_equal(mean(model), wanted), "the model itself must not change"


def test_the_whole_network_loses_less_with_it(tmp_path: Path) -> None:
    """MobileNet's features, every kernel rounded: the error without and with the correction."""
    import keras

    from converters.pixel_input import pixel_model
    from edge.training.backbones import backbone
    from edge.training.weights import load_base

    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (24, 6, 6, 3), np.uint8)
    np.save(tmp_path / "pixels.npy", coarse.repeat(16, axis=1).repeat(16, axis=2))
    pixels = pixel_model(load_base(backbone("mobilenet"), 96, "imagenet", 0).model)
    calibration = Calibration(tmp_path / "pixels.npy", pixels.zero_point)
    images = np.concatenate(list(calibration))
    wanted = pixels.model.predict(images, verbose=0)
    plain = keras.models.clone_model(pixels.model)
    plain.set_weights(pixels.model.get_weights())

    def error(candidate: "keras.Model") -> float:
        return float(
            np.sqrt(np.mean((_rounded(candidate).predict(images, verbose=0) - wanted) ** 2))
        )

    assert error(bias_corrected(pixels.model, calibration)) < error(plain) / 2
