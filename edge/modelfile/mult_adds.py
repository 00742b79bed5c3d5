"""The multiply-adds of the operators that papers count, and what the counts know of the others.

A position is one index of a tensor's batch and spatial axes; "kernel positions" is the product of
the kernel's spatial extents, such as height x width. Every result is a count of multiply-adds
(one multiplication and one addition make one), biases left out.
"""

from collections.abc import Callable
from math import prod
from typing import Final

from edge.modelfile.graph import Dialect, Node, UnknownShapeError


def convolution(
    *,
    output_positions: int,
    kernel_positions: int,
    in_channels: int,
    out_channels: int,
    groups: int = 1,
) -> int:
    """Convolution of any rank; grouped when ``groups`` > 1.

    D_K * D_K * M * N * D_F * D_F for D_K x D_K kernels, M input and N output channels and a
    D_F x D_F output (Howard et al. 2017, "MobileNets", arXiv:1704.04861, section 3.1). With
    groups every output channel sees M / groups inputs (Krizhevsky et al. 2012, section 3.5).
    """
    return kernel_positions * (in_channels // groups) * out_channels * output_positions


def depthwise_convolution(
    *, output_positions: int, kernel_positions: int, out_channels: int
) -> int:
    """Depthwise convolution: one kernel per output channel.

    D_K * D_K * M * D_F * D_F (Howard et al. 2017, arXiv:1704.04861, section 3.1); with a channel
    multiplier there are ``out_channels`` = M * multiplier such kernels.
    """
    return kernel_positions * out_channels * output_positions


def transposed_convolution(
    *,
    input_positions: int,
    kernel_positions: int,
    in_channels: int,
    out_channels: int,
    groups: int = 1,
) -> int:
    """Transposed convolution: every input position is multiplied with the whole kernel.

    It swaps the forward and backward pass of a convolution (Dumoulin & Visin 2016, "A guide to
    convolution arithmetic", arXiv:1603.07285, chapter 4), so D_F is here the extent of the input.
    Products that fall on a cropped border are included.
    """
    return kernel_positions * in_channels * (out_channels // groups) * input_positions


def fully_connected(*, rows: int, in_features: int, out_features: int) -> int:
    """Fully connected layer on ``rows`` feature vectors: a matrix product with the weights."""
    return matrix_product(rows=rows, inner=in_features, columns=out_features)


def matrix_product(*, rows: int, inner: int, columns: int, batches: int = 1) -> int:
    """Product of (rows, inner) with (inner, columns), ``batches`` times.

    rows * inner * columns by the definition of the product, as in Howard et al. 2017 (section
    3.1) with D_K = D_F = 1; no fast algorithm is assumed.
    """
    return batches * rows * inner * columns


def recurrent(*, steps: int, weights: int) -> int:
    """LSTM, GRU or plain recurrent layer: every step uses every weight once.

    Per step the cost is the number of weights, 4 n_c^2 + 4 n_i n_c + n_c n_o for an LSTM with
    n_c cells, n_i inputs and n_o outputs (Sak, Senior & Beaufays 2014, arXiv:1402.1128, section
    2); the element-wise products of the gates and peepholes are left out.

    Args:
        steps: Time steps times batch.
        weights: Elements of the input, recurrent and projection matrices, all gates.
    """
    return steps * weights


# ---- TFLite. The layouts are those of its operator reference: activations NHWC, CONV_2D weights
# (out, height, width, in / groups), DEPTHWISE_CONV_2D weights (1, height, width, out),
# TRANSPOSE_CONV weights (out, height, width, in), CONV_3D weights (depth, height, width, in, out).

# UNIDIRECTIONAL_SEQUENCE_LSTM and LSTM: 1-4 input, 5-8 recurrent, 9-11 peephole weights, 12-15
# biases, 16-17 projection, 20-23 layer normalization (tensorflow/lite/kernels/lstm_shared.h).
_LSTM_MATRICES: Final = (*range(1, 9), 16)
_LSTM_TRAINED: Final = (*range(1, 18), *range(20, 24))


def _tflite_convolution(node: Node) -> int:
    out_channels, *kernel, in_channels = node.input_shape(1, rank=4)
    return convolution(
        output_positions=prod(node.output_shape(rank=4)[:-1]),
        kernel_positions=prod(kernel),
        in_channels=in_channels,
        out_channels=out_channels,
    )


def _tflite_convolution_3d(node: Node) -> int:
    *kernel, in_channels, out_channels = node.input_shape(1, rank=5)
    return convolution(
        output_positions=prod(node.output_shape(rank=5)[:-1]),
        kernel_positions=prod(kernel),
        in_channels=in_channels,
        out_channels=out_channels,
    )


def _tflite_depthwise(node: Node) -> int:
    _, *kernel, out_channels = node.input_shape(1, rank=4)
    return depthwise_convolution(
        output_positions=prod(node.output_shape(rank=4)[:-1]),
        kernel_positions=prod(kernel),
        out_channels=out_channels,
    )


def _tflite_transposed(node: Node) -> int:
    out_channels, *kernel, in_channels = node.input_shape(1, rank=4)
    return transposed_convolution(
        input_positions=prod(node.input_shape(2, rank=4)[:-1]),
        kernel_positions=prod(kernel),
        in_channels=in_channels,
        out_channels=out_channels,
    )


def _tflite_fully_connected(node: Node) -> int:
    out_features, in_features = node.input_shape(1, rank=2)
    return fully_connected(
        rows=prod(node.input_shape(0)) // max(in_features, 1),
        in_features=in_features,
        out_features=out_features,
    )


def _tflite_batch_matmul(node: Node) -> int:
    left, output = node.input_shape(0), node.output_shape()
    if len(left) < 2 or len(output) < 2:
        raise UnknownShapeError
    return matrix_product(
        batches=prod(output[:-2]),
        rows=output[-2],
        inner=left[-2] if node.attributes.get("adj_x") else left[-1],
        columns=output[-1],
    )


def _tflite_lstm(node: Node) -> int:
    present = [i for i in _LSTM_MATRICES if i < len(node.inputs) and node.inputs[i] is not None]
    return recurrent(
        steps=prod(node.input_shape(0)[:-1]),
        weights=sum(prod(node.input_shape(position, rank=2)) for position in present),
    )


TFLITE: Final = Dialect(
    formulas={
        "CONV_2D": _tflite_convolution,
        "CONV_3D": _tflite_convolution_3d,
        "DEPTHWISE_CONV_2D": _tflite_depthwise,
        "TRANSPOSE_CONV": _tflite_transposed,
        "FULLY_CONNECTED": _tflite_fully_connected,
        "BATCH_MATMUL": _tflite_batch_matmul,
        "LSTM": _tflite_lstm,
        "UNIDIRECTIONAL_SEQUENCE_LSTM": _tflite_lstm,
    },
    trained_inputs={
        "CONV_2D": (1, 2),
        "CONV_3D": (1, 2),
        "CONV_3D_TRANSPOSE": (1, 3),
        "DEPTHWISE_CONV_2D": (1, 2),
        "TRANSPOSE_CONV": (1, 3),
        "FULLY_CONNECTED": (1, 2),
        "BATCH_MATMUL": (0, 1),
        "LSTM": _LSTM_TRAINED,
        "UNIDIRECTIONAL_SEQUENCE_LSTM": _LSTM_TRAINED,
        "BIDIRECTIONAL_SEQUENCE_LSTM": (*range(1, 35),),
        "RNN": (1, 2, 3),
        "UNIDIRECTIONAL_SEQUENCE_RNN": (1, 2, 3),
        "SVDF": (1, 2, 3),
        "PRELU": (1,),
        "EMBEDDING_LOOKUP": (1,),
    },
    elementwise=frozenset({"ADD", "SUB", "MUL", "DIV"}),
    tables=frozenset({"GATHER"}),
    transparent=frozenset(
        {"DEQUANTIZE", "QUANTIZE", "DENSIFY", "CAST", "TRANSPOSE", "RESHAPE", "EXPAND_DIMS"}
    ),
    uncounted=frozenset(
        {
            "BIDIRECTIONAL_SEQUENCE_LSTM",
            "BIDIRECTIONAL_SEQUENCE_RNN",
            "CONV_3D_TRANSPOSE",
            "RNN",
            "STABLEHLO_CONVOLUTION",
            "STABLEHLO_DOT_GENERAL",
            "SVDF",
            "UNIDIRECTIONAL_SEQUENCE_RNN",
        }
    ),
)


# ---- ONNX. The layouts are those of its operator reference: activations NC..., Conv weights
# (out, in / groups, ...), ConvTranspose weights (in, out / groups, ...).


def _onnx_convolution(weights: int) -> Callable[[Node], int]:
    """Formula of a convolution whose weights are the input at that position."""

    def formula(node: Node) -> int:
        output, kernel = node.output_shape(), node.input_shape(weights)
        if len(output) != len(kernel) or len(output) < 3:
            raise UnknownShapeError
        return convolution(
            output_positions=output[0] * prod(output[2:]),
            kernel_positions=prod(kernel[2:]),
            in_channels=kernel[1],  # already divided by the groups
            out_channels=kernel[0],
        )

    return formula


def _onnx_transposed(node: Node) -> int:
    source, kernel = node.input_shape(0), node.input_shape(1)
    if len(source) != len(kernel) or len(source) < 3:
        raise UnknownShapeError
    return transposed_convolution(
        input_positions=source[0] * prod(source[2:]),
        kernel_positions=prod(kernel[2:]),
        in_channels=kernel[0],
        out_channels=kernel[1],  # already divided by the groups
    )


def _onnx_gemm(node: Node) -> int:
    left = node.input_shape(0, rank=2)
    rows, columns = node.output_shape(rank=2)
    inner = left[0] if node.attributes.get("transA") else left[1]
    return fully_connected(rows=rows, in_features=inner, out_features=columns)


def _onnx_matmul(right: int) -> Callable[[Node], int]:
    """Formula of numpy's matmul of input 0 with the input at that position."""

    def formula(node: Node) -> int:
        a, b = node.input_shape(0), node.input_shape(right)
        if not a or not b:
            raise UnknownShapeError
        # With one-dimensional operands the output lacks an axis: extents come from a and b.
        batches = prod(node.output_shape()[:-2]) if min(len(a), len(b)) > 1 else 1
        return matrix_product(
            batches=batches,
            rows=a[-2] if len(a) > 1 else prod(b[:-2]),
            inner=a[-1],
            columns=b[-1] if len(b) > 1 else prod(a[:-2]),
        )

    return formula


def _onnx_recurrent(node: Node) -> int:
    """LSTM, GRU, RNN: X (steps, batch, in), W (directions, gates, in), R (..., hidden)."""
    steps, batch, _ = node.input_shape(0, rank=3)
    weights = prod(node.input_shape(1, rank=3)) + prod(node.input_shape(2, rank=3))
    return recurrent(steps=steps * batch, weights=weights)


ONNX: Final = Dialect(
    formulas={
        "Conv": _onnx_convolution(1),
        "ConvInteger": _onnx_convolution(1),
        "QLinearConv": _onnx_convolution(3),
        "ConvTranspose": _onnx_transposed,
        "Gemm": _onnx_gemm,
        "MatMul": _onnx_matmul(1),
        "MatMulInteger": _onnx_matmul(1),
        "QLinearMatMul": _onnx_matmul(3),
        "LSTM": _onnx_recurrent,
        "GRU": _onnx_recurrent,
        "RNN": _onnx_recurrent,
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
