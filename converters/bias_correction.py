"""Takes the mean error of quantized weights out of every layer's output, before quantization.

Rounding a kernel to int8 changes a layer's output by (w_q - w) * x. Over real images x has a mean
far from zero (activations after ReLU are never negative), so the change has a mean too: a bias,
which adds up from layer to layer. With E[x] from the calibration images it is known, and
subtracting it from the layer's bias costs nothing at run time:

    b' = b - sum((w_q - w) * E[x])

Source: M. Nagel, M. van Baalen, T. Blankevoort, M. Welling, "Data-Free Quantization Through Weight
Equalization and Bias Correction", ICCV 2019, section 4.2; E[x] is measured here, as in their
appendix. Weights are quantized symmetrically, per output channel, as both converters do.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from converters.rounding import LEVELS, compensated, nearest

BIAS_LEVELS: Final = 2**28  # a bias stays below, an eighth of int32: sums are added to it


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """An operator with constant weights, in floats, batch normalization folded.

    Attributes:
        name: Of the layer in its file.
        kernel: float32 (outputs, inputs per group, positions).
        bias: float32 (outputs,).
        groups: Of inputs and outputs; as many as inputs in a depthwise convolution.
    """

    name: str
    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    groups: int = 1

    @property
    def is_pointwise(self) -> bool:
        """Whether every output sees every input at one position only."""
        return self.groups == 1 and self.kernel.shape[2] == 1


def corrected(
    layer: Layer,
    mean: NDArray[np.float64],
    input_scale: float,
    covariance: NDArray[np.float32] | None = None,
) -> Layer:
    """The layer, made ready to be rounded.

    Args:
        layer: In floats.
        mean: Of the layer's input over images and positions, (inputs,).
        input_scale: Real value of one step of the quantized input.
        covariance: Of the layer's input, (inputs, inputs), for a pointwise layer of one group:
            its weights are then rounded here already, so that their errors cancel.
    """
    ready = replace(layer, kernel=_lifted(layer, input_scale))
    if covariance is not None:
        rounded = compensated(ready.kernel[:, :, 0], covariance)[:, :, np.newaxis]
        ready = replace(ready, kernel=rounded)
    error = nearest(ready.kernel).astype(np.float64) - layer.kernel
    added = _response(error.sum(axis=2), mean, layer.groups)
    return replace(ready, bias=(layer.bias - added).astype(np.float32))


def _response(
    weights: NDArray[np.float64], mean: NDArray[np.float64], groups: int
) -> NDArray[np.float64]:
    """What (outputs, inputs per group) answers to a mean input (inputs,): (outputs,)."""
    grouped = weights.reshape(groups, -1, weights.shape[1])
    answers: NDArray[np.float64] = np.einsum("goi,gi->go", grouped, mean.reshape(groups, -1))
    return answers.reshape(-1)


def _lifted(layer: Layer, input_scale: float) -> NDArray[np.float32]:
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
