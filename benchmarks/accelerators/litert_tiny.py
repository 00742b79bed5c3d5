"""The smallest TFLite model: an accelerator that is registered may still not run anything."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

SHAPE: Final = (1, 4, 4, 2)


def tiny_model(operators: Sequence[str] = ("ABS",)) -> bytes:
    """A .tflite file of float32 operators in a row, each from one tensor to one of its shape.

    Args:
        operators: Builtin names without parameters, such as ``ABS`` or ``EXP``.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    graph = schema.SubGraphT()
    graph.tensors = [_tensor(schema, f"tensor{index}") for index in range(len(operators) + 1)]
    graph.inputs, graph.outputs, graph.operators = [0], [len(operators)], []
    model = schema.ModelT()
    model.version, model.subgraphs, model.buffers, model.operatorCodes = (
        3,
        [graph],
        [schema.BufferT()],
        [],
    )
    for index, name in enumerate(operators):
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)  # what old readers look at
        code.version = 1
        model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = index, [index], [index + 1]
        graph.operators.append(operator)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def write_tiny_model(folder: Path, operators: Sequence[str] = ("ABS",)) -> Path:
    """``tiny_model`` as a file in ``folder``."""
    path = folder / "tiny.tflite"
    path.write_bytes(tiny_model(operators))
    return path


def _tensor(schema: Any, name: str) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.buffer = name, list(SHAPE), 0
    tensor.type = schema.TensorType.FLOAT32
    return tensor
