"""A layer's errors over many images, and what rounding explains of them."""

import numpy as np
import pytest

from converters.rounding import nearest
from edge.diagnosis.layers import Layer, LayerTensor, Tensor
from edge.diagnosis.probe import LayerSums

STEP = 1 / 16


def _sums(step: float | None = STEP, precision: str = "int8") -> LayerSums:
    layer = Layer("conv", "Conv2D", (8, 8, 4))
    return LayerSums(LayerTensor(layer, Tensor("conv", layer.shape, step), None), precision)


def _image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 255 * STEP, (1, 8, 8, 4)).astype(np.float32)


def _rounded(values: np.ndarray, step: float) -> np.ndarray:
    return (np.rint(values / step) * step).astype(np.float32)


def test_rounding_the_output_is_explained() -> None:
    sums = _sums()
    for seed in range(20):
        values = _image(seed)
        sums.add(values, _rounded(values, STEP), values, values, _rounded(values, STEP))
    found = sums.result()
    assert found.excess == pytest.approx(1.0, abs=0.05)
    assert found.accumulated == found.alone
    assert found.sqnr_db == pytest.approx(-20 * np.log10(found.accumulated))


def test_a_needlessly_coarse_step_is_not_explained() -> None:
    sums = _sums(step=40 * STEP)
    for seed in range(20):
        values = _image(seed)
        sums.add(values, _rounded(values, 40 * STEP), values, values, _rounded(values, 40 * STEP))
    assert sums.result().excess > 10


def test_rounding_the_weights_is_explained() -> None:
    sums = _sums()
    for seed in range(5):
        values = _image(seed)
        file = values + np.float32(0.5)
        sums.add(values, file, values, file, file)
    assert sums.result().excess == pytest.approx(1.0, abs=0.05)


def test_float_files_explain_next_to_nothing() -> None:
    sums = _sums(step=None, precision="fp32")
    file = _image(0) * np.float32(1.01)
    sums.add(_image(0), file, _image(0), None, file)
    assert sums.result().alone == pytest.approx(0.01, rel=0.01)
    assert sums.result().excess > 100


@pytest.mark.parametrize(
    ("value", "said"), [(0.0, "all zero"), (3.0, "constant"), (np.nan, "NaN"), (np.inf, "NaN")]
)
def test_dead_layers(value: float, said: str) -> None:
    sums = _sums()
    for seed in range(3):
        file = np.full((1, 8, 8, 4), value, np.float32)
        sums.add(_image(seed), file, _image(seed), _image(seed), file)
    assert sums.result().failure == said


def test_a_layer_that_is_constant_in_keras_is_not_dead() -> None:
    sums = _sums()
    zeros = np.zeros((1, 8, 8, 4), np.float32)
    sums.add(zeros, zeros, zeros, zeros, zeros)
    found = sums.result()
    assert (found.failure, found.accumulated, found.alone, found.excess) == ("", None, None, None)


def test_a_layer_that_varies_by_less_than_a_step_is_not_dead() -> None:
    sums = _sums()
    values = np.linspace(0.49 * STEP, 0.51 * STEP, 256, dtype=np.float32).reshape(1, 8, 8, 4)
    file = np.full_like(values, STEP)
    sums.add(values, file, values, values, file)
    assert sums.result().failure == ""


def test_kernels_are_rounded_per_output_channel() -> None:
    kernel = np.array([[1.0, 100.0], [0.004, 0.5]])
    expected = [[1.0, 100.0], [1 / 127, 100 / 127]]
    np.testing.assert_allclose(nearest(kernel, (0,)), expected)
    np.testing.assert_array_equal(nearest(np.zeros((2, 2)), (0,)), np.zeros((2, 2)))
