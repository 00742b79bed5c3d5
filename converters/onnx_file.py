"""Float ONNX files of others -> files of edge: their own bytes with metadata, or integers."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from converters.base import CALIBRATED, ConversionRequest, ConversionResult, Precision
from converters.file_input import FileImage, FirstConvolution, file_input
from converters.onnx import embedded
from converters.onnx_quantization import QuantizableONNX, prepared
from converters.quantizable import Calibration, Quantizable
from converters.writing import written, written_integers
from edge.errors import ConversionError
from edge.modelfile.onnx import loaded, real_inputs, tensor_spec
from edge.runtime.contract import Preprocessing, TensorLayout
from edge.runtime.session import first_line

LEAST_OPSET: Final = 13  # of QuantizeLinear with one scale for each channel
LEAST_IR_VERSION: Final = 7  # what belongs to opset 13 at least: constants are no inputs
POSSIBLE: Final = (Precision.FP32, Precision.INT8, Precision.MIXED)
QUANTIZERS: Final = ("QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "ConvInteger")


def convert(request: ConversionRequest, step: Callable[[], None]) -> Iterator[ConversionResult]:
    """Write one ONNX file per precision; see ``converters.base.FileConverter``."""
    assert request.float_file is not None  # what this converter is for
    unknown = sorted(set(request.precisions) - set(POSSIBLE))
    if unknown:
        raise ConversionError(
            f"an ONNX file is written as {', '.join(POSSIBLE)}, not as {', '.join(unknown)}"
        )
    proto = _loaded(request.float_file)
    check_float(proto)
    if Precision.FP32 in request.precisions:
        started = time.monotonic()
        content = proto.SerializeToString()
        yield written(request, Precision.FP32, content, embedded, started=started)
    if CALIBRATED.intersection(request.precisions):
        yield from written_integers(
            request, lambda: quantizable(request, proto), embedded, step, proto.SerializeToString
        )


def _loaded(path: Path) -> Any:
    """The model with the weights that lie in other files."""
    try:
        return loaded(path, external=True)
    except Exception as error:  # onnx raises types of its own, protobuf's and those of files
        raise ConversionError(
            f"the ONNX file cannot be read with its weights: {first_line(error)}",
            hint="Weights in other files lie beside it, under the names that it states.",
        ) from error


def check_float(proto: Any) -> None:
    """Refuse a file that is quantized already.

    Raises:
        ConversionError: It is.
    """
    kinds = {node.op_type for node in proto.graph.node}
    found = sorted(kind for kind in kinds if kind in QUANTIZERS)
    image = next(iter(real_inputs(proto.graph)), None)
    dtype = "float32" if image is None else tensor_spec(image).dtype
    if found or dtype != "float32":
        what = f"it has the operator {found[0]}" if found else f"its input is {dtype}"
        quantized = found or "int" in dtype
        raise ConversionError(
            f"the ONNX file is no float32 model: {what}",
            hint="A quantized file is used as it is; give the float file to quantize it."
            if quantized
            else "Export it with a float32 input.",
        )


def quantizable(request: ConversionRequest, proto: Any) -> tuple[Quantizable, tuple[str, ...]]:
    """Take a float file apart; with what a user should know of its input."""
    ready = _current(proto, request.preprocessing)
    form = _with_input(ready, request.preprocessing)
    calibration = Calibration(request.calibration, form.zero_point, form.encoding)
    model = QuantizableONNX(
        ready,
        calibration,
        corrected=request.corrected,
        real_outputs=request.decoder is not None,
    )
    if not model.blocks:
        raise ConversionError(
            "the ONNX file has no layer with constant float32 weights that could be quantized",
            hint="Write it as fp32.",
        )
    return model, form.notes


def _current(proto: Any, contract: Preprocessing) -> Any:
    """The model in an opset that has scales per channel, its nodes named, ready to be rewritten."""
    import onnx

    model = type(proto).FromString(proto.SerializeToString())
    opset = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 0)
    try:
        if opset < LEAST_OPSET:
            model = onnx.version_converter.convert_version(model, LEAST_OPSET)
        model.ir_version = max(model.ir_version, LEAST_IR_VERSION)
        inputs = real_inputs(model.graph)
        del model.graph.input[:]
        model.graph.input.extend(inputs)
        _set_image_shape(inputs[0], contract)
        model = prepared(model)
    except Exception as error:  # onnx and ONNX Runtime raise types of their own
        raise ConversionError(
            f"the ONNX file of opset {opset} cannot be prepared for int8: {first_line(error)}",
            hint=f"Export it anew with opset {LEAST_OPSET} or later.",
        ) from error
    names = Counter(node.name for node in model.graph.node)
    for number, node in enumerate(model.graph.node):
        if not node.name or names[node.name] > 1:
            node.name = f"{node.op_type}_of_{node.output[0]}_{number}"
    return model


def _set_image_shape(image: Any, contract: Preprocessing) -> None:
    """Rows and columns that the file leaves open become those of the contract."""
    height, width, channels = contract.shape
    extents = (height, width, channels)
    if contract.layout is TensorLayout.CHW:
        extents = (channels, height, width)
    dimensions = image.type.tensor_type.shape.dim
    if len(dimensions) != 4:
        raise ValueError(f"the input has {len(dimensions)} dimensions, not 4")
    if dimensions[0].dim_value > 1:
        raise ValueError(f"the input takes {dimensions[0].dim_value} images at once, not 1")
    for dimension, extent in zip(list(dimensions)[1:], extents, strict=True):
        if dimension.dim_value not in (0, extent):
            raise ValueError(f"the input has an extent of {dimension.dim_value}, not {extent}")
        dimension.dim_value = extent


def _with_input(proto: Any, contract: Preprocessing) -> FileImage:
    return file_input(contract, _first_convolution(proto, contract.layout))


def _first_convolution(proto: Any, layout: TensorLayout) -> FirstConvolution | None:
    """The convolution that alone reads the picture; nothing but a move of its axes before it."""
    import onnx

    graph = proto.graph
    tensor = graph.input[0].name
    consumers = [node for node in graph.node if tensor in node.input]
    if layout is TensorLayout.HWC:
        if len(consumers) != 1 or consumers[0].op_type != "Transpose":
            return None
        orders = [tuple(item.ints) for item in consumers[0].attribute if item.name == "perm"]
        if orders != [(0, 3, 1, 2)]:
            return None
        tensor = consumers[0].output[0]
        consumers = [node for node in graph.node if tensor in node.input]
    if len(consumers) != 1 or consumers[0].op_type != "Conv":
        return None
    node, constants = consumers[0], {item.name: item for item in graph.initializer}
    values = [constants.get(name) for name in node.input[1:]]
    attributes = {item.name: item for item in node.attribute}
    if None in values or ("group" in attributes and attributes["group"].i != 1):
        return None
    arrays = [onnx.numpy_helper.to_array(item) for item in values]
    padding = attributes["auto_pad"].s.decode() if "auto_pad" in attributes else "NOTSET"
    pads = "pads" in attributes and any(attributes["pads"].ints)

    def replace(kernel: Any, bias: Any) -> None:
        for position, array in enumerate((kernel, bias), 1):
            name = f"{node.name}:pixels:{position}"
            graph.initializer.append(onnx.numpy_helper.from_array(array, name))
            if position < len(node.input):
                node.input[position] = name
            else:
                node.input.append(name)

    return FirstConvolution(
        kernel=arrays[0],
        bias=arrays[1] if len(arrays) > 1 else None,
        axis=1,
        pads=pads or padding.startswith("SAME"),
        replace=replace,
    )
