"""How a graph is cut into the blocks that a recipe can keep in floats."""

import pytest

from converters.quantizable import Block, LayerNames, blocks, layers_of, scope


@pytest.mark.parametrize(
    ("tensor", "layer"),
    [
        ("net/conv_relu/Relu6", "net/conv_relu"),
        ("net/conv_relu/Relu6:0", "net/conv_relu"),
        ("net/conv_relu/Relu6;net/conv_bn/FusedBatchNorm;net/conv/Conv2D", "net/conv_relu"),
        ("net/conv_bn/batchnorm/add_1", "net/conv_bn"),
        ("batchnorm/add_1", "batchnorm"),  # a layer of that name
        ("conv/Conv2D", "conv"),
        ("StatefulPartitionedCall_1:0", "StatefulPartitionedCall_1:0"),
        ("", ""),
    ],
)
def test_the_layer_that_a_tensor_names(tensor: str, layer: str) -> None:
    assert scope(tensor) == layer


def test_a_block_goes_up_to_the_next_operator_with_weights() -> None:
    operators = [
        (True, "net/a/Conv2D", ("conv a",)),
        (False, "net/a_relu/Relu", ("relu a",)),
        (False, "net/pool/Mean", ("pool", "reshape")),
        (True, "net/b/MatMul", ("dense b",)),
        (False, "net/b/Softmax", ("softmax",)),
    ]
    assert blocks(operators) == (
        Block("net/a", ("conv a", "relu a", "pool", "reshape")),
        Block("net/b", ("dense b", "softmax")),
    )


def test_what_stands_before_the_first_weights_joins_their_block() -> None:
    operators = [
        (False, "transpose", ("transpose",)),
        (False, "net/pad/Pad", ("pad",)),
        (True, "net/a/Conv2D", ("conv",)),
        (True, "net/b/Conv2D", ("other",)),
    ]
    assert blocks(operators) == (
        Block("net/a", ("transpose", "pad", "conv")),
        Block("net/b", ("other",)),
    )


def test_the_name_is_of_the_first_tensor_that_states_a_layer() -> None:
    operators = [(True, "conv__17", ("conv",)), (False, "net/relu/Relu:0", ("relu",))]
    assert [block.name for block in blocks(operators)] == ["net/relu"]
    assert [block.name for block in blocks(operators[:1])] == ["conv__17"]


def test_several_blocks_of_one_layer_are_numbered() -> None:
    operators = [(True, f"net/attention/{name}/add", (name,)) for name in ("k", "q", "v")]
    same = [(weighted, "net/attention/MatMul", names) for weighted, _, names in operators]
    found = blocks([*same, (True, "net/dense/MatMul", ("dense",))])
    names = [block.name for block in found]
    assert names == ["net/attention", "net/attention#2", "net/attention#3", "net/dense"]
    assert [block.members for block in found] == [("k",), ("q",), ("v",), ("dense",)]


def test_a_graph_without_weights_has_no_blocks() -> None:
    assert blocks([(False, "net/pool/Mean", ("pool",))]) == ()
    assert blocks([]) == ()


def test_the_keras_layer_of_a_block_is_found_in_the_names_of_its_operators() -> None:
    """Names of a MobileNetV3 and of a PP-OCR network, as the two converters give them."""
    found = [
        Block("net_1/bn_39_1", ("net_1/bn_39_1/batchnorm/add_1;net_1/conv_38_1/convolution;c",)),
        Block("net_1/dense_1_2", ("net_1/dense_1_2/MatMul", "net_1/dense_1_2/Add")),
        Block("net_1/dense_1", ("net_1/dense_1/MatMul",)),
        Block("net_1/stem_pixels_1", ("transpose", "net_1/stem_pixels_1/convolution")),
        Block("net_1/relu_7_1", ("Conv__22", "net_1/relu_7_1/Relu")),
        Block("Conv__23:0", ("Conv__23", "net_1/twice_1/Relu")),
    ]
    names = LayerNames(("stem", "conv_38", "dense", "dense_1"), ("bn_39", "relu_7", *2 * ["twice"]))
    assert layers_of(found, names) == {
        "net_1/bn_39_1": "conv_38",
        "net_1/dense_1_2": "dense_1",
        "net_1/dense_1": "dense",
        "net_1/stem_pixels_1": "stem",
        "net_1/relu_7_1": "relu_7",
    }
    plain = [Block(f"net/{name}", (f"net/{name}/Conv2D",)) for name in ("conv", "conv_1")]
    assert layers_of(plain, LayerNames(("conv", "conv_1"))) == {
        "net/conv": "conv",
        "net/conv_1": "conv_1",
    }
    assert layers_of(plain, LayerNames()) == {}
