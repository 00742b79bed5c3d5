"""TFLite files, by ai-edge-litert, tflite-runtime or TensorFlow: one interface in all three."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import InferenceError
from edge.runtime.session import first_line
from edge.runtime.spec import QuantizationParams, TensorSpec
from edge.runtime.supervisor import NativeCall


class LiteRTSession:
    """A TFLite interpreter with its tensors allocated."""

    def __init__(
        self,
        module: Any,
        path: Path,
        *,
        threads: int,
        engine: str,
        held: Path | None = None,
        **options: Any,
    ) -> None:
        """Load the file and allocate. The interpreter's own errors come through as they are.

        Args:
            module: The interpreter's.
            path: A .tflite file.
            threads: CPU threads of one inference.
            engine: Interpreter and version.
            held: A copy of the file that was checked; it may go once this is made.
            options: More of the interpreter's own, such as ``experimental_delegates``.
        """
        self.engine = engine
        self._running = NativeCall(path, opens=False)
        with NativeCall(path, opens=True):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # TensorFlow's interpreter announces its retirement
                self._interpreter = module.Interpreter(
                    model_path=str(held or path), num_threads=threads, **options
                )
            self._before_allocation()
            self._interpreter.allocate_tensors()
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        self._input_ids = [detail["index"] for detail in inputs]
        self._output_ids = [detail["index"] for detail in outputs]
        self.inputs = tuple(tensor_spec(detail) for detail in inputs)
        self.outputs = tuple(tensor_spec(detail) for detail in outputs)

    def _before_allocation(self) -> None:
        """Do what a subclass has to do while inputs can still be resized."""

    def run(self, *tensors: NDArray[Any]) -> list[NDArray[Any]]:
        """Run once; see ``Session``."""
        try:
            with self._running:
                for index, tensor in zip(self._input_ids, tensors, strict=True):
                    self._interpreter.set_tensor(index, tensor)
                self._interpreter.invoke()
                return [self._interpreter.get_tensor(index) for index in self._output_ids]
        except (RuntimeError, ValueError) as error:
            raise InferenceError(f"{self.engine} failed: {first_line(error)}") from error


def tensor_spec(detail: dict[str, Any]) -> TensorSpec:
    """Return what the interpreter's details say of a tensor."""
    parameters = detail["quantization_parameters"]
    quantization = None
    if len(parameters["scales"]):
        quantization = QuantizationParams(
            scales=tuple(float(scale) for scale in parameters["scales"]),
            zero_points=tuple(int(point) for point in parameters["zero_points"]),
            quantized_dimension=int(parameters["quantized_dimension"]),
        )
    return TensorSpec(
        name=str(detail["name"]),
        shape=tuple(int(extent) for extent in detail["shape_signature"]),
        dtype=np.dtype(detail["dtype"]).name,
        quantization=quantization,
    )
