"""What the counts must know about ONNX's operators.

Layouts are those of the ONNX operator reference: activations NC..., Conv weights
(out, in / groups, ...), ConvTranspose weights (in, out / groups, ...).
"""

from collections.abc import Callable
from math import prod
from typing import Final

from edge.inspection import mult_adds
from edge.inspection.graph import Dialect, Node, UnknownShapeError


def _convolution(weights: int) -> Callable[[Node], int]:
    """Formula of a convolution whose weights are the input at that position."""

    def formula(node: Node) -> int:
        output, kernel = node.output_shape(), node.input_shape(weights)
        if len(output) != len(kernel) or len(output) < 3:
            raise UnknownShapeError
        return mult_adds.convolution(
            output_positions=output[0] * prod(output[2:]),
            kernel_positions=prod(kernel[2:]),
            in_channels=kernel[1],  # already divided by the groups
            out_channels=kernel[0],
        )

    return formula


def _transposed(node: Node) -> int:
    source, kernel = node.input_shape(0), node.input_shape(1)
    if len(source) != len(kernel) or len(source) < 3:
        raise UnknownShapeError
    return mult_adds.transposed_convolution(
        input_positions=source[0] * prod(source[2:]),
        kernel_positions=prod(kernel[2:]),
        in_channels=kernel[0],
        out_channels=kernel[1],  # already divided by the groups
    )


def _gemm(node: Node) -> int:
    left = node.input_shape(0, rank=2)
    rows, columns = node.output_shape(rank=2)
    inner = left[0] if node.attributes.get("transA") else left[1]
    return mult_adds.fully_connected(rows=rows, in_features=inner, out_features=columns)


def _matmul(right: int) -> Callable[[Node], int]:
    """Formula of numpy's matmul of input 0 with the input at that position."""

    def formula(node: Node) -> int:
        a, b = node.input_shape(0), node.input_shape(right)
        if not a or not b:
            raise UnknownShapeError
        # With one-dimensional operands the output lacks an axis: extents come from a and b.
        batches = prod(node.output_shape()[:-2]) if min(len(a), len(b)) > 1 else 1
        return mult_adds.matrix_product(
            batches=batches,
            rows=a[-2] if len(a) > 1 else prod(b[:-2]),
            inner=a[-1],
            columns=b[-1] if len(b) > 1 else prod(a[:-2]),
        )

    return formula


def _recurrent(node: Node) -> int:
    """LSTM, GRU, RNN: X (steps, batch, in), W (directions, gates, in), R (..., hidden)."""
    steps, batch, _ = node.input_shape(0, rank=3)
    weights = prod(node.input_shape(1, rank=3)) + prod(node.input_shape(2, rank=3))
    return mult_adds.recurrent(steps=steps * batch, weights=weights)


ONNX: Final = Dialect(
    formulas={
        "Conv": _convolution(1),
        "ConvInteger": _convolution(1),
        "QLinearConv": _convolution(3),
        "ConvTranspose": _transposed,
        "Gemm": _gemm,
        "MatMul": _matmul(1),
        "MatMulInteger": _matmul(1),
        "QLinearMatMul": _matmul(3),
        "LSTM": _recurrent,
        "GRU": _recurrent,
        "RNN": _recurrent,
    },
    trained_inputs={
        "Conv": (1, 2),
        "ConvInteger": (1,),
        "QLinearConv": (3, 8),
        "ConvTranspose": (1, 2),
        "DeformConv": (1, 3),
        "Gemm": (0, 1, 2),
        "MatMul": (0, 1),
        "MatMulInteger": (0, 1),
        "QLinearMatMul": (0, 3),
        "LSTM": (1, 2, 3, 7),
        "GRU": (1, 2, 3),
        "RNN": (1, 2, 3),
        "BatchNormalization": (1, 2, 3, 4),
        "InstanceNormalization": (1, 2),
        "GroupNormalization": (1, 2),
        "LayerNormalization": (1, 2),
        "RMSNormalization": (1,),
        "PRelu": (1,),
    },
    elementwise=frozenset({"Add", "Sub", "Mul", "Div"}),
    tables=frozenset({"Gather"}),
    transparent=frozenset(
        {
            "DequantizeLinear",
            "QuantizeLinear",
            "Cast",
            "Identity",
            "Reshape",
            "Squeeze",
            "Transpose",
            "Unsqueeze",
        }
    ),
    uncounted=frozenset({"Attention", "DeformConv", "Einsum"}),
)
