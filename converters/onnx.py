"""Keras -> ONNX through tf2onnx, and int8 as static QDQ through ONNX Runtime's quantizer."""

import logging
import re
import time
from collections.abc import Iterator
from typing import Any, Final

from converters.base import ConversionRequest, ConversionResult, Precision, Target
from converters.calibration import Calibration
from converters.onnx_metadata import embed
from converters.onnx_quantization import QuantizableONNX
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
        base = QuantizableONNX(exported(pixels.model), calibration)
        yield _written(request, Precision.INT8, base.proto(), started, pixels.notes)


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
