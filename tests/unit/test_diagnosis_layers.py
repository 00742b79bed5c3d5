"""Which tensor is which layer's output, told by the names that the converters give."""

import numpy as np

from edge.diagnosis.layers import Layer, Tensor, match

STEM = Layer("conv1_relu", "ReLU", (4, 4, 8))
CONV = Layer("conv1", "Conv2D", (4, 4, 8))
LAYERS = (
    CONV,
    Layer("conv1_bn", "BatchNormalization", (4, 4, 8)),
    STEM,
    Layer("conv_2", "Conv2D", (2, 2, 16)),
    Layer("pool", "GlobalAveragePooling2D", (16,)),
    Layer("head", "Dense", (3,)),
)
TFLITE = (
    Tensor("net_1/conv1_relu_1/Relu6;net_1/conv1_bn_1/add;net_1/conv1_pixels_1/conv", (4, 4, 8)),
    Tensor("net_1/conv_2_1/BiasAdd;net_1/conv_2_1/convolution", (2, 2, 16)),
    Tensor("net_1/pool_1/Mean", (1, 1, 16)),
    Tensor("net_1/head_1/MatMul;net_1/head_1/BiasAdd", (3,)),
    Tensor("Identity", (3,)),
)


def _matched(layers, tensors, output="head"):
    return {item.layer.name: item.tensor.name for item in match(layers, tensors, output)}


def test_a_fused_tensor_is_the_output_of_its_first_name() -> None:
    found = _matched(LAYERS, TFLITE)
    assert found == {
        "conv1_relu": TFLITE[0].name,
        "conv_2": TFLITE[1].name,
        "pool": TFLITE[2].name,
        "head": "Identity",
    }


def test_names_without_a_counter_are_matched_as_they_are() -> None:
    plain = tuple(
        Tensor(";".join(part.replace("_1/", "/") for part in item.name.split(";")), item.shape)
        for item in TFLITE
    )
    assert _matched(LAYERS, plain).keys() == _matched(LAYERS, TFLITE).keys()


def test_a_counter_in_a_layers_own_name_is_kept() -> None:
    layers = (Layer("conv", "Conv2D", (2, 2, 4)), Layer("conv_1", "Conv2D", (2, 2, 4)))
    counted = (Tensor("net_1/conv_1/Conv", (2, 2, 4)), Tensor("net_1/conv_1_1/Conv", (2, 2, 4)))
    assert _matched(layers, counted, "none") == {
        "conv": "net_1/conv_1/Conv",
        "conv_1": "net_1/conv_1_1/Conv",
    }
    plain = (Tensor("net/conv/Conv", (2, 2, 4)), Tensor("net/conv_1/Conv", (2, 2, 4)))
    assert _matched(layers, plain, "none") == {
        "conv": "net/conv/Conv",
        "conv_1": "net/conv_1/Conv",
    }


def test_layers_of_a_model_inside_the_model_are_found() -> None:
    tensors = (Tensor("outer_1/inner_1/conv1_relu_1/Relu", (4, 4, 8)), Tensor("Identity", (3,)))
    assert "conv1_relu" in _matched(LAYERS, tensors)


def test_another_shape_is_not_the_layers_output() -> None:
    tensors = (Tensor("net_1/conv1_1/Pad", (6, 6, 8)), Tensor("Identity", (3,)))
    assert _matched(LAYERS, tensors) == {"head": "Identity"}


def test_what_tf2onnx_inserts_is_no_layer() -> None:
    tensors = (
        Tensor("net_1/conv1_1/BiasAdd__7:0_DequantizeLinear_Output", (8, 4, 4)),
        Tensor("net_1/conv1_1/BiasAdd__7:0", (4, 4, 8)),
        Tensor("Identity:0", (3,)),
    )
    assert _matched(LAYERS, tensors) == {"head": "Identity:0"}


def test_a_tensor_that_its_own_layer_reads_is_an_inner_one() -> None:
    inner = Tensor("net_1/conv1_1/depthwise:0", (4, 4, 8), readers=("net_1/conv1_1/pointwise",))
    assert "conv1" not in _matched(LAYERS, (inner, Tensor("Identity", (3,))))
    outer = Tensor("net_1/conv1_1/Sigmoid:0", (4, 4, 8), readers=("net_1/conv_2_1/Conv",))
    assert "conv1" in _matched(LAYERS, (outer, Tensor("Identity", (3,))))


def test_the_last_tensor_of_a_layer_is_its_output() -> None:
    sigmoid = Tensor("n_1/conv1_1/Sigmoid", (4, 4, 8), readers=("n_1/conv1_1/mul",))
    product = Tensor("n_1/conv1_1/mul", (4, 4, 8))
    assert _matched(LAYERS, (sigmoid, product, TFLITE[-1]))["conv1"] == "n_1/conv1_1/mul"


def test_channels_first_values_are_brought_into_keras_order() -> None:
    tensor = Tensor("net_1/conv_2_1/Conv:0", (16, 2, 2), channels_first=True)
    (found, _) = match(LAYERS, (tensor, Tensor("Identity", (3,))), "head")
    values = np.arange(64, dtype=np.float32).reshape(1, 2, 2, 16)
    np.testing.assert_array_equal(found.as_keras(values.transpose(0, 3, 1, 2)), values)
    square = Layer("conv_2", "Conv2D", (4, 4, 4))
    tensor = Tensor("net_1/conv_2_1/Conv:0", (4, 4, 4), channels_first=True)
    (found,) = match((square,), (tensor,), "none")
    values = np.arange(64, dtype=np.float32).reshape(1, 4, 4, 4)
    np.testing.assert_array_equal(found.as_keras(values.transpose(0, 3, 1, 2)), values)
