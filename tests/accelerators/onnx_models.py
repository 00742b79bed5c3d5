"""Small ONNX models with weights that give informative outputs, written by ``onnx.helper``."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

FLOAT: Final = TensorProto.FLOAT
IMAGE: Final = ("N", 3, 32, 32)


def classifier(path: Path, batch: int | str = "N") -> Path:
    """Two convolutions, pooling, a matrix product, a softmax: (N, 3, 32, 32) to (N, 10)."""
    output = helper.make_tensor_value_info("y", FLOAT, [batch, 10])
    nodes = [*_backbone(), helper.make_node("Softmax", ["g"], ["y"])]
    return _save(path, nodes, [_image(batch)], [output], _weights())


def classifier_with_unique(path: Path) -> Path:
    """The same with ``Unique`` in place of the softmax: no accelerator here knows that operator."""
    output = helper.make_tensor_value_info("y", FLOAT, [None])
    nodes = [*_backbone(), helper.make_node("Unique", ["g"], ["y"])]
    return _save(path, nodes, [_image("N")], [output], _weights())


def unique(path: Path) -> Path:
    """``Unique`` alone."""
    output = helper.make_tensor_value_info("y", FLOAT, [None])
    return _save(path, [helper.make_node("Unique", ["x"], ["y"])], [_image("N")], [output], {})


def heavy(path: Path, channels: int = 16) -> Path:
    """Three convolutions over (1, 3, 64, 64): a good tenth of a second on a software GPU."""
    random = np.random.default_rng(0)
    nodes, weights = [], {}
    tensor, depth = "x", 3
    for layer in range(3):
        values = random.standard_normal((channels, depth, 3, 3)) / np.sqrt(9 * depth)
        weights[f"w{layer}"] = values.astype(np.float32)
        nodes.append(
            helper.make_node("Conv", [tensor, f"w{layer}"], [f"c{layer}"], pads=[1, 1, 1, 1])
        )
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]))
        tensor, depth = f"r{layer}", channels
    nodes.append(helper.make_node("GlobalAveragePool", [tensor], ["y"]))
    image = helper.make_tensor_value_info("x", FLOAT, [1, 3, 64, 64])
    output = helper.make_tensor_value_info("y", FLOAT, [1, channels, 1, 1])
    return _save(path, nodes, [image], [output], weights)


def quantized(path: Path, operator: str, *operands: NDArray[Any]) -> Path:
    """One operator between quantizers to uint8, on (1, 8, 8, 8) in -4 to 4."""
    constants: dict[str, NDArray[Any]] = {
        "x_scale": np.float32(8 / 255),
        "y_scale": np.float32(20 / 255),
        "zero": np.uint8(128),
    }
    constants |= {f"operand{index}": operand for index, operand in enumerate(operands)}
    names = [f"operand{index}" for index in range(len(operands))]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x_scale", "zero"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "x_scale", "zero"], ["xd"]),
        helper.make_node(operator, ["xd", *names], ["o"]),
        helper.make_node("QuantizeLinear", ["o", "y_scale", "zero"], ["oq"]),
        helper.make_node("DequantizeLinear", ["oq", "y_scale", "zero"], ["y"]),
    ]
    tensors = [helper.make_tensor_value_info(name, FLOAT, [1, 8, 8, 8]) for name in "xy"]
    return _save(path, nodes, tensors[:1], tensors[1:], constants)


def _image(batch: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info("x", FLOAT, [batch, *IMAGE[1:]])


def _backbone() -> list[onnx.NodeProto]:
    node = helper.make_node
    return [
        node("Conv", ["x", "w1"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Relu", ["a"], ["b"]),
        node("Conv", ["b", "w2"], ["c"], group=8, pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["d"]),
        node("GlobalAveragePool", ["d"], ["e"]),
        node("Flatten", ["e"], ["f"]),
        node("Gemm", ["f", "w3"], ["g"], transB=1),
    ]


def _weights() -> dict[str, NDArray[Any]]:
    random = np.random.default_rng(0)
    shapes = {"w1": (8, 3, 3, 3), "w2": (8, 1, 3, 3), "w3": (10, 8)}
    return {
        name: (random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        for name, shape in shapes.items()
    }


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: dict[str, NDArray[Any]],
) -> Path:
    weights = [
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    ]
    graph = helper.make_graph(nodes, path.stem, inputs, outputs, weights)
    opset = helper.make_opsetid("", 13)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
