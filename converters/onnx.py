"""Keras -> ONNX through tf2onnx, and int8 as static QDQ through ONNX Runtime's quantizer."""

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from converters.base import CALIBRATED, ConversionRequest, ConversionResult, Precision
from converters.calibration import Calibration
from converters.onnx_folding import fold_channels
from converters.onnx_metadata import embed
from converters.onnx_quantization import QuantizableONNX
from converters.onnx_weights import large_weights, put_in
from converters.writing import written, written_integers
from edge.errors import ConversionError

OPSET: Final = 17  # has LayerNormalization; read by every ONNX Runtime >= 1.12
IR_VERSION: Final = 8  # what belongs to opset 17; runtimes refuse files of a newer IR version
INPUT: Final = "image"
COUNTER: Final = re.compile(r"__\d+")  # what tf2onnx appends to the names of what it inserts


def convert(
    request: ConversionRequest, model: Any, step: Callable[[], None]
) -> Iterator[ConversionResult]:
    """Write one file per precision.

    Args:
        request: What to write.
        model: Keras model, RGB 0..255 in.
        step: Called now and then in a search.

    Raises:
        ConversionError: tf2onnx or the quantizer refused the model.
        NegativeVerdict, UsageError: Of a mixed file, see ``integer_files``.
    """
    unknown = set(request.precisions) - {Precision.FP32, Precision.INT8, Precision.MIXED}
    if unknown:
        raise ConversionError(f"ONNX is written as fp32, int8 and mixed, not {sorted(unknown)}")
    if Precision.FP32 in request.precisions:
        started = time.monotonic()
        content = exported(model).SerializeToString()
        yield written(request, Precision.FP32, content, _embedded, started=started)
    if CALIBRATED.intersection(request.precisions):

        def quantizable(pixels: Any, calibration: Calibration) -> QuantizableONNX:
            return QuantizableONNX(exported(pixels), calibration, corrected=request.corrected)

        yield from written_integers(request, model, quantizable, _embedded, step)


def _embedded(content: bytes, **metadata: Any) -> bytes:
    import onnx

    proto = onnx.load_from_string(content)
    embed(proto, **metadata)
    found: bytes = proto.SerializeToString()
    return found


def exported(model: Any) -> Any:
    """The model as a float ONNX graph: (batch, height, width, 3) float32 in.

    Raises:
        ConversionError: tf2onnx refused the model.
    """
    import onnx
    import tf2onnx

    for name in ("tf2onnx", "tensorflow"):  # the latter: what tf2onnx calls is deprecated
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        weights = large_weights(model)
        function = _frozen(model, weights)
        proto, _ = tf2onnx.convert.from_graph_def(
            _inlinable(function.graph.as_graph_def(add_shapes=True)),
            name=model.name,
            input_names=[tensor.name for tensor in function.inputs],
            output_names=[tensor.name for tensor in function.outputs],
            opset=OPSET,
            tensors_to_rename={tensor.name: tensor.op.name for tensor in function.inputs},
            custom_op_handlers={"Erfc": (_erfc, [])},
        )
    except Exception as error:  # tf2onnx raises types of TensorFlow, of onnx and of its own
        raise ConversionError(f"tf2onnx refused the model: {str(error)[:500]}") from error
    foreign = sorted({node.op_type for node in proto.graph.node if not onnx.defs.has(node.op_type)})
    if foreign:  # tf2onnx leaves them as they are
        raise ConversionError(f"ONNX has no operator for {', '.join(foreign)} of TensorFlow")
    put_in(proto.graph, {name: variable.numpy() for name, variable in weights.items()})
    fold_channels(proto.graph)
    proto.ir_version = min(proto.ir_version, IR_VERSION)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"  # tf2onnx: unk__ and a number
    _name_by_place(proto.graph)
    return proto


def _frozen(model: Any, weights: Mapping[str, Any]) -> Any:
    """The model as a TensorFlow function of the image and of those weights, the rest constants.

    Tensors that a layer keeps outside its variables, such as the mean of ``Normalization``, are
    inputs of a traced function as well, and tf2onnx would make inputs of the file of them.
    """
    import keras
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    def call(image: Any, *values: Any) -> Any:
        mapping = list(zip(weights.values(), values, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return model(image, training=False)

    image = tf.TensorSpec((None, *model.inputs[0].shape[1:]), tf.float32, name=INPUT)
    specs = [tf.TensorSpec(item.shape, item.dtype, name) for name, item in weights.items()]
    function = tf.function(call, autograph=False).get_concrete_function(image, *specs)
    return convert_variables_to_constants_v2(
        function, lower_control_flow=False, aggressive_inlining=True
    )


def _inlinable(graph: Any) -> Any:
    """The graph definition, its calls of compiled functions made plain calls.

    Keras compiles each grouped convolution with XLA, and TensorFlow then never inlines it.
    """
    for part in (*graph.node, *graph.library.function):
        for mark in ("_XlaMustCompile", "_noinline"):
            part.attr.pop(mark, None)
    return graph


def _erfc(graph: Any, node: Any, name: str, _: Any) -> None:
    """Write TensorFlow's Erfc, which its GELU is made of, as 1 - Erf: tf2onnx does not know it."""
    import numpy as np

    (output,) = node.output
    erf = graph.make_node("Erf", list(node.input), op_name_scope=name)
    one = graph.make_const(f"{name}/one", np.float32(1).reshape(()))
    graph.remove_node(node.name)
    graph.make_node("Sub", [one.output[0], erf.output[0]], name=name, outputs=[output])


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
                names.setdefault(name, f"{node.name}:input:{position}")
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
