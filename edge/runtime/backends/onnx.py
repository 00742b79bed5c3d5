"""ONNX files, by ONNX Runtime on the CPU."""

from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from edge.errors import InferenceError
from edge.runtime.session import first_line
from edge.runtime.spec import TensorSpec

DTYPES: Final[dict[str, str]] = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


class OnnxSession:
    """An ONNX Runtime session on the CPU execution provider."""

    def __init__(self, module: Any, path: Path, *, threads: int, engine: str) -> None:
        """Load the file. ONNX Runtime's own errors come through as they are."""
        self.engine = engine
        options = module.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors; they reach the caller as exceptions as well
        self._session = module.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self.inputs = tuple(_spec(item) for item in self._session.get_inputs())
        self.outputs = tuple(_spec(item) for item in self._session.get_outputs())
        self._names = [spec.name for spec in self.inputs]

    def run(self, *tensors: NDArray[Any]) -> list[NDArray[Any]]:
        """Run once; see ``Session``."""
        try:
            feeds = dict(zip(self._names, tensors, strict=True))
            results: list[NDArray[Any]] = self._session.run(None, feeds)
            return results
        except Exception as error:  # its exception classes share no public base
            raise InferenceError(f"{self.engine} failed: {first_line(error)}") from error


def _spec(item: Any) -> TensorSpec:
    return TensorSpec(
        name=str(item.name),
        shape=tuple(extent if isinstance(extent, int) else -1 for extent in item.shape),
        dtype=DTYPES.get(item.type, str(item.type)),
    )
