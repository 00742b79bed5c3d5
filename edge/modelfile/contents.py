"""Questions to a model file by its path, whatever its format: what it stores, says and ends in."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np

from edge.errors import ModelLoadError
from edge.evaluation.output import Ending, GraphEnd
from edge.modelfile import onnx, onnx_metadata, tflite_metadata
from edge.modelfile.corruption import READ_ERRORS, corruption, naming
from edge.modelfile.graph import Constant, Node, producers_of
from edge.modelfile.metadata import ModelMetadata
from edge.modelfile.tflite import TfliteFile, unpacked

# Operators behind which a value is still the same one.
_PASSING: Final = frozenset(
    {"CAST", "DEQUANTIZE", "EXPAND_DIMS", "QUANTIZE", "RESHAPE", "SQUEEZE", "TRANSPOSE"}
    | {"Cast", "DequantizeLinear", "Dropout", "Flatten", "Identity", "QuantizeLinear", "Reshape"}
    | {"Squeeze", "Transpose", "Unsqueeze"}
)
_LINEAR: Final = (
    {"ADD", "BATCH_MATMUL", "CONV_2D", "FULLY_CONNECTED"}
    | {"Add", "Conv", "Gemm", "MatMul"}
    | {"QGemm", "QLinearAdd", "QLinearConv", "QLinearMatMul"}
)
_ENDINGS: Final = {
    **dict.fromkeys(("SOFTMAX", "Softmax", "QLinearSoftmax"), Ending.SOFTMAX),
    **dict.fromkeys(("LOGISTIC", "Sigmoid", "QLinearSigmoid"), Ending.SIGMOID),
    **dict.fromkeys(("TANH", "Tanh"), Ending.TANH),
    **dict.fromkeys(_LINEAR, Ending.LINEAR),
}
# Names of operators, which an .onnx file spells out (onnx/docs/Operators.md, ONNX Runtime's
# ContribOperators.md): QuantizeLinear, DynamicQuantizeLinear, QLinearConv, ConvInteger...
_ONNX_INTEGERS: Final = (
    b"QuantizeLinear",
    b"QLinear",
    b"ConvInteger",
    b"MatMulInteger",
    b"MatMulNBits",
)
_TFLITE_INTEGERS: Final = frozenset({"int4", "int8", "uint8", "int16"})


def constants(path: Path) -> Iterator[Constant]:
    """Read the constants that a .tflite or .onnx file stores in its main graph.

    The caller guards it by ``corruption``, while it goes through them too.

    Raises:
        ImportError: onnx is not installed.
        PackageMissing: Neither ai-edge-litert nor TensorFlow is installed.
    """
    if _is_tflite(path):
        return TfliteFile(path.read_bytes()).constants()
    return onnx.constants(onnx.loaded(path))


def check_finite(path: Path) -> None:
    """Refuse a file with a constant that is NaN: whatever it touches is no number.

    Infinite constants may be meant: masks, and limits that limit nothing, are.

    Raises:
        ModelLoadError: There is one, or the file cannot be read.
        PackageMissing: Neither ai-edge-litert nor TensorFlow is installed.
    """
    with corruption(path, "model"):
        for constant in constants(path):
            if not constant.dtype.startswith("float") or constant.opaque:
                continue
            try:
                wrong = int(np.isnan(constant.read()).sum())
            except ValueError:  # the values lie in another file: the answers will tell
                continue
            if wrong:
                raise ModelLoadError(
                    f"{path.name} has weights that are not finite numbers: {wrong} of the "
                    f"{constant.elements} values of {constant.name!r} are NaN",
                    hint="Training has diverged, or the file is damaged: export it again from an "
                    "earlier checkpoint, or from a network that is trained again.",
                )


def tensor_names(path: Path) -> frozenset[str]:
    """Return the names of the tensors that the operators of a file's main graph write.

    The caller guards it by ``corruption``.

    Raises:
        ImportError: onnx is not installed.
        PackageMissing: Neither ai-edge-litert nor TensorFlow is installed.
    """
    if _is_tflite(path):
        tensors = unpacked(path.read_bytes()).subgraphs[0].tensors
        return frozenset(bytes(item.name or b"").decode(errors="replace") for item in tensors)
    nodes = onnx.bare_nodes(onnx.loaded(path))
    return frozenset(value.key for node in nodes for value in node.outputs)


def embedded_metadata(path: Path) -> ModelMetadata | None:
    """Read what a .tflite or .onnx file says about itself.

    Returns:
        None where it says nothing, or is an .onnx file and the package onnx is not installed.

    Raises:
        ModelLoadError: The metadata are damaged.
    """
    if _is_tflite(path):
        content = path.read_bytes()
        with naming(path):
            return tflite_metadata.read(content)
    if find_spec("onnx") is None:
        return None
    model = onnx.loaded(path)
    with naming(path):
        return onnx_metadata.read(model)


def file_end(path: Path) -> GraphEnd:
    """Find what stands at the end of the graph, in front of its first output.

    That is the last operator that is more than a change of shape or of format.

    Args:
        path: A .tflite or .onnx file that an interpreter has loaded.

    Raises:
        ModelLoadError: The file cannot be read.
    """
    if not _is_tflite(path) and find_spec("onnx") is None:  # comparing needs ONNX Runtime alone
        return GraphEnd(Ending.OTHER, f"without the package onnx, the graph of {path.name} is shut")
    with corruption(path, "model"):
        nodes, output = _nodes_and_output(path)
        producers = producers_of(nodes)
        seen: set[str] = set()
        while output in producers and output not in seen:
            seen.add(output)
            node = producers[output]
            # The domain of an ONNX operator plays no part, nor does the name of a custom one.
            operator = "CUSTOM" if node.custom and _is_tflite(path) else node.operator
            operator = operator.rpartition(".")[2]
            source = node.inputs[0] if node.inputs else None
            if operator not in _PASSING or source is None:
                named = f"the last operator of {path.name} is {operator}"
                return GraphEnd(_ENDINGS.get(operator, Ending.OTHER), named)
            output = source.key
    return GraphEnd(Ending.OTHER, f"{path.name} changes no value of its input")


def _nodes_and_output(path: Path) -> tuple[Sequence[Node], str]:
    """The nodes of a file and the key of its first output."""
    if _is_tflite(path):
        graph = TfliteFile(path.read_bytes()).graph()
        return graph.nodes, graph.output_values[0].key
    model = onnx.loaded(path)
    return onnx.bare_nodes(model), model.graph.output[0].name


def integers_inside(path: Path) -> bool:
    """Whether weights or activations are quantized; False for a file that is not understood.

    That widens what right answers differ by. An .onnx file is searched and not parsed, so that
    this needs no package; an engine refuses what is wrong with it.

    Raises:
        PackageMissing: Neither ai-edge-litert nor TensorFlow is installed to read a .tflite file.
    """
    content = path.read_bytes()
    if path.suffix.lower() == ".onnx":
        return any(name in content for name in _ONNX_INTEGERS)
    if not _is_tflite(path):
        return False
    try:
        nodes = TfliteFile(content).graph().nodes
    except READ_ERRORS:  # the engine will refuse it
        return False
    return any(
        value is not None and value.quantized and value.dtype in _TFLITE_INTEGERS
        for node in nodes
        for value in (*node.inputs, *node.outputs)
    )


def _is_tflite(path: Path) -> bool:
    return path.suffix.lower() == ".tflite"
