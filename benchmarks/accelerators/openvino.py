"""ONNX and TFLite models by OpenVINO, on the CPU, or on Intel's GPU or NPU."""

from collections import Counter
from collections.abc import Mapping
from operator import is_not
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.accelerators.base import Coverage, Device, EngineSettings, Label, OperatorTime
from benchmarks.accelerators.engine import imported
from benchmarks.accelerators.table import ACCELERATORS
from benchmarks.accelerators.tiny_models import check_tiny_onnx, tiny_onnx, tiny_onnx_input
from benchmarks.input_shape import check_outputs, closed
from edge.errors import EngineUnavailable, InferenceError, ModelLoadError, UsageError
from edge.runtime.backends.onnx import check_functions
from edge.runtime.refusal import known_cause, refusal
from edge.runtime.session import first_line
from edge.runtime.spec import TensorSpec

NO_OPERATORS: Final = ("Constant", "Parameter", "Result")


class OpenVinoRunner:
    """A ``base.Runner``; ``run`` waits for the answer and copies it."""

    def __init__(
        self, module: Any, core: Any, unit: str, model: Path, settings: EngineSettings
    ) -> None:
        """Read, set the batch, compile; OpenVINO's own errors come through as they are.

        Args:
            module: The module of OpenVINO.
            core: Its entry point.
            unit: ``CPU``, ``GPU`` or ``NPU``.
            model: A .onnx or .tflite file.
            settings: The threads of the CPU, and the batch.

        Raises:
            ModelLoadError: The model does not take that batch, would run elsewhere, or has
                functions that call one another too often.
        """
        self.engine = f"openvino {module.__version__.partition('-')[0]}"
        self._module, self._core, self._unit, self._settings = module, core, unit, settings
        if model.suffix.lower() == ".onnx":
            check_functions(model)
        self._model = core.read_model(model)
        stated = tuple(_spec(port) for port in self._model.inputs)
        self.inputs = closed(stated, settings.batch, resizable=True, shapes=settings.shapes)
        if self.inputs != stated:
            self._model.reshape({i: list(spec.shape) for i, spec in enumerate(self.inputs)})
        self._compiled = self._compile({})
        self.outputs = tuple(_spec(port) for port in self._compiled.outputs)
        check_outputs(model.name, self.outputs, settings.batch)
        devices = self._compiled.get_property("EXECUTION_DEVICES")
        if any(name.partition(".")[0] != unit for name in devices):
            raise ModelLoadError(
                f"OpenVINO would run {model.name} on {', '.join(devices)}, not on the {unit}",
                hint="Measure it on the processor that takes it.",
            )
        self._request = _Request(module, self._compiled)

    def run(self, *tensors: NDArray[Any]) -> list[NDArray[Any]]:
        """Run once; see ``base.Runner``."""
        return self._infer(self._request, tensors)

    def device(self) -> Device:
        """See ``base.Runner``."""
        name = str(self._core.get_property(self._unit, "FULL_DEVICE_NAME"))
        return Device(name=" ".join(name.split()), label=Label.HARDWARE)

    def coverage(self) -> Coverage | None:
        """Return the operators as OpenVINO read them; they compile as one piece or not at all."""
        operators = [op for op in self._model.get_ops() if op.get_type_name() not in NO_OPERATORS]
        taken = self._core.query_model(self._model, self._unit)
        left = Counter(
            op.get_type_name() for op in operators if op.get_friendly_name() not in taken
        )
        return Coverage(
            operators=len(operators),
            accelerated=len(operators) - left.total(),
            partitions=1,
            left=dict(left.most_common()),
        )

    def profile(self, tensors: tuple[NDArray[Any], ...], runs: int) -> tuple[OperatorTime, ...]:
        """See ``base.Runner``. Compiled once more, since counting slows the model down."""
        request = _Request(self._module, self._compile({"PERF_COUNT": True}))
        self._infer(request, tensors)
        total: dict[tuple[str, str, str], float] = {}
        for _ in range(runs):
            self._infer(request, tensors)
            for entry in request.own.get_profiling_info():
                if entry.status == entry.Status.EXECUTED:
                    key = (entry.node_name, entry.node_type, f"{self._unit} {entry.exec_type}")
                    total[key] = total.get(key, 0.0) + entry.real_time.total_seconds()
        return tuple(
            OperatorTime(name=name, type=type_, seconds=seconds / runs, where=where)
            for (name, type_, where), seconds in total.items()
        )

    def _compile(self, options: Mapping[str, Any]) -> Any:
        """Compile for one inference at a time, in the precision of the file.

        By default OpenVINO computes in bf16 on CPUs with AMX, and in f16 on GPUs; NPUs know f16
        alone.
        """
        wanted: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", **options}
        if self._unit != "NPU":
            wanted["INFERENCE_PRECISION_HINT"] = "f32"
        if self._unit == "CPU":
            wanted["INFERENCE_NUM_THREADS"] = self._settings.threads
        return self._core.compile_model(self._model, self._unit, wanted)

    def _infer(self, request: "_Request", tensors: tuple[NDArray[Any], ...]) -> list[NDArray[Any]]:
        try:
            return request(tensors)
        except Exception as error:  # its exception classes share no public base
            raise InferenceError(f"{self.engine} failed: {first_line(error)}") from error


class _Request:
    """An inference request that binds its inputs once as long as they are the same arrays.

    OpenVINO's own call with arrays costs 60 microseconds, this one 15.

    Attributes:
        own: The request of OpenVINO.
    """

    def __init__(self, module: Any, compiled: Any) -> None:
        self.own = compiled.create_infer_request()
        self._tensor = module.Tensor
        self._outputs = range(len(compiled.outputs))
        self._bound: tuple[NDArray[Any], ...] = ()

    def __call__(self, tensors: tuple[NDArray[Any], ...]) -> list[NDArray[Any]]:
        if len(tensors) != len(self._bound) or any(map(is_not, tensors, self._bound)):
            for index, tensor in enumerate(tensors):
                self.own.set_input_tensor(index, self._tensor(tensor, shared_memory=True))
            self._bound = tensors  # which also keeps the memory
        self.own.infer()
        return [self.own.get_output_tensor(index).data.copy() for index in self._outputs]


def _spec(port: Any) -> TensorSpec:
    """Return what OpenVINO says of an input or output; it keeps no quantization parameters."""
    names, shape = sorted(port.get_names()), port.get_partial_shape()
    return TensorSpec(
        name=names[0] if names else port.get_node().get_friendly_name(),
        shape=()
        if shape.rank.is_dynamic
        else tuple(-1 if extent.is_dynamic else extent.get_length() for extent in shape),
        dtype=np.dtype(port.get_element_type().to_dtype()).name,
    )


CPU: Final = "CPU"


def open_cpu(model: Path, settings: EngineSettings) -> OpenVinoRunner:
    """Load a model on the CPU; see ``base.Opener``."""
    return _open(CPU, model, settings)


def probe_cpu(settings: EngineSettings) -> Device:
    """Return the CPU; see ``table.Accelerator``."""
    return _probe(CPU, settings)


def open_gpu(model: Path, settings: EngineSettings) -> OpenVinoRunner:
    """Load a model on Intel's GPU; see ``base.Opener``."""
    return _open("GPU", model, settings)


def probe_gpu(settings: EngineSettings) -> Device:
    """Return Intel's GPU; see ``table.Accelerator``."""
    return _probe("GPU", settings)


def open_npu(model: Path, settings: EngineSettings) -> OpenVinoRunner:
    """Load a model on Intel's NPU; see ``base.Opener``."""
    return _open("NPU", model, settings)


def probe_npu(settings: EngineSettings) -> Device:
    """Return Intel's NPU; see ``table.Accelerator``."""
    return _probe("NPU", settings)


def _open(unit: str, model: Path, settings: EngineSettings) -> OpenVinoRunner:
    if not model.is_file():
        raise UsageError(f"no model file at {model}")
    module, core = _core(unit)
    try:
        return OpenVinoRunner(module, core, unit, model, settings)
    except RuntimeError as error:
        if unit != CPU:
            _require(module, core, unit)
        hint = "It may hold an operator that OpenVINO lacks"
        if settings.batch != 1:
            hint = f"It may not take a batch of {settings.batch}; try --batch 1"
        said = error if known_cause(model, error) else RuntimeError(_cause(error))
        hint = f"{hint}; or measure it with another engine."
        raise refusal(model, f"OpenVINO on the {unit}", said, otherwise=hint) from error


def _probe(unit: str, settings: EngineSettings) -> Device:
    del settings
    module, core = _core(unit)
    return _require(module, core, unit)


def _core(unit: str) -> tuple[Any, Any]:
    """Return the module and its entry point.

    Raises:
        EngineUnavailable: The package is missing, or finds no such processor.
    """
    hint = f"To get it: {ACCELERATORS[f'openvino-{unit.lower()}'].get}."
    module = imported("openvino", hint)
    core = module.Core()
    devices = core.available_devices
    # Several GPUs are listed as GPU.0, GPU.1; GPU alone is the first of them.
    if not any(name.partition(".")[0] == unit for name in devices):
        raise EngineUnavailable(
            f"OpenVINO finds no {unit} here; it finds {', '.join(devices) or 'nothing'}", hint=hint
        )
    return module, core


def _require(module: Any, core: Any, unit: str) -> Device:
    """Run the tiny model.

    Raises:
        EngineUnavailable: It does not run there, or wrongly.
    """
    with tiny_onnx() as model:
        try:
            runner = OpenVinoRunner(module, core, unit, model, EngineSettings())
            (output,) = runner.run(tiny_onnx_input())
        except Exception as error:
            raise EngineUnavailable(
                f"OpenVINO lists the {unit}, but it does not work: {_cause(error)}",
                hint="Update the processor's driver.",
            ) from error
    check_tiny_onnx(output, f"the {unit} by OpenVINO")
    return runner.device()


def _cause(error: Exception) -> str:
    """Return the last thing said: what stands before are places in OpenVINO's source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith("Exception from")]
    return first_line(RuntimeError(said[-1] if said else str(error)))
