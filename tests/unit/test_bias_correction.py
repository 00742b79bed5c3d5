"""Bias correction of one layer: the mean error goes, and a bias fits into int32."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from converters.rounding import BIAS_LEVELS, WeightedOperator, corrected, nearest, scales

POSITIONS = 9  # of a 3 x 3 kernel
INPUT_SCALE = 6 / 255  # of a ReLU6


def windows(inputs: int, positions: int) -> NDArray[np.float64]:
    """What a kernel sees of never negative activations, (windows, inputs, positions).

    The image is a ring, so that each position of the kernel sees the image's mean exactly.
    """
    random = np.random.default_rng(0)
    ring = np.maximum(random.normal(0.5, 1.5, (inputs, 300)), 0) * random.uniform(0, 2, (inputs, 1))
    return np.stack([np.roll(ring, -shift, axis=1).T for shift in range(positions)], axis=-1)


def answers(layer: WeightedOperator, seen: NDArray[np.float64]) -> NDArray[np.float64]:
    """(windows, outputs) of the layer with its kernel in int8, as the integer file has it."""
    return in_floats(replace(layer, kernel=nearest(layer.kernel)), seen)


def in_floats(layer: WeightedOperator, seen: NDArray[np.float64]) -> NDArray[np.float64]:
    kernel = layer.kernel.astype(np.float64)
    outputs, inputs, positions = kernel.shape
    kernel = kernel.reshape(layer.groups, outputs // layer.groups, inputs, positions)
    grouped = seen.reshape(len(seen), layer.groups, inputs, positions)
    found: NDArray[np.float64] = np.einsum("goip,ngip->ngo", kernel, grouped)
    return found.reshape(len(seen), outputs) + layer.bias


def make(outputs: int, inputs: int, positions: int, groups: int) -> WeightedOperator:
    random = np.random.default_rng(1)
    return WeightedOperator(
        name="layer",
        kernel=random.normal(0, 0.3, (outputs, inputs // groups, positions)).astype(np.float32),
        bias=random.normal(0, 0.5, outputs).astype(np.float32),
        groups=groups,
    )


LAYERS = {
    "dense": make(10, 24, 1, 1),
    "conv": make(10, 24, POSITIONS, 1),
    "grouped": make(12, 24, POSITIONS, 4),
    "depthwise": make(24, 24, POSITIONS, 24),
    "depthwise with a multiplier": make(48, 24, POSITIONS, 24),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_mean_error_of_rounded_weights_is_gone(name: str) -> None:
    layer = LAYERS[name]
    seen = windows(24, layer.kernel.shape[2])
    wanted = in_floats(layer, seen).mean(axis=0)
    plain = np.abs(answers(layer, seen).mean(axis=0) - wanted).max()
    ready = corrected(layer, seen.mean(axis=(0, 2)), INPUT_SCALE)
    assert plain > 1e-3  # there is something to correct
    assert answers(ready, seen).mean(axis=0) == pytest.approx(wanted, abs=1e-5)
    assert np.array_equal(ready.kernel, layer.kernel)
    assert (ready.name, ready.groups) == (layer.name, layer.groups)


def test_with_a_covariance_the_mean_and_the_spread_of_the_error_go() -> None:
    layer, random = LAYERS["dense"], np.random.default_rng(2)
    seen = np.maximum(random.normal(0, 1, (500, 4)) @ random.normal(0.3, 1, (4, 24)), 0)[..., None]
    mean, covariance = seen[..., 0].mean(axis=0), np.cov(seen[..., 0].T).astype(np.float32)
    wanted = in_floats(layer, seen)
    plain = answers(corrected(layer, mean, INPUT_SCALE), seen) - wanted
    found = answers(corrected(layer, mean, INPUT_SCALE, covariance), seen) - wanted
    assert np.abs(found.mean(axis=0)).max() < 1e-5
    assert found.std() < 0.7 * plain.std()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("weight", [1e-9, 1e-20, 0.0])
def test_the_bias_of_a_nearly_dead_channel_fits(weight: float, sign: int) -> None:
    layer = LAYERS["dense"]
    kernel, bias = layer.kernel.copy(), layer.bias.copy()
    kernel[3] *= weight
    bias[3] = 1.7 * sign
    layer = replace(layer, kernel=kernel, bias=bias)
    seen = np.minimum(windows(24, 1), 255 * INPUT_SCALE)
    ready = corrected(layer, seen.mean(axis=(0, 2)), INPUT_SCALE)
    steps = ready.bias / (INPUT_SCALE * scales(ready.kernel)[:, 0, 0])
    unmended = layer.bias[3] / (INPUT_SCALE * max(weight * 1e-3, 1e-30))
    assert abs(unmended) > 2**31  # what would have overflowed
    assert np.abs(steps).max() < 1.001 * BIAS_LEVELS
    change = answers(ready, seen)[:, 3] - in_floats(layer, seen)[:, 3]
    assert np.abs(change).max() < 255 * 127 / BIAS_LEVELS * 1.7
    others = np.arange(len(kernel)) != 3
    assert np.array_equal(ready.kernel[others], layer.kernel[others])


def test_a_living_channel_is_not_lifted() -> None:
    layer = LAYERS["conv"]
    assert np.array_equal(corrected(layer, np.zeros(24), 1e-6).kernel, layer.kernel)
