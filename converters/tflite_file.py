"""Float TFLite files of others -> files of edge: their own bytes with metadata, or integers."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.base import CALIBRATED, ConversionRequest, ConversionResult, Precision
from converters.file_input import FirstConvolution, file_input
from converters.quantizable import Calibration, Quantizable
from converters.tflite import QuantizableTFLite
from converters.tflite_graph import CONV_2D, DEQUANTIZE, FLOAT32, TfliteFloatGraph
from converters.writing import written, written_integers
from edge.errors import ConversionError
from edge.modelfile.tflite import load_schema, packed, unpacked
from edge.modelfile.tflite_metadata import embed
from edge.runtime.contract import TensorLayout
from edge.runtime.session import first_line

POSSIBLE: Final = (Precision.FP32, Precision.INT8, Precision.W8A16, Precision.MIXED)
INTEGERS: Final = (3, 7, 9, 17)  # TensorType of the schema: uint8, int16, int8, int4
PAD: Final = 34  # BuiltinOperator of the schema
DENSIFY: Final = 124
SAME: Final = 0  # Padding of the schema
USE_AS_IT_IS: Final = "A quantized file is used as it is; give the float file to quantize it."


def convert(request: ConversionRequest, step: Callable[[], None]) -> Iterator[ConversionResult]:
    """Write one TFLite file per precision; see ``converters.base.FileConverter``."""
    assert request.float_file is not None  # what this converter is for
    unknown = sorted(set(request.precisions) - set(POSSIBLE))
    if unknown:
        raise ConversionError(
            f"a TFLite file of others is written as {', '.join(POSSIBLE)}, "
            f"not as {', '.join(unknown)}",
            hint="Those are made from a Keras model.",
        )
    content = request.float_file.read_bytes()
    check_float(content)
    if Precision.FP32 in request.precisions:
        started = time.monotonic()
        yield written(request, Precision.FP32, content, embed, started=started)
    if CALIBRATED.intersection(request.precisions):
        yield from written_integers(
            request, lambda: quantizable(request, content), embed, step, lambda: content
        )


def check_float(content: bytes) -> None:
    """Refuse a file that is quantized already, in whole or in part.

    Raises:
        ConversionError: It is.
    """
    graph = unpacked(content).subgraphs[0]
    for tensor in graph.tensors:
        scaled = tensor.quantization is not None and tensor.quantization.scale is not None
        if tensor.type in INTEGERS and scaled and len(tensor.quantization.scale):
            raise ConversionError(
                f"the TFLite file is no float32 model: the tensor {tensor.name.decode()!r} is "
                "quantized",
                hint=USE_AS_IT_IS,
            )
    if any(graph.tensors[index].type != FLOAT32 for index in graph.inputs):
        raise ConversionError("the TFLite file takes no float32 image", hint=USE_AS_IT_IS)


def quantizable(request: ConversionRequest, content: bytes) -> tuple[Quantizable, tuple[str, ...]]:
    """Take a float file apart; with what a user should know of its input."""
    contract = request.preprocessing
    model = unpacked(content)
    if len(model.subgraphs) > 1:
        raise ConversionError(
            f"the TFLite file has {len(model.subgraphs)} subgraphs, of loops or branches; "
            "one can be quantized",
            hint="Write it as fp32.",
        )
    _check_image(model.subgraphs[0], request)
    _name_apart(model.subgraphs[0])
    _fold_constants(model)
    first = None if contract.layout is TensorLayout.CHW else _first_convolution(model)
    form = file_input(contract, first)
    calibration = Calibration(request.calibration, form.zero_point, form.encoding)
    made = QuantizableTFLite(
        packed(model),
        calibration,
        corrected=request.corrected,
        real_outputs=request.decoder is not None,
    )
    if not made.blocks:
        raise ConversionError(
            "the TFLite file has no layer with constant float32 weights that could be quantized",
            hint="Write it as fp32.",
        )
    return made, form.notes


def _check_image(graph: Any, request: ConversionRequest) -> None:
    height, width, channels = request.preprocessing.shape
    wanted = [1, height, width, channels]
    if request.preprocessing.layout is TensorLayout.CHW:
        wanted = [1, channels, height, width]
    found = [int(extent) for extent in graph.tensors[graph.inputs[0]].shape]
    if len(graph.inputs) != 1 or found != wanted:
        raise ConversionError(
            f"the TFLite file has {len(graph.inputs)} inputs, the first of shape {found}; "
            f"the contract states one of {wanted}"
        )


def _name_apart(graph: Any) -> None:
    """Names are what the quantizer and the ranges know tensors by: each has one of its own."""
    seen: Counter[bytes] = Counter()
    for number, tensor in enumerate(graph.tensors):
        name = bytes(tensor.name or b"")
        seen[name] += 1
        if not name or seen[name] > 1:
            tensor.name = name + f"#{number}".encode()


def _fold_constants(model: Any) -> None:
    """Weights stored as float16, or sparse, become dense float32: what widens them goes.

    The interpreter computes them, so that there is one reading of the format.
    """
    schema, graph = load_schema(), model.subgraphs[0]
    constant = {
        index
        for index, tensor in enumerate(graph.tensors)
        if model.buffers[tensor.buffer].data is not None
    }
    kept, widening = [], []
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        widens = max(code.builtinCode, code.deprecatedBuiltinCode) in (DEQUANTIZE, DENSIFY)
        if widens and operator.inputs[0] in constant:
            widening.append(operator)
            constant.add(int(operator.outputs[0]))
        else:
            kept.append(operator)
    if not widening:
        return
    folded = [int(operator.outputs[0]) for operator in widening]
    outputs, graph.outputs, graph.operators = graph.outputs, folded, widening
    values = _computed(packed(model), folded)
    graph.outputs, graph.operators = outputs, kept
    for index in folded:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values[index].tobytes(), np.uint8)
        graph.tensors[index].buffer = len(model.buffers)
        model.buffers.append(buffer)


def _computed(content: bytes, indices: Sequence[int]) -> dict[int, NDArray[Any]]:
    """The values of tensors that do not depend on the picture."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        interpreter = Interpreter(
            model_content=content,
            experimental_op_resolver_type=plain,
        )
        interpreter.allocate_tensors()
        interpreter.invoke()
    except (RuntimeError, ValueError) as error:
        raise ConversionError(
            f"the weights of the TFLite file cannot be read: {first_line(error)}"
        ) from error
    return {index: np.array(interpreter.get_tensor(index)) for index in indices}


def _first_convolution(model: Any) -> FirstConvolution | None:
    """The convolution that alone reads the picture; nothing but zero padding before it."""
    graph = TfliteFloatGraph(model)
    pads = False
    tensor = model.subgraphs[0].inputs[0]
    readers = graph.readers(tensor)
    if len(readers) == 1 and readers[0][1] == PAD:
        pads = True
        readers = graph.readers(readers[0][0].outputs[0])
    if len(readers) != 1 or readers[0][1] != CONV_2D:
        return None
    operator = readers[0][0]
    kernel, bias = graph.constants(operator)
    if kernel is None or bias is None:
        return None
    same = int(operator.builtinOptions.padding) == SAME
    return FirstConvolution(
        kernel=kernel,
        bias=bias,
        axis=3,
        pads=pads or (same and kernel.shape[1:3] != (1, 1)),
        replace=lambda *values: graph.put(operator, *values),
    )
