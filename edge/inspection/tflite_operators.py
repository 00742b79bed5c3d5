"""What the counts must know about TFLite's operators.

Layouts are those of the TFLite operator reference: activations NHWC, CONV_2D weights
(out, height, width, in / groups), DEPTHWISE_CONV_2D weights (1, height, width, out),
TRANSPOSE_CONV weights (out, height, width, in), CONV_3D weights (depth, height, width, in, out).
"""

from math import prod
from typing import Final

from edge.inspection import mult_adds
from edge.inspection.graph import Dialect, Node, UnknownShapeError

# UNIDIRECTIONAL_SEQUENCE_LSTM and LSTM: 1-4 input, 5-8 recurrent, 9-11 peephole weights, 12-15
# biases, 16-17 projection, 20-23 layer normalization (tensorflow/lite/kernels/lstm_shared.h).
_LSTM_MATRICES: Final = (*range(1, 9), 16)
_LSTM_TRAINED: Final = (*range(1, 18), *range(20, 24))


def _convolution(node: Node) -> int:
    out_channels, *kernel, in_channels = node.input_shape(1, rank=4)
    return mult_adds.convolution(
        output_positions=prod(node.output_shape(rank=4)[:-1]),
        kernel_positions=prod(kernel),
        in_channels=in_channels,
        out_channels=out_channels,
    )


def _convolution_3d(node: Node) -> int:
    *kernel, in_channels, out_channels = node.input_shape(1, rank=5)
    return mult_adds.convolution(
        output_positions=prod(node.output_shape(rank=5)[:-1]),
        kernel_positions=prod(kernel),
        in_channels=in_channels,
        out_channels=out_channels,
    )


def _depthwise(node: Node) -> int:
    _, *kernel, out_channels = node.input_shape(1, rank=4)
    return mult_adds.depthwise_convolution(
        output_positions=prod(node.output_shape(rank=4)[:-1]),
        kernel_positions=prod(kernel),
        out_channels=out_channels,
    )


def _transposed(node: Node) -> int:
    out_channels, *kernel, in_channels = node.input_shape(1, rank=4)
    return mult_adds.transposed_convolution(
        input_positions=prod(node.input_shape(2, rank=4)[:-1]),
        kernel_positions=prod(kernel),
        in_channels=in_channels,
        out_channels=out_channels,
    )


def _fully_connected(node: Node) -> int:
    out_features, in_features = node.input_shape(1, rank=2)
    return mult_adds.fully_connected(
        rows=prod(node.input_shape(0)) // max(in_features, 1),
        in_features=in_features,
        out_features=out_features,
    )


def _batch_matmul(node: Node) -> int:
    left, output = node.input_shape(0), node.output_shape()
    if len(left) < 2 or len(output) < 2:
        raise UnknownShapeError
    return mult_adds.matrix_product(
        batches=prod(output[:-2]),
        rows=output[-2],
        inner=left[-2] if node.attributes.get("adj_x") else left[-1],
        columns=output[-1],
    )


def _lstm(node: Node) -> int:
    present = [i for i in _LSTM_MATRICES if i < len(node.inputs) and node.inputs[i] is not None]
    return mult_adds.recurrent(
        steps=prod(node.input_shape(0)[:-1]),
        weights=sum(prod(node.input_shape(position, rank=2)) for position in present),
    )


TFLITE: Final = Dialect(
    formulas={
        "CONV_2D": _convolution,
        "CONV_3D": _convolution_3d,
        "DEPTHWISE_CONV_2D": _depthwise,
        "TRANSPOSE_CONV": _transposed,
        "FULLY_CONNECTED": _fully_connected,
        "BATCH_MATMUL": _batch_matmul,
        "LSTM": _lstm,
        "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
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
