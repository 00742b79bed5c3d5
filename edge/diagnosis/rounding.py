"""Kernels of Keras layers as an int8 file holds them."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

LEVELS: Final = 127  # of int8, symmetric and without -128: TFLite's and ONNX Runtime's weights
# Keras class -> {kernel: its axes that belong to one output channel}. Folding batch normalization
# scales a channel as a whole and changes nothing about its rounding.
KERNELS: Final[dict[str, dict[str, tuple[int, ...]]]] = {
    "Conv1D": {"kernel": (0, 1)},
    "Conv2D": {"kernel": (0, 1, 2)},
    "Conv2DTranspose": {"kernel": (0, 1, 3)},
    "DepthwiseConv2D": {"kernel": (0, 1)},
    "SeparableConv2D": {"depthwise_kernel": (0, 1), "pointwise_kernel": (0, 1, 2)},
    "Dense": {"kernel": (0,)},
}


def round_kernels(model: Any) -> None:
    """Round every kernel of a Keras model, and of the models inside it, in place."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            round_kernels(layer)
        for name, axes in KERNELS.get(type(layer).__name__, {}).items():
            variable = getattr(layer, name)
            variable.assign(rounded(np.asarray(variable, np.float64), axes))


def rounded(kernel: NDArray[np.float64], axes: tuple[int, ...]) -> NDArray[np.float64]:
    """Real values of a kernel that is quantized symmetrically, per output channel."""
    peak = np.abs(kernel).max(axis=axes, keepdims=True)
    scale = np.where(peak > 0, peak / LEVELS, 1.0)
    values: NDArray[np.float64] = np.rint(kernel / scale) * scale
    return values
