"""A TFLite model in LiteRT's ``CompiledModel``, which drives its GPU and NPU accelerators."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.accelerators.base import Coverage, Device, EngineSettings, OperatorTime
from benchmarks.accelerators.engine import captured, imported
from benchmarks.accelerators.litert_cpu import (
    LITERT,
    MAIN,
    check_answers,
    import_interpreter,
    signatures,
)
from benchmarks.input_shape import closed
from edge.errors import InferenceError, ModelLoadError, UsageError
from edge.modelfile.delegation import nodes_of
from edge.runtime.backends.litert import tensor_spec
from edge.runtime.refusal import refusal
from edge.runtime.session import first_line
from edge.runtime.spec import TensorSpec

NEWER: Final = "Install it with pip: ai-edge-litert, version 2.3 or newer."
# What LiteRT 2.3 logs of a file that its interpreter may well read, such as a stateful LSTM.
UNREADABLE: Final = re.compile(r"ERROR: \[model_load\.cc:\d+\] (.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """What the file states, before any accelerator has touched it.

    Attributes:
        engine: The interpreter and its version.
        inputs: The inputs by tensor index, in the interpreter's order, with every extent known.
        outputs: The outputs, likewise.
        operators: The types of the main graph's operators, in order.
        signatures: The key and the subgraph of each, in the file's order.
    """

    engine: str
    inputs: dict[int, TensorSpec]
    outputs: dict[int, TensorSpec]
    operators: tuple[str, ...]
    signatures: tuple[tuple[str, int], ...] = ()

    @property
    def main(self) -> int:
        """Return the position of the graph's signature; 0 where the file names none."""
        graphs = [graph for _, graph in self.signatures]
        return graphs.index(MAIN) if MAIN in graphs else 0


def read_graph(model: Path, settings: EngineSettings) -> Graph:
    """Read a .tflite file with the interpreter, without delegates and without its memory.

    Raises:
        EngineUnavailable: ai-edge-litert is missing or broken.
        ModelLoadError: The file does not load.
        UsageError: An extent of an input is open, and the settings do not say it.
    """
    module, engine = import_interpreter(LITERT)
    if not model.is_file():
        raise UsageError(f"no model file at {model}")
    try:
        interpreter = module.Interpreter(
            model_path=str(model),
            experimental_op_resolver_type=module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
    except (RuntimeError, ValueError, TypeError) as error:
        raise refusal(model, engine, error) from error
    details = interpreter.get_input_details()
    stated = tuple(tensor_spec(detail) for detail in details)
    known = closed(stated, settings.batch, resizable=True, shapes=settings.shapes)
    return Graph(
        engine=engine,
        inputs={detail["index"]: spec for detail, spec in zip(details, known, strict=True)},
        outputs={
            detail["index"]: tensor_spec(detail) for detail in interpreter.get_output_details()
        },
        operators=tuple(node.type for node in nodes_of(interpreter)),
        signatures=signatures(interpreter),
    )


def imported_options() -> tuple[Any, Any]:
    """LiteRT's modules ``options`` and ``hardware_accelerator``.

    Raises:
        EngineUnavailable: This release does not have them yet, or lacks a package of its own.
    """
    modules = ("compiled_model", "options", "hardware_accelerator")
    _, options, accelerators = (imported(f"ai_edge_litert.{name}", NEWER) for name in modules)
    return options, accelerators.HardwareAccelerator


def compile_model(model: Path, options: Any) -> tuple[Any, str, str]:
    """Compile for the accelerators that the options name.

    Returns:
        The ``CompiledModel``, or None where LiteRT refuses; the first line of its reason, empty
        where it compiled; and what it logged.

    Raises:
        ModelLoadError: LiteRT does not even read the file, whatever the accelerator.
    """
    from ai_edge_litert.compiled_model import CompiledModel

    compiled, reason = None, ""
    with captured() as log:
        try:
            compiled = CompiledModel.from_file(str(model), options=options)
        except (RuntimeError, ValueError) as error:
            reason = _innermost(error)
    if unreadable := UNREADABLE.search(log.text):
        raise refusal(
            model,
            "LiteRT's CompiledModel",
            RuntimeError(unreadable[1]),
            otherwise="Measure it on litert-cpu.",
        )
    return compiled, reason, log.text


def _innermost(error: Exception) -> str:
    """Return the last line of LiteRT's nested messages: those before state places in its code."""
    lines = [line.strip(" └") for line in str(error).splitlines()]
    stated = [line for line in lines if line and not line.startswith("ERROR: [")]
    return stated[-1] if stated else first_line(error)


def _word(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return what a tensor buffer moves: 64-bit values travel as pairs of 32 bits."""
    return np.dtype(np.int32) if dtype.itemsize == 8 else dtype


def _word_count(spec: TensorSpec) -> int:
    dtype = np.dtype(spec.dtype)
    return int(np.prod(spec.shape)) * dtype.itemsize // _word(dtype).itemsize


class CompiledRunner:
    """A ``base.Runner``. A run ends with the outputs read; a GPU's run call ends before that."""

    def __init__(
        self, compiled: Any, graph: Graph, *, batch: int, device: Device, coverage: Coverage
    ) -> None:
        """Make the buffers.

        Args:
            compiled: LiteRT's ``CompiledModel``.
            graph: What the file states.
            batch: The number of images of one inference.
            device: Where it runs.
            coverage: What ran there, with the engine's evidence.

        Raises:
            ModelLoadError: The compiled model does not take the batch.
        """
        self.engine = graph.engine
        self._compiled, self._device, self._coverage = compiled, device, coverage
        self._main = graph.main
        key = list(compiled.get_signature_list())[self._main]
        self.signatures = graph.signatures
        self.signature = key if graph.signatures else ""
        names = compiled.get_signature_list()[key]
        details = compiled.get_input_tensor_details(key)
        order = [details[name]["index"] for name in names["inputs"]]
        self.inputs = tuple(graph.inputs.values())
        self._resize([graph.inputs[index].shape for index in order], details, names)
        details = compiled.get_output_tensor_details(key)
        answers = [details[name]["index"] for name in names["outputs"]]
        extents = {
            details[name]["index"]: tuple(int(extent) for extent in details[name]["shape"])
            for name in names["outputs"]
        }
        self.outputs = tuple(
            replace(spec, shape=extents[index]) for index, spec in graph.outputs.items()
        )
        check_answers(self.outputs, batch, f"{device.name}, by {graph.engine},")
        self._input_buffers = compiled.create_input_buffers(self._main)
        self._output_buffers = compiled.create_output_buffers(self._main)
        self._in = [self._input_buffers[order.index(index)] for index in graph.inputs]
        self._out = [
            (
                self._output_buffers[answers.index(index)],
                _word_count(spec),
                np.dtype(spec.dtype),
                spec.shape,
            )
            for index, spec in zip(graph.outputs, self.outputs, strict=True)
        ]

    def _resize(
        self, wanted: list[tuple[int, ...]], details: dict[str, Any], names: dict[str, Any]
    ) -> None:
        for position, name in enumerate(names["inputs"]):
            if wanted[position] == tuple(int(extent) for extent in details[name]["shape"]):
                continue
            try:
                self._compiled.resize_input_tensor(position, wanted[position], strict=False)
            except (RuntimeError, ValueError) as error:
                raise ModelLoadError(
                    f"{self._device.name} does not take the input {name} as {wanted[position]}: "
                    f"{_innermost(error)}",
                    hint="Measure it with --batch 1, or with the shape that the file states.",
                ) from error

    def run(self, *tensors: NDArray[Any]) -> list[NDArray[Any]]:
        """Write the inputs, run, and read the outputs: only reading waits for a GPU."""
        try:
            for buffer, tensor in zip(self._in, tensors, strict=True):
                buffer.write(np.ascontiguousarray(tensor).view(_word(tensor.dtype)))
            self._compiled.run_by_index(self._main, self._input_buffers, self._output_buffers)
            return [
                buffer.read(words, _word(dtype)).view(dtype).reshape(extents)
                for buffer, words, dtype, extents in self._out
            ]
        except (RuntimeError, ValueError) as error:
            raise InferenceError(f"{self.engine} failed: {_innermost(error)}") from error

    def device(self) -> Device:
        """See ``base.Runner``."""
        return self._device

    def coverage(self) -> Coverage | None:
        """Return what the engine stated when it compiled the model."""
        return self._coverage

    def profile(self, tensors: tuple[NDArray[Any], ...], runs: int) -> tuple[OperatorTime, ...]:
        """Empty: ``CompiledModel`` gives Python no profiler."""
        del tensors, runs
        return ()
