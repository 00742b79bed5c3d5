"""The smallest models: an accelerator that is listed may still not run anything.

The ONNX model is one convolution, as bytes, since the worker's environment need not hold the
``onnx`` package. Its input ``x`` and output ``y`` are float32 (1, 2, 4, 4); the filter is 1 x 1
with weights [[1, 0.5], [0.25, 1]], so that a tensor of ones becomes 1.5 in the first channel and
1.25 in the second.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import EngineUnavailable

ONNX_MODEL: Final = bytes.fromhex(
    "08083a720a120a01780a01771201791a01632204436f6e761201672a1f0802080208010801100142"
    "01774a100000803f0000003f0000803e0000803f5a1b0a017812160a14080112100a0208010a0208"
    "020a0208040a020804621b0a017912160a14080112100a0208010a0208020a0208040a0208044204"
    "0a00100d"
)
ONNX_SHAPE: Final = (1, 2, 4, 4)
ONNX_ANSWER: Final = (1.5, 1.25)  # per channel
TOLERANCE: Final = 0.01  # of accelerators that compute in 16 bits


@contextmanager
def tiny_onnx() -> Iterator[Path]:
    """Give the ONNX model as a file, while the block runs."""
    with TemporaryDirectory(prefix="edge-probe-") as folder:
        model = Path(folder) / "tiny.onnx"
        model.write_bytes(ONNX_MODEL)
        yield model


def tiny_onnx_input() -> NDArray[np.float32]:
    """Return the input to which ``check_tiny_onnx`` knows the answer."""
    return np.ones(ONNX_SHAPE, np.float32)


def check_tiny_onnx(output: NDArray[Any], name: str) -> None:
    """Compare the output for ``tiny_onnx_input`` with the right one.

    Args:
        output: The output, of the shape (1, 2, 4, 4).
        name: The name of what computed it.

    Raises:
        EngineUnavailable: The output is wrong.
    """
    error = np.abs(output - np.reshape(ONNX_ANSWER, (1, 2, 1, 1))).max()
    if not error <= TOLERANCE:  # also of NaN
        raise EngineUnavailable(
            f"{name} is here, but computes a convolution wrongly, by up to {error:.3g}",
            hint="Update the driver.",
        )


TFLITE_SHAPE: Final = (1, 4, 4, 2)


def tiny_tflite(operators: Sequence[str] = ("ABS",)) -> bytes:
    """Return a .tflite file of float32 operators in a row, each from a tensor to one like it.

    Args:
        operators: The names of builtin operators without parameters, such as ``ABS`` or ``EXP``.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    graph = schema.SubGraphT()
    graph.tensors = [
        _tflite_tensor(schema, f"tensor{index}") for index in range(len(operators) + 1)
    ]
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


def write_tiny_tflite(folder: Path, operators: Sequence[str] = ("ABS",)) -> Path:
    """Write ``tiny_tflite`` as a file in a folder."""
    path = folder / "tiny.tflite"
    path.write_bytes(tiny_tflite(operators))
    return path


def _tflite_tensor(schema: Any, name: str) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.buffer = name, list(TFLITE_SHAPE), 0
    tensor.type = schema.TensorType.FLOAT32
    return tensor
