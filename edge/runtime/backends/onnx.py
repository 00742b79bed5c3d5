"""ONNX files, by ONNX Runtime; on the CPU unless another execution provider is named."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from edge.errors import InferenceError
from edge.runtime.onnx_calls import check_functions
from edge.runtime.session import first_line
from edge.runtime.spec import TensorSpec
from edge.runtime.supervisor import NativeCall

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
    """An ONNX Runtime session.

    Attributes:
        session: ONNX Runtime's own.
    """

    def __init__(
        self,
        module: Any,
        path: Path,
        *,
        threads: int,
        engine: str,
        held: Path | None = None,
        providers: Sequence[Any] | None = ("CPUExecutionProvider",),
        configure: Callable[[Any], None] | None = None,
    ) -> None:
        """Load the file. ONNX Runtime's own errors come through as they are.

        Args:
            module: ONNX Runtime's.
            path: A .onnx file.
            threads: CPU threads of one inference.
            engine: Interpreter and version.
            held: A copy of the file that was checked; it may go once this is made.
            providers: Execution providers, preferred first, by name or as (name, options); None
                where ``configure`` adds them.
            configure: Changes the session's options before the file is loaded.

        Raises:
            ModelLoadError: Its functions call one another too often.
        """
        self.engine = engine
        options = module.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors; they reach the caller as exceptions as well
        if configure is not None:
            configure(options)
        self._running = NativeCall(path, opens=False)
        with NativeCall(path, opens=True):
            check_functions(path, held)
            # By default a provider that fails is replaced by the CPU, with a line on stdout.
            self.session = module.InferenceSession(
                str(held or path),
                options,
                providers=None if providers is None else list(providers),
                enable_fallback=0,
            )
        self.inputs = tuple(_spec(item) for item in self.session.get_inputs())
        self.outputs = tuple(_spec(item) for item in self.session.get_outputs())
        self._names = [spec.name for spec in self.inputs]

    def run(self, *tensors: NDArray[Any]) -> list[NDArray[Any]]:
        """Run once; see ``Session``."""
        try:
            feeds = dict(zip(self._names, tensors, strict=True))
            with self._running:
                results: list[NDArray[Any]] = self.session.run(None, feeds)
            return results
        except Exception as error:  # its exception classes share no public base
            raise InferenceError(f"{self.engine} failed: {first_line(error)}") from error


def _spec(item: Any) -> TensorSpec:
    return TensorSpec(
        name=str(item.name),
        shape=tuple(extent if isinstance(extent, int) else -1 for extent in item.shape),
        dtype=DTYPES.get(item.type, str(item.type)),
    )
