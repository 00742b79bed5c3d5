"""Makes weighted operators ready to be quantized: rounds weights so that their errors cancel.

Weights of a pointwise operator are rounded input by input; what rounding one of them does to the
output is compensated by the inputs not yet rounded, as far as they vary together:

    w_later -= (w_i - q_i) * U[i, later] / U[i, i],    U = cholesky(inverse(covariance))^T

Source: E. Frantar, S. Ashkboos, T. Hoefler, D. Alistarh, "GPTQ: Accurate Post-Training
Quantization for Generative Pre-trained Transformers", ICLR 2023, algorithm 1, blocks included.
Theirs minimises the mean square error with E[x x^T]; here the mean error is taken out by the bias,
so that the covariance is what counts.

Rounding a kernel to int8 changes an operator's output by (w_q - w) * x. Over real images x has a
mean far from zero (activations after ReLU are never negative), so the change has a mean too: a
bias, which adds up from layer to layer. With E[x] from the calibration images it is known, and
subtracting it from the operator's bias costs nothing at run time:

    b' = b - sum((w_q - w) * E[x])

Source: M. Nagel, M. van Baalen, T. Blankevoort, M. Welling, "Data-Free Quantization Through Weight
Equalization and Bias Correction", ICCV 2019, section 4.2; E[x] is measured here, as in their
appendix. Weights are quantized symmetrically, per output channel, as both converters do.

Where kernels add two products in 16 bits (``edge.modelfile.pairs``), each output's step is as large
as its own pairs need: no two weights that are added have more than ``MOST`` levels together.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.modelfile.pairs import MOST, adds_pairs, largest_pairs

LEVELS: Final = 127  # of int8 weights, symmetric and without -128, in both formats' quantizers
DAMPING: Final = 0.01  # share of the mean variance that is added to each: the paper's value
BLOCK: Final = 128  # inputs whose compensation is applied at once to those after them


def nearest(
    kernel: NDArray[np.floating[Any]],
    axes: tuple[int, ...] | None = None,
    *,
    scale: NDArray[np.float64] | None = None,
) -> NDArray[np.float32]:
    """Round each weight to the nearest level of its output's scale.

    Args:
        kernel: The weights.
        axes: The axes that belong to one output; all but the first where they are not given.
        scale: The real value of one level per output, as ``scales`` gives it; its by default.
    """
    scale = scales(kernel, axes) if scale is None else scale
    rounded: NDArray[np.float32] = (np.rint(kernel / scale) * scale).astype(np.float32)
    return rounded


def scales(
    kernel: NDArray[np.floating[Any]], axes: tuple[int, ...] | None = None
) -> NDArray[np.float64]:
    """Return the real value of one level per output, as both quantizers choose it.

    Args:
        kernel: The weights.
        axes: See ``nearest``; they have an extent of 1 in the result.
    """
    axes = tuple(range(1, kernel.ndim)) if axes is None else axes
    peak = np.abs(kernel).max(axis=axes, keepdims=True).astype(np.float64)
    return np.where(peak > 0, peak / LEVELS, 1.0)


def paired_scales(kernel: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the real value of one level per output, by which no pair of weights overflows.

    Args:
        kernel: (outputs, inputs per group, positions).

    Returns:
        (outputs, 1, 1).
    """
    pairs = largest_pairs(kernel)
    # Either of the two may be rounded up by half a level.
    return np.where(pairs > 0, pairs / (MOST - 1), 1.0)[:, np.newaxis, np.newaxis]


def compensated(
    kernel: NDArray[np.float32],
    covariance: NDArray[np.float32],
    paired: NDArray[np.float64] | None = None,
) -> NDArray[np.float32]:
    """Round a kernel to the levels of its outputs' scales, errors compensated.

    Args:
        kernel: (outputs, inputs).
        covariance: The covariance of the inputs over images and positions, (inputs, inputs).
        paired: The real value of one level per output, (outputs,), where two neighbouring weights
            may have ``MOST`` levels together; by default, that of ``scales`` and no such limit.

    Returns:
        (outputs, inputs). By default the largest weight of each output is as it was, so that a
        quantizer finds the same scale and every weight on a level of it. ``nearest`` of the kernel
        if the covariance cannot be inverted.
    """
    factor = _inverse_factor(covariance)
    if factor is None:
        return nearest(kernel, scale=None if paired is None else paired[:, np.newaxis])
    order = np.argsort(-np.diag(covariance), kind="stable")  # the ones that matter most first
    scale = (scales(kernel)[:, 0] if paired is None else paired).astype(np.float32)
    peak = np.abs(kernel).argmax(axis=1)
    weights = kernel.T[order].copy()  # (inputs, outputs): a step works on a row
    # By place; a last input without a neighbour has one that stays 0.
    levels = np.zeros((len(weights) + 1, len(kernel)), np.float32)
    for start in range(0, len(weights), BLOCK):
        stop = min(start + BLOCK, len(weights))
        errors = np.empty_like(weights[start:stop])
        for row in range(start, stop):
            place = order[row]
            level = np.clip(np.rint(weights[row] / scale), -LEVELS, LEVELS)
            if paired is None:
                level = np.where(peak == place, kernel[:, place] / scale, level)
            else:
                neighbour = levels[place ^ 1]  # 0 while it is not rounded yet
                level = np.clip(
                    level, -MOST - np.minimum(neighbour, 0), MOST - np.maximum(neighbour, 0)
                )
            levels[place] = level
            errors[row - start] = (weights[row] - level * scale) / factor[row, row]
            weights[row + 1 : stop] -= np.outer(factor[row, row + 1 : stop], errors[row - start])
        weights[stop:] -= factor[start:stop, stop:].T @ errors
    result = levels[:-1].T * scale[:, np.newaxis]
    if paired is None:
        rows = np.arange(len(kernel))
        result[rows, peak] = kernel[rows, peak]
    return result


def _inverse_factor(covariance: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """The upper Cholesky factor of the inverse, inputs in the order of their variance."""
    variance = np.diag(covariance)
    order = np.argsort(-variance, kind="stable")
    matrix = covariance[np.ix_(order, order)].astype(np.float64)
    matrix[np.diag_indices_from(matrix)] += max(DAMPING * float(variance.mean()), 1e-12)
    try:
        factor = np.linalg.cholesky(np.linalg.inv(matrix)).T
    except np.linalg.LinAlgError:
        return None
    return factor.astype(np.float32) if np.isfinite(factor).all() else None


BIAS_LEVELS: Final = 2**28  # a bias stays below, an eighth of int32: sums are added to it


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedOperator:
    """An operator with constant weights, in floats, batch normalization folded.

    Attributes:
        name: The name of the layer in its file.
        kernel: float32 (outputs, inputs per group, positions).
        bias: float32 (outputs,).
        groups: How many groups of inputs and outputs there are; as many as inputs in a depthwise
            convolution.
        steps: The real value of one level of each output's weights, float64 (outputs,), where they
            are to be rounded to these levels; None where the quantizer chooses them.
    """

    name: str
    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    groups: int = 1
    steps: NDArray[np.float64] | None = None

    @property
    def is_pointwise(self) -> bool:
        """Whether every output sees every input at one position only."""
        return self.groups == 1 and self.kernel.shape[2] == 1

    @property
    def adds_pairs(self) -> bool:
        """Whether kernels may add two of its products in 16 bits; see ``edge.modelfile.pairs``."""
        return adds_pairs(self.kernel, self.groups)


def corrected(
    layer: WeightedOperator,
    mean: NDArray[np.float64],
    input_scale: float,
    covariance: NDArray[np.float32] | None = None,
    *,
    paired: bool = False,
) -> WeightedOperator:
    """Make a layer ready to be rounded.

    Args:
        layer: A layer in floats.
        mean: The mean of the layer's input over images and positions, (inputs,).
        input_scale: The real value of one step of the quantized input.
        covariance: The covariance of the layer's input, (inputs, inputs), for a pointwise layer of
            one group: its weights are then rounded here already, so that their errors cancel.
        paired: Whether the format's kernels add two products in 16 bits.
    """
    kernel, scale = _lifted(layer, input_scale), None
    if paired and layer.adds_pairs:
        scale = paired_scales(kernel)
    steps = None if scale is None else scale[:, 0, 0]
    if covariance is not None:
        kernel = compensated(kernel[:, :, 0], covariance, steps)[:, :, np.newaxis]
    error = nearest(kernel, scale=scale).astype(np.float64) - layer.kernel
    added = _response(error.sum(axis=2), mean, layer.groups)
    bias = (layer.bias - added).astype(np.float32)
    return replace(layer, kernel=kernel, bias=bias, steps=steps)


def _response(
    weights: NDArray[np.float64], mean: NDArray[np.float64], groups: int
) -> NDArray[np.float64]:
    """What (outputs, inputs per group) answers to a mean input (inputs,): (outputs,)."""
    grouped = weights.reshape(groups, -1, weights.shape[1])
    answers: NDArray[np.float64] = np.einsum("goi,gi->go", grouped, mean.reshape(groups, -1))
    return answers.reshape(-1)


def _lifted(layer: WeightedOperator, input_scale: float) -> NDArray[np.float32]:
    """The kernel, with the peak of nearly dead channels raised.

    A bias is stored in steps of input scale * weight scale. A channel of tiny weights has tiny
    steps: its bias overflows int32, and the channel answers nonsense. Raising its largest weight
    to where the bias fits changes the answer by less than 255 * 127 / 2**28 of the bias.
    """
    kernel = layer.kernel.reshape(len(layer.kernel), -1)
    least = LEVELS * np.abs(layer.bias) / (BIAS_LEVELS * max(input_scale, 1e-30))
    peak = np.abs(kernel).max(axis=1)
    low = peak < least
    if not low.any():
        return layer.kernel
    lifted = kernel.copy()
    rows, columns = np.flatnonzero(low), np.abs(kernel).argmax(axis=1)[low]
    signs = np.where(kernel[rows, columns] < 0, -1.0, 1.0)
    lifted[rows, columns] = signs * least[low]
    return lifted.reshape(layer.kernel.shape)
