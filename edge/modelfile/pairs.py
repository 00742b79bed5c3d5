"""Int8 weights whose products overflow where a processor adds two of them in 16 bits.

x86 processors without VNNI multiply a pair of uint8 activations by a pair of int8 weights and add
the two products in 16 bits (VPMADDUBSW). 255 * 127 * 2 does not fit: the sum is cut off, without a
word, and ONNX Runtime's answers are other ones than on Arm or on newer x86. Its quantization guide
knows this, and advises to spend a bit of every weight (``reduce_range``).
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.modelfile.onnx import attribute, by_output, is_external

MOST: Final = 128  # levels of one sign that two added weights may have: 255 * 128 < 2**15
# By operator: the positions of the activation's zero point and of the weights.
_INTEGER: Final = {
    "QLinearConv": (2, 3),
    "QLinearMatMul": (2, 3),
    "QGemm": (2, 3),
    "ConvInteger": (2, 1),
    "MatMulInteger": (2, 1),
}
_REAL: Final = ("Conv", "Gemm", "MatMul")


def largest_pairs(kernel: NDArray[Any]) -> NDArray[np.float64]:
    """Return the largest sum of two added weights of one sign, for each output.

    ONNX Runtime adds neighbouring inputs at one position, the first to the second and so on,
    through all positions (measured on a processor without VNNI: convolutions with one and with
    several positions, grouped ones, matrix products).

    Args:
        kernel: (outputs, inputs per group, positions).

    Returns:
        (outputs,).
    """
    flat = kernel.transpose(0, 2, 1).reshape(len(kernel), -1).astype(np.float64)
    flat = np.pad(flat, ((0, 0), (0, flat.shape[1] % 2)))
    signs = [np.maximum(sign * flat, 0) for sign in (1, -1)]
    sums = np.stack([part[:, ::2] + part[:, 1::2] for part in signs])
    largest: NDArray[np.float64] = sums.max(axis=(0, 2), initial=0)
    return largest


def adds_pairs(kernel: NDArray[Any], groups: int) -> bool:
    """Return whether a layer is computed so: not one in which each input has its own output.

    Args:
        kernel: (outputs, inputs per group, positions).
        groups: How many groups there are.
    """
    return not (kernel.shape[1] == 1 and groups == len(kernel) > 1)


def overflowing(model: Any) -> tuple[int, int]:
    """Count the layers of a ModelProto whose weights overflow, and those of int8 weights.

    Layers are convolutions and matrix products of uint8 activations and stored int8 weights, in
    the QDQ form and as integer operators, of the main graph.
    """
    import onnx

    stored = {item.name: item for item in model.graph.initializer}
    writers = {name: node for node in model.graph.node for name in node.output}

    def is_unsigned(name: str) -> bool:
        point = stored.get(name)
        return point is None or point.data_type == onnx.TensorProto.UINT8

    def integers(name: str) -> tuple[str, str] | None:
        """The integer tensor and the zero point that a real one is made of."""
        node = writers.get(name)
        if node is None or node.op_type != "DequantizeLinear":
            return None
        return node.input[0], node.input[2] if len(node.input) > 2 else ""

    found = layers = 0
    for node in model.graph.node:
        point, weights = _operands(node, integers)
        item = stored.get(weights)
        if item is None or item.data_type != onnx.TensorProto.INT8 or not is_unsigned(point):
            continue
        if is_external(item):
            continue
        kernel = by_output(node, onnx.numpy_helper.to_array(item))
        if kernel is None or not adds_pairs(kernel, attribute(node, "group", 1)):
            continue
        layers += 1
        found += bool((largest_pairs(kernel) > MOST).any())
    return found, layers


def _operands(node: Any, integers: Callable[[str], tuple[str, str] | None]) -> tuple[str, str]:
    """The zero point of a layer's activation and its weights; empty for anything else."""
    if node.op_type in _INTEGER:
        point, weights = _INTEGER[node.op_type]
        if len(node.input) > weights:
            return node.input[point] if len(node.input) > point else "", node.input[weights]
    elif node.op_type in _REAL and len(node.input) > 1:
        activation, kernel = map(integers, node.input[:2])
        if activation is not None and kernel is not None:
            return activation[1], kernel[0]
    return "", ""
