"""Constants that are computed beforehand: the graph answers as it did, with fewer operators."""

from typing import Any

import numpy as np
import pytest

from converters.onnx import LARGE, drop_idle_reshapes, fold_channels, large_weights, put_in

CHANNELS = 5


def model(
    nodes: list[tuple[str, list[str], list[str]]],
    outputs: tuple[str, ...] = ("y",),
    inputs: tuple[str, ...] = (),
    **constants: Any,
) -> Any:
    from onnx import TensorProto, helper, numpy_helper

    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    more = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inputs]
    graph = helper.make_graph(
        [
            helper.make_node(kind, given, made, name=f"{kind}_{made[0]}")
            for kind, given, made in nodes
        ],
        "g",
        [image, *more],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [
            numpy_helper.from_array(np.asarray(value, np.float32), name)
            for name, value in constants.items()
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def answers(proto: Any) -> list[Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    image = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)
    found: list[Any] = session.run(None, {"x": image})
    return found


def values(*shape: int, seed: int = 1) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def kinds(proto: Any) -> list[str]:
    return [node.op_type for node in proto.graph.node]


WEIGHT = values(CHANNELS, 3, 3, 3)
FACTOR, TERM = values(CHANNELS, 1, 1, seed=2), values(1, CHANNELS, 1, 1, seed=3)
CONV = ("Conv", ["x", "w"], ["c"])


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("first", ["Mul", "Add"])
def test_factors_and_terms_become_weights_and_bias(first: str, bias: bool) -> None:
    second = {"Mul": "Add", "Add": "Mul"}[first]
    given = {"Mul": "factor", "Add": "term"}
    conv = ("Conv", ["x", "w", "b"] if bias else ["x", "w"], ["c"])
    proto = model(
        [conv, (first, ["c", given[first]], ["d"]), (second, [given[second], "d"], ["y"])],
        w=WEIGHT,
        b=values(CHANNELS, seed=4),
        factor=FACTOR,
        term=TERM,
    )
    before = answers(proto)
    fold_channels(proto.graph)
    assert kinds(proto) == ["Conv"]
    np.testing.assert_allclose(answers(proto)[0], before[0], rtol=1e-5, atol=1e-5)


def test_one_factor_for_all_channels_is_folded_too() -> None:
    proto = model([CONV, ("Mul", ["c", "half"], ["y"])], w=WEIGHT, half=0.5)
    before = answers(proto)
    fold_channels(proto.graph)
    assert kinds(proto) == ["Conv"]
    np.testing.assert_allclose(answers(proto)[0], before[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("nodes", "outputs", "constants"),
    [
        ([CONV, ("Mul", ["c", "k"], ["y"])], ("y", "c"), {"k": FACTOR}),  # is an answer itself
        ([CONV, ("Mul", ["c", "k"], ["d"]), ("Add", ["c", "d"], ["y"])], ("y",), {"k": FACTOR}),
        ([CONV, ("Mul", ["c", "k"], ["y"])], ("y",), {"k": values(1, 1, 1, 6)}),  # of a column
        ([CONV, ("Mul", ["c", "k"], ["y"])], ("y",), {"k": values(2, CHANNELS, 1, 1)}),
        ([CONV, ("Mul", ["c", "c"], ["y"])], ("y",), {}),
        ([CONV, ("Sub", ["c", "k"], ["y"])], ("y",), {"k": FACTOR}),
    ],
    ids=["output", "used-twice", "column", "batch", "square", "other"],
)
def test_what_is_not_per_channel_stays(
    nodes: Any, outputs: tuple[str, ...], constants: dict[str, Any]
) -> None:
    proto = model(nodes, outputs, w=WEIGHT, **constants)
    before, there = answers(proto), kinds(proto)
    fold_channels(proto.graph)
    assert kinds(proto) == there
    for old, new in zip(before, answers(proto), strict=True):
        np.testing.assert_array_equal(old, new)


def test_weights_that_two_convolutions_share_stay_as_they_are() -> None:
    proto = model(
        [CONV, ("Conv", ["x", "w"], ["e"]), ("Mul", ["c", "k"], ["y"])],
        ("y", "e"),
        w=WEIGHT,
        k=FACTOR,
    )
    before = answers(proto)
    fold_channels(proto.graph)
    assert len(kinds(proto)) == 3
    np.testing.assert_array_equal(answers(proto)[1], before[1])


def test_weights_are_put_in_and_what_follows_from_them_is_computed() -> None:
    nodes = [
        ("Transpose", ["weight_0"], ["t"]),  # reverses the axes
        ("Mul", ["t", "k"], ["w"]),
        ("Conv", ["x", "w"], ["y"]),
    ]
    kernel = values(3, 3, 3, CHANNELS)
    factor = values(CHANNELS, 1, 1, 1, seed=5)
    proto = model(nodes, inputs=("weight_0", "weight_1"), k=factor)
    put_in(proto.graph, {"weight_0": kernel, "weight_1": kernel})
    assert kinds(proto) == ["Conv"]
    assert [item.name for item in proto.graph.input] == ["x"]
    expected = answers(model([(*CONV[:2], ["y"])], w=kernel.T * factor))
    np.testing.assert_allclose(answers(proto)[0], expected[0], rtol=1e-6)


class Variable:
    def __init__(self, path: str, *shape: int) -> None:
        self.path, self.shape = path, shape


class Model:
    variables = (
        Variable("conv/kernel", 3, 3, 256, 256),
        Variable("depthwise_conv/depthwise_kernel", 9, 9, 1024, 1),
        Variable("small/kernel", 3, 3, 3, 8),
        Variable("norm/gamma", LARGE),
        Variable("dense/kernel", 256, 256),
    )


def test_large_kernels_are_kept_out_of_the_converter() -> None:
    assert [item.path for item in large_weights(Model()).values()] == [
        "conv/kernel",
        "dense/kernel",
    ]


@pytest.mark.parametrize(
    ("batch", "shape", "stays"),
    [
        ("batch", [-1, 3, 8, 8], False),
        (1, [1, 3, 8, 8], False),
        ("batch", [1, 3, 8, 8], True),  # it holds for one image only, and says so
        ("batch", [-1, 3, 64, 1], True),
        ("batch", [-1, 192], True),
        ("batch", [0, 3, 8, 8], True),
    ],
)
def test_a_reshape_to_the_same_shape_goes(batch: str | int, shape: list[int], stays: bool) -> None:
    """tf2onnx leaves them by chance, and equal models would give unlike files."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Reshape", ["r", "shape"], ["s"]),
        helper.make_node("Abs", ["s"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array(shape, np.int64), "shape")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    drop_idle_reshapes(proto)
    assert ("Reshape" in kinds(proto)) == stays
    assert proto.graph.node[-1].input[0] == ("s" if stays else "r")
