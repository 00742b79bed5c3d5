"""Keras -> ONNX through tf2onnx, and int8 as static QDQ through ONNX Runtime's quantizer."""

import logging
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.base import CALIBRATED, ConversionRequest, ConversionResult, Precision
from converters.onnx_quantization import QuantizableONNX
from converters.quantizable import Calibration
from converters.writing import of_keras, written_floats, written_integers
from edge.errors import ConversionError
from edge.modelfile.metadata import ModelDescription
from edge.modelfile.onnx_metadata import embed

OPSET: Final = 17  # has LayerNormalization; read by every ONNX Runtime >= 1.12
IR_VERSION: Final = 8  # what belongs to opset 17; runtimes refuse files of a newer IR version
INPUT: Final = "image"
NO_COPIES: Final = "TF2ONNX_CATCH_ERRORS"  # a variable of tf2onnx (constants.py there)
COUNTER: Final = re.compile(r"__\d+")  # what tf2onnx appends to the names of what it inserts


def convert(
    request: ConversionRequest, model: Any, step: Callable[[], None]
) -> Iterator[ConversionResult]:
    """Write one ONNX file per precision; see ``converters.base.Converter``."""
    unknown = set(request.precisions) - {Precision.FP32, Precision.INT8, Precision.MIXED}
    if unknown:
        raise ConversionError(f"ONNX is written as fp32, int8 and mixed, not {sorted(unknown)}")
    floats: bytes | None = None
    if Precision.FP32 in request.precisions:
        started = time.monotonic()
        content = exported(model).SerializeToString()
        yield written_floats(request, model, Precision.FP32, content, embedded, started=started)
        floats = content if request.searches else None  # a search times its files against it
    if CALIBRATED.intersection(request.precisions):
        yield from written_integers(
            request,
            lambda: of_keras(request, model, taken_apart),
            embedded,
            step,
            lambda: exported(model).SerializeToString() if floats is None else floats,
        )


def taken_apart(model: Any, calibration: Calibration, *, corrected: bool = True) -> QuantizableONNX:
    """Take a Keras model apart whose input is what ``calibration`` yields; see ``Quantizable``."""
    return QuantizableONNX(exported(model), calibration, corrected=corrected)


def embedded(content: bytes, description: ModelDescription) -> bytes:
    """Return a file with the description in it, from the file without."""
    import onnx

    proto = onnx.load_from_string(content)
    embed(proto, description)
    result: bytes = proto.SerializeToString()
    return result


def exported(model: Any) -> Any:
    """Export the model as a float ONNX graph that takes (batch, height, width, 3) float32.

    Raises:
        ConversionError: tf2onnx refused the model.
    """
    import onnx

    for name in ("tf2onnx", "tensorflow"):  # the latter: what tf2onnx calls is deprecated
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        weights = large_weights(model)
        function = _frozen(model, weights)
        proto = _of_function(function, model.name)
    except Exception as error:  # tf2onnx raises types of TensorFlow, of onnx and of its own
        raise ConversionError(f"tf2onnx refused the model: {str(error)[:500]}") from error
    foreign = sorted({node.op_type for node in proto.graph.node if not onnx.defs.has(node.op_type)})
    if foreign:  # tf2onnx leaves them as they are
        raise ConversionError(f"ONNX has no operator for {', '.join(foreign)} of TensorFlow")
    drop_idle_reshapes(proto)  # shape inference copies the file twice: without large weights yet
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


def _of_function(function: Any, name: str) -> Any:
    """Convert a function of constants to an ONNX model.

    tf2onnx copies the graph before each of its passes, to go on where one fails. That takes a third
    of its time, so it is done only where one does fail.
    """
    import tf2onnx

    graph = _inlinable(function.graph.as_graph_def(add_shapes=True))

    def convert() -> Any:
        proto, _ = tf2onnx.convert.from_graph_def(
            graph,
            name=name,
            input_names=[tensor.name for tensor in function.inputs],
            output_names=[tensor.name for tensor in function.outputs],
            opset=OPSET,
            tensors_to_rename={tensor.name: tensor.op.name for tensor in function.inputs},
            custom_op_handlers={"Erfc": (_erfc, [])},
        )
        return proto

    before = os.environ.get(NO_COPIES)
    os.environ[NO_COPIES] = "1"  # whatever its value is, a failing pass ends the conversion
    try:
        return convert()
    except Exception:
        del os.environ[NO_COPIES]
        return convert()
    finally:
        os.environ.pop(NO_COPIES, None)
        if before is not None:
            os.environ[NO_COPIES] = before


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


# ---- Large weights are kept out of tf2onnx, which copies every constant some thirty times. A
# kernel becomes an input of the traced function and so of the ONNX graph; afterwards its values
# are put in, and what tf2onnx would have computed from them (transposed, scaled by a folded batch
# normalization) is computed here. EfficientNetV2L then takes seconds and 1.5 GB more than itself.

LARGE: Final = 1 << 16  # elements; what is smaller costs nothing and may stay a constant
PREFIX: Final = "weight_"  # of the inputs' names


def large_weights(model: Any) -> dict[str, Any]:
    """Return kernels of convolutions and matrix products by the name that their input is to have.

    Depthwise kernels stay: tf2onnx reshapes them, for which it wants constants.
    """
    large = [
        variable
        for variable in model.variables
        if len(variable.shape) in (2, 4)
        and np.prod(variable.shape) >= LARGE
        and "depthwise" not in variable.path
    ]
    return {f"{PREFIX}{number}": variable for number, variable in enumerate(large)}


def put_in(graph: Any, weights: Mapping[str, NDArray[Any]]) -> None:
    """Make constants of the graph's inputs of those names, and of all that follows from them.

    Args:
        graph: An ONNX graph, changed in place.
        weights: Values by name of the input; an input that tf2onnx dropped is passed over.
    """
    import onnx
    from onnx.reference import ReferenceEvaluator

    inputs = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)
    constants = {item.name: item for item in graph.initializer}
    known: dict[str, NDArray[Any]] = dict(weights)
    for node in list(graph.node):
        if not any(name in known for name in node.input):
            continue
        if not all(name in known or name in constants for name in node.input):
            continue
        values = {
            name: known[name] if name in known else onnx.numpy_helper.to_array(constants[name])
            for name in node.input
        }
        known.update(zip(node.output, ReferenceEvaluator(node).run(None, values), strict=True))
        graph.node.remove(node)
    needed = {name for node in graph.node for name in node.input}
    for name, value in known.items():
        if name in needed:
            kept = np.ascontiguousarray(value)
            graph.initializer.append(onnx.numpy_helper.from_array(kept, name))


def fold_channels(graph: Any) -> None:
    """Fold ``Conv -> Mul -> Add`` with constants per output channel, in place.

    It is what is left of batch normalization when tf2onnx is done: every runtime folds it while
    loading, each time anew, and a tool that counts operators or weights would see it.

    w' = w * factor, b' = b * factor + term, per output channel.
    """
    from onnx import numpy_helper

    constants = {item.name: item for item in graph.initializer}
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(value.name for value in graph.output)
    consumers = {name: node for node in graph.node for name in node.input}
    shared = {name for name, count in uses.items() if count > 1}
    for conv in [node for node in graph.node if node.op_type == "Conv"]:
        if not set(conv.input[1:]) <= constants.keys() or shared.intersection(conv.input[1:]):
            continue
        kernel = numpy_helper.to_array(constants[conv.input[1]])
        bias = None
        if len(conv.input) > 2:
            bias = numpy_helper.to_array(constants[conv.input[2]])
        changed = False
        while uses[conv.output[0]] == 1 and conv.output[0] in consumers:
            after = consumers[conv.output[0]]
            values = _per_channel(after, conv.output[0], constants, kernel)
            if values is None:
                break
            if after.op_type == "Mul":
                kernel = kernel * values.reshape(-1, *[1] * (kernel.ndim - 1))
                bias = None if bias is None else bias * values
            else:
                bias = values if bias is None else bias + values
            conv.output[0] = after.output[0]
            graph.node.remove(after)
            changed = True
        if changed:
            _put(graph, conv, kernel, bias)


def drop_idle_reshapes(proto: Any) -> None:
    """Remove each ``Reshape`` that gives a tensor the shape that it has, in place.

    Around squeeze-and-excitation tf2onnx leaves some of them, in one run more than in the next:
    without them equal models give equal files, and there is less to compute.
    """
    import onnx

    graph = proto.graph
    inferred = onnx.shape_inference.infer_shapes(proto).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*inferred.value_info, *inferred.input)
    }
    constants = {item.name: item for item in graph.initializer}
    kept = {value.name for value in graph.output}
    for node in [node for node in graph.node if node.op_type == "Reshape"]:
        source, target = node.input
        if target not in constants or node.output[0] in kept or node.attribute:
            continue
        asked = onnx.numpy_helper.to_array(constants[target]).tolist()
        rest = shapes.get(source, [])[1:]
        if not rest or min(rest) < 1 or asked[1:] != rest or asked[0] not in (-1, 1):
            continue
        if asked[0] == 1 and shapes[source][0] != 1:
            continue
        for reader in graph.node:
            reader.input[:] = [source if name == node.output[0] else name for name in reader.input]
        graph.node.remove(node)


def _per_channel(
    node: Any, activation: str, constants: dict[str, Any], kernel: NDArray[Any]
) -> NDArray[Any] | None:
    """The constant operand, one value per output channel; None where the node is another thing."""
    from onnx import numpy_helper

    if node.op_type not in ("Mul", "Add") or len(node.input) != 2:
        return None
    (other,) = [name for name in node.input if name != activation] or [activation]
    if other not in constants:
        return None
    values: NDArray[Any] = numpy_helper.to_array(constants[other])
    spatial, channels = kernel.ndim - 2, kernel.shape[0]
    if values.size == 1 and values.ndim <= kernel.ndim:
        return np.full(channels, values.reshape(()), kernel.dtype)
    if values.ndim < spatial + 1 or values.shape[-spatial:] != (1,) * spatial:
        return None
    if values.shape[-spatial - 1] != channels or values.size != channels:
        return None
    return values.reshape(-1)


def _put(graph: Any, conv: Any, kernel: NDArray[Any], bias: NDArray[Any] | None) -> None:
    """New constants for a convolution; the old ones go when nothing uses them."""
    from onnx import numpy_helper

    for position, values in ((1, kernel), (2, bias)):
        if values is None:
            continue
        name = f"{conv.name}:folded:{position}"
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        if position < len(conv.input):
            conv.input[position] = name
        else:
            conv.input.append(name)
