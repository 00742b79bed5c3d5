"""Lets an integer ONNX graph take the uint8 pixel as it is."""

from typing import Any

from edge.errors import ConversionError


def taking_pixels(proto: Any, zero_point: int) -> None:
    """Let the uint8 pixel be the quantized tensor: no QuantizeLinear between input and network.

    tf2onnx puts a Transpose to channels first behind the input; it then moves bytes, not floats.
    """
    import onnx

    graph = proto.graph
    tensor = graph.input[0].name
    while True:
        consumers = [node for node in graph.node if tensor in node.input]
        if len(consumers) != 1 or consumers[0].op_type != "Transpose":
            break
        tensor = consumers[0].output[0]
    first = consumers[0]
    if len(consumers) == 1 and first.op_type == "QuantizeLinear":
        constants = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
        found = (float(constants[first.input[1]]), int(constants[first.input[2]]))
        if found != (1.0, zero_point):
            raise ConversionError(
                f"the input has scale and zero point {found}, not 1 and the pixel"
            )
        _rename_input(graph, first.output[0], tensor)
        graph.node.remove(first)
    else:
        _dequantize_input(graph, zero_point)
    graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    del graph.value_info[:]  # dtypes behind the input have changed


def _dequantize_input(graph: Any, zero_point: int) -> None:
    """The network starts with an operator that the quantizer left in float: feed it real pixels."""
    import numpy as np
    import onnx

    image = graph.input[0].name
    _rename_input(graph, image, "pixels")
    parameters = {"pixel_scale": np.float32(1), "pixel_zero_point": np.uint8(zero_point)}
    for name, value in parameters.items():
        graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    node = onnx.helper.make_node("DequantizeLinear", [image, *parameters], ["pixels"])
    graph.node.insert(0, node)


def _rename_input(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
