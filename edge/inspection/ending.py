"""The last operator of a TFLite or ONNX file that is more than a change of shape or of format."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from edge.evaluation.output import Ending, GraphEnd
from edge.inspection.corruption import corruption
from edge.inspection.flatbuffer import load_schema

# Behind which a value is still the same one.
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


def file_end(path: Path) -> GraphEnd:
    """What stands at the end of the graph of a file, in front of its first output.

    Args:
        path: A .tflite or .onnx file that an interpreter has loaded.

    Raises:
        ModelLoadError: The file cannot be read.
    """
    tflite = path.suffix.lower() == ".tflite"
    if not tflite and find_spec("onnx") is None:  # only ONNX Runtime is needed to compare
        return GraphEnd(Ending.OTHER, f"without the package onnx, the graph of {path.name} is shut")
    read = _tflite_operators if tflite else _onnx_operators
    with corruption(path, "model"):
        producers, name = read(path)
        while name in producers:
            operator, source = producers[name]
            if operator not in _PASSING or source == name:
                named = f"the last operator of {path.name} is {operator}"
                return GraphEnd(_ENDINGS.get(operator, Ending.OTHER), named)
            name = source
    return GraphEnd(Ending.OTHER, f"{path.name} changes no value of its input")


Producers = dict[Any, tuple[str, Any]]
"""Tensor -> operator that gives it, and that operator's first input."""


def _tflite_operators(path: Path) -> tuple[Producers, Any]:
    schema = load_schema()
    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    codes = schema.BuiltinOperator
    names = {value: name for name, value in vars(codes).items() if isinstance(value, int)}
    graph = model.Subgraphs(0)
    producers: Producers = {}
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        code = model.OperatorCodes(operator.OpcodeIndex())
        name = names.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "CUSTOM")
        source = operator.Inputs(0) if operator.InputsLength() else None
        for position in range(operator.OutputsLength()):
            producers[operator.Outputs(position)] = (name, source)
    return producers, graph.Outputs(0)


def _onnx_operators(path: Path) -> tuple[Producers, Any]:
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    producers: Producers = {
        output: (node.op_type, node.input[0] if node.input else None)
        for node in graph.node
        for output in node.output
    }
    return producers, graph.output[0].name
