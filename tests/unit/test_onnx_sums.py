"""The sums of a dense last layer are not rounded in an integer ONNX file."""

from typing import Any

import numpy as np
import pytest

from converters.onnx_quantization import keep_sums
from edge.modelfile.onnx import activation_steps

CLASSES = 4


def dense(*after: tuple[str, list[str], list[str]], output: str) -> Any:
    """A dense layer of quantized pixels in the QDQ form, and nodes after it."""
    from onnx import TensorProto, helper, numpy_helper

    values = np.random.default_rng(0)
    constants = {
        "w": values.normal(size=(3, CLASSES)).astype(np.float32),
        **{f"{name}_scale": np.float32(0.1) for name in ("x", "y", "z")},
        **{f"{name}_zero": np.uint8(128) for name in ("x", "y", "z")},
    }
    nodes = [
        ("QuantizeLinear", ["x", "x_scale", "x_zero"], ["xq"]),
        ("DequantizeLinear", ["xq", "x_scale", "x_zero"], ["xd"]),
        ("Gemm", ["xd", "w"], ["y"]),
        ("QuantizeLinear", ["y", "y_scale", "y_zero"], ["yq"]),
        ("DequantizeLinear", ["yq", "y_scale", "y_zero"], ["yd"]),
        *after,
    ]
    graph = helper.make_graph(
        [helper.make_node(*node, name=str(number)) for number, node in enumerate(nodes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, CLASSES])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


SOFTMAX = ("Softmax", ["yd"], ["p"])
RELU = ("Relu", ["yd"], ["r"])


@pytest.mark.parametrize(
    ("model", "left", "steps"),
    [
        (dense(SOFTMAX, output="p"), ["Gemm", "Softmax"], ["xd", "y", "p"]),
        (dense(output="yd"), ["Gemm"], ["xd", "yd"]),
    ],
    ids=["softmax", "logits"],
)
def test_the_sums_of_the_last_layer_stay_real(
    model: Any, left: list[str], steps: list[str]
) -> None:
    from onnx import checker

    keep_sums(model.graph)
    checker.check_model(model)
    assert [node.op_type for node in model.graph.node][2:] == left
    read = {name for node in model.graph.node for name in node.input}
    assert read.issuperset(item.name for item in model.graph.initializer)
    # ``edge diagnose`` sees the layer.
    found = activation_steps(model)
    assert list(found) == steps
    assert [found[name] for name in steps[1:]] == [None] * (len(steps) - 1)


@pytest.mark.parametrize(
    "model",
    [
        dense(RELU, output="r"),  # a layer of integers follows, or what is no answer
        dense(SOFTMAX, ("Relu", ["p"], ["r"]), output="r"),
        dense(SOFTMAX, ("Add", ["yd", "p"], ["r"]), output="r"),
    ],
    ids=["relu", "softmax-inside", "read-twice"],
)
def test_other_sums_are_rounded(model: Any) -> None:
    before = [node.name for node in model.graph.node]
    keep_sums(model.graph)
    assert [node.name for node in model.graph.node] == before
