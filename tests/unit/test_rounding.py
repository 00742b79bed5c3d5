"""Rounding whose errors cancel: on the quantizer's own levels, and better than the nearest one."""

import numpy as np
import pytest
from numpy.typing import NDArray

from converters.rounding import BLOCK, DAMPING, LEVELS, compensated, nearest, scales

Matrix = NDArray[np.float32]


def correlated(inputs: int, seed: int) -> Matrix:
    """Covariance (inputs, inputs) of inputs that share a few causes, as channels do."""
    random = np.random.default_rng(seed)
    causes = random.normal(0, 1, (400, 6)) @ random.normal(0, 1, (6, inputs))
    rows = np.maximum(causes + random.normal(0, 0.3, causes.shape), 0)
    return np.asarray(np.cov(rows.T), np.float32)


def weights(outputs: int, inputs: int, seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).normal(0, 1, (outputs, inputs)).astype(np.float32)


def error(kernel: Matrix, rounded: Matrix, covariance: Matrix) -> NDArray[np.float64]:
    """Mean square error of each output once its mean error is taken out: d^T C d."""
    difference = rounded.astype(np.float64) - kernel
    found: NDArray[np.float64] = np.einsum("oi,ij,oj->o", difference, covariance, difference)
    return found


def one_by_one(kernel: Matrix, covariance: Matrix) -> NDArray[np.float64]:
    """The paper's algorithm as it is stated: no blocks, one output and one weight at a time."""
    order = np.argsort(-np.diag(covariance), kind="stable")
    damped = covariance[np.ix_(order, order)].astype(np.float64)
    damped += DAMPING * np.diag(covariance).mean() * np.eye(len(damped))
    upper = np.linalg.cholesky(np.linalg.inv(damped)).T
    result = np.empty(kernel.shape)
    for output, row in enumerate(kernel.astype(np.float64)):
        scale, left = np.abs(row).max() / LEVELS, row[order].copy()
        for step, source in enumerate(order):
            level = np.clip(np.rint(left[step] / scale), -LEVELS, LEVELS) * scale
            if source == np.abs(row).argmax():
                level = row[source]
            left[step + 1 :] -= (left[step] - level) / upper[step, step] * upper[step, step + 1 :]
            result[output, source] = level
    return result


def test_nearest_takes_the_nearest_level_of_each_output() -> None:
    kernel = np.array([[127.0, 0.4, -3.6], [-0.254, 0.0029, 0.0], [0.0, 0.0, 0.0]], np.float32)
    expected = [[127, 0, -4], [-0.254, 0.002, 0], [0, 0, 0]]
    assert nearest(kernel) == pytest.approx(np.array(expected), abs=1e-7)
    assert scales(kernel).ravel() == pytest.approx([1, 0.002, 1])


@pytest.mark.parametrize("inputs", [1, 7, 60, BLOCK + 40])
def test_every_weight_is_on_a_level_that_the_quantizer_finds(inputs: int) -> None:
    kernel, covariance = weights(9, inputs), correlated(max(inputs, 2), 1)[:inputs, :inputs]
    rounded = compensated(kernel, covariance)
    levels = rounded / scales(kernel)
    assert np.abs(levels - np.rint(levels)).max() < 1e-3
    assert np.abs(levels).max() < LEVELS + 1e-3
    assert scales(rounded) == pytest.approx(scales(kernel), rel=1e-6)
    # The quantizer rounds once more: nothing is left to be rounded.
    assert nearest(rounded) == pytest.approx(rounded, abs=1e-5)


def test_compensation_does_not_pass_the_largest_level() -> None:
    """What the first weight loses is twice as much for the second, which has no room for it."""
    kernel = np.array([[100.45, 126.9, 127.0]], np.float32)
    covariance = np.array([[4, 2, 0], [2, 1, 0], [0, 0, 0.1]], np.float32)
    assert compensated(kernel, covariance).tolist() == [[100, 127, 127]]
    assert compensated(kernel - [[0, 1, 0]], covariance).tolist() == [[100, 127, 127]]
    assert nearest(kernel - [[0, 1, 0]]).tolist() == [[100, 126, 127]]


def test_the_largest_weight_of_each_output_stays() -> None:
    kernel = weights(20, 50)
    rounded = compensated(kernel, correlated(50, 2))
    peak = np.abs(kernel).argmax(axis=1)
    rows = np.arange(len(kernel))
    assert np.array_equal(rounded[rows, peak], kernel[rows, peak])


@pytest.mark.parametrize("inputs", [16, 64, 200])
def test_the_error_is_smaller_than_that_of_nearest(inputs: int) -> None:
    kernel, covariance = weights(24, inputs), correlated(inputs, 3)
    plain = error(kernel, nearest(kernel), covariance)
    cancelled = error(kernel, compensated(kernel, covariance), covariance)
    assert cancelled.sum() < 0.5 * plain.sum()
    assert (cancelled < plain).mean() > 0.8


def test_independent_inputs_leave_nothing_to_compensate() -> None:
    kernel = weights(8, 40)
    covariance = np.diag(np.linspace(0.5, 3, 40)).astype(np.float32)
    assert compensated(kernel, covariance) == pytest.approx(nearest(kernel), abs=1e-6)


@pytest.mark.parametrize("inputs", [50, BLOCK, BLOCK + 1, 2 * BLOCK + 50])
def test_blocks_give_what_the_algorithm_without_them_gives(inputs: int) -> None:
    kernel, covariance = weights(6, inputs, seed=4), correlated(inputs, 5)
    rounded, expected = compensated(kernel, covariance), one_by_one(kernel, covariance)
    # A sum in another order may turn a weight that lies halfway between two levels.
    same = np.abs(rounded - expected) < 0.01 * scales(kernel)
    assert same.mean() > 0.97
    found = error(kernel, rounded, covariance).sum()
    assert found == pytest.approx(error(kernel, expected, covariance).sum(), rel=0.05)


def test_a_singular_covariance_is_no_obstacle() -> None:
    """Channels that are copies of one another, and dead ones."""
    kernel = weights(10, 30)
    cause = np.random.default_rng(0).normal(0, 1, (1, 30))
    cause[:, 20:] = 0
    covariance = (cause.T @ cause).astype(np.float32)
    assert np.linalg.matrix_rank(covariance) == 1
    rounded = compensated(kernel, covariance)
    assert error(kernel, rounded, covariance).sum() < (
        0.1 * error(kernel, nearest(kernel), covariance).sum()
    )
    unused = compensated(kernel, np.zeros_like(covariance))
    assert unused == pytest.approx(nearest(kernel), abs=1e-6)


@pytest.mark.parametrize("kind", ["indefinite", "not a number"])
def test_a_covariance_that_is_none_falls_back_to_nearest(kind: str) -> None:
    kernel, covariance = weights(4, 3), np.eye(3, dtype=np.float32)
    covariance[0, 1] = covariance[1, 0] = 5 if kind == "indefinite" else np.nan
    assert np.array_equal(compensated(kernel, covariance), nearest(kernel))


def test_an_output_without_weights_stays_so() -> None:
    kernel = weights(3, 20)
    kernel[1] = 0
    assert not compensated(kernel, correlated(20, 6))[1].any()


def test_what_is_given_stays_as_it_is() -> None:
    kernel, covariance = weights(5, 20), correlated(20, 7)
    before = kernel.copy(), covariance.copy()
    compensated(kernel, covariance)
    assert np.array_equal(kernel, before[0])
    assert np.array_equal(covariance, before[1])
