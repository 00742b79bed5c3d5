"""Keras -> ONNX through tf2onnx, and int8 as static QDQ through ONNX Runtime's quantizer."""

import logging
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from converters.base import ConversionRequest, ConversionResult, Precision, Target
from converters.bias_correction import bias_corrected
from converters.calibration import Calibration
from converters.onnx_metadata import embed
from converters.pixel_input import pixel_model
from edge.errors import ConversionError
from edge.runtime.files import write_bytes

OPSET: Final = 17  # has LayerNormalization; read by every ONNX Runtime >= 1.12
IR_VERSION: Final = 8  # what belongs to opset 17; runtimes refuse files of a newer IR version
INPUT: Final = "image"
COUNTER: Final = re.compile(r"__\d+")  # what tf2onnx appends to the names of what it inserts


def convert(request: ConversionRequest, model: Any) -> Iterator[ConversionResult]:
    """Write one file per precision.

    Args:
        request: What to write.
        model: Keras model, RGB 0..255 in.

    Raises:
        ConversionError: tf2onnx or the quantizer refused the model.
    """
    unknown = set(request.precisions) - {Precision.FP32, Precision.INT8}
    if unknown:
        raise ConversionError(f"ONNX is written as fp32 and int8, not {sorted(unknown)}")
    if Precision.FP32 in request.precisions:
        started = time.monotonic()
        yield _written(request, Precision.FP32, exported(model), started, ())
    if Precision.INT8 in request.precisions:
        started = time.monotonic()
        pixels = pixel_model(model)
        calibration = Calibration(request.calibration, pixels.zero_point)
        corrected = bias_corrected(pixels.model, calibration)
        result = quantized(exported(corrected), calibration, pixels.zero_point)
        yield _written(request, Precision.INT8, result, started, pixels.notes)


def exported(model: Any) -> Any:
    """The model as a float ONNX graph: (batch, height, width, 3) float32 in.

    Raises:
        ConversionError: tf2onnx refused the model.
    """
    import tensorflow as tf
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    signature = [tf.TensorSpec((None, *model.inputs[0].shape[1:]), tf.float32, name=INPUT)]
    function = tf.function(lambda image: model(image, training=False))
    try:
        proto, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=OPSET)
    except Exception as error:  # tf2onnx raises types of TensorFlow, of onnx and of its own
        raise ConversionError(f"tf2onnx refused the model: {str(error)[:500]}") from error
    proto.ir_version = min(proto.ir_version, IR_VERSION)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"  # tf2onnx: unk__ and a number
    _name_by_place(proto.graph)
    return proto


def _name_by_place(graph: Any) -> None:
    """Name nodes, tensors and constants by their place in the graph: equal models, equal bytes.

    tf2onnx numbers what it inserts from a counter, and keeps one of several equal constants;
    which number and which constant differs from run to run.
    """
    if any(attribute.g.node for node in graph.node for attribute in node.attribute):
        return  # a branch or a loop has names of its own, which would have to follow
    constants = {item.name: item for item in graph.initializer}
    kept = {item.name for item in (*graph.input, *graph.output)}
    names: dict[str, str] = {}
    for number, node in enumerate(graph.node):
        node.name = COUNTER.sub(f"__{number}", node.name)
        for position, name in enumerate(node.input):
            if name in constants:
                names.setdefault(name, f"{node.name}:{position}")
        for name in node.output:
            if name not in kept:
                names[name] = COUNTER.sub(f"__{number}", name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    used = [constants[name] for name in names if name in constants]  # all: tf2onnx drops the rest
    for name, item in constants.items():
        item.name = names.get(name, name)
    copies = [type(item).FromString(item.SerializeToString()) for item in used]
    del graph.initializer[:]
    graph.initializer.extend(copies)
    del graph.value_info[:]


def quantized(proto: Any, calibration: Calibration, zero_point: int) -> Any:
    """Static QDQ: int8 weights per channel, uint8 activations, and the uint8 pixel as the input.

    uint8 activations with int8 weights is the pair that ONNX Runtime has fast kernels for on x86
    (VNNI) and on Arm (documented in its quantization guide).

    Args:
        proto: Float graph whose input is the pixel less ``zero_point``.
        calibration: Of the same zero point.
        zero_point: 0..255.
    """
    import onnx
    from onnxruntime import quantization

    with tempfile.TemporaryDirectory(prefix="edge-onnx-") as folder:
        source, prepared = Path(folder, "float.onnx"), Path(folder, "prepared.onnx")
        result = Path(folder, "int8.onnx")
        onnx.save(proto, source)
        quantization.quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            result,
            _Reader(calibration),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibration_providers=["CPUExecutionProvider"],
        )
        quantized_proto = onnx.load(result)
    _take_pixels(quantized_proto, zero_point)
    used = {node.domain for node in quantized_proto.graph.node}
    opsets = [entry for entry in quantized_proto.opset_import if entry.domain in used]
    del quantized_proto.opset_import[:]
    quantized_proto.opset_import.extend(opsets)
    onnx.checker.check_model(quantized_proto)
    return quantized_proto


class _Reader:
    """The calibration images as ONNX Runtime's quantizer asks for them, one at a time."""

    def __init__(self, calibration: Calibration) -> None:
        self._images = iter(calibration)

    def get_next(self) -> dict[str, Any] | None:
        image = next(self._images, None)
        return None if image is None else {INPUT: image}


def _take_pixels(proto: Any, zero_point: int) -> None:
    """Let the uint8 pixel be the quantized tensor: no QuantizeLinear between input and network.

    tf2onnx puts a Transpose to channels first behind the input; it then moves bytes, not floats.
    """
    import onnx

    graph = proto.graph
    tensor = INPUT
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

    _rename_input(graph, INPUT, "pixels")
    parameters = {"pixel_scale": np.float32(1), "pixel_zero_point": np.uint8(zero_point)}
    for name, value in parameters.items():
        graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    node = onnx.helper.make_node("DequantizeLinear", [INPUT, *parameters], ["pixels"])
    graph.node.insert(0, node)


def _rename_input(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]


def _written(
    request: ConversionRequest,
    precision: Precision,
    proto: Any,
    started: float,
    notes: tuple[str, ...],
) -> ConversionResult:
    target = Target(format="onnx", precision=precision)
    embed(proto, **request.metadata(target))
    path = request.output / target.filename
    write_bytes(path, proto.SerializeToString())
    seconds = time.monotonic() - started
    return ConversionResult(variant=target.name, path=path, seconds=seconds, notes=notes)
