"""ONNX and TFLite models by OpenVINO, on the CPU, or on Intel's GPU or NPU."""

from pathlib import Path
from typing import Any, Final

from benchmarks.accelerators import onnx_tiny as tiny
from benchmarks.accelerators.base import Device, Settings
from benchmarks.accelerators.openvino_runner import OpenVinoRunner
from benchmarks.accelerators.packages import imported
from benchmarks.accelerators.table import ACCELERATORS
from edge.errors import EngineUnavailable, UsageError
from edge.runtime.refusal import known_cause, refusal
from edge.runtime.session import first_line

CPU: Final = "CPU"


def open_cpu(model: Path, settings: Settings) -> OpenVinoRunner:
    """On the CPU; see ``base.Opener``."""
    return _open(CPU, model, settings)


def probe_cpu(settings: Settings) -> Device:
    """The CPU; see ``table.Accelerator``."""
    return _probe(CPU, settings)


def open_gpu(model: Path, settings: Settings) -> OpenVinoRunner:
    """On Intel's GPU; see ``base.Opener``."""
    return _open("GPU", model, settings)


def probe_gpu(settings: Settings) -> Device:
    """Intel's GPU; see ``table.Accelerator``."""
    return _probe("GPU", settings)


def open_npu(model: Path, settings: Settings) -> OpenVinoRunner:
    """On Intel's NPU; see ``base.Opener``."""
    return _open("NPU", model, settings)


def probe_npu(settings: Settings) -> Device:
    """Intel's NPU; see ``table.Accelerator``."""
    return _probe("NPU", settings)


def _open(unit: str, model: Path, settings: Settings) -> OpenVinoRunner:
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


def _probe(unit: str, settings: Settings) -> Device:
    del settings
    module, core = _core(unit)
    return _require(module, core, unit)


def _core(unit: str) -> tuple[Any, Any]:
    """The module and its entry point.

    Raises:
        EngineUnavailable: The package is missing, or finds no such processor.
    """
    hint = f"To get it: {ACCELERATORS[f'openvino-{unit.lower()}'].get}."
    module = imported("openvino", hint)
    core = module.Core()
    found = core.available_devices
    # Several GPUs are listed as GPU.0, GPU.1; GPU alone is the first of them.
    if not any(name.partition(".")[0] == unit for name in found):
        raise EngineUnavailable(
            f"OpenVINO finds no {unit} here; it finds {', '.join(found) or 'nothing'}", hint=hint
        )
    return module, core


def _require(module: Any, core: Any, unit: str) -> Device:
    """Run the tiny model.

    Raises:
        EngineUnavailable: It does not run there, or wrongly.
    """
    with tiny.written() as model:
        try:
            runner = OpenVinoRunner(module, core, unit, model, Settings())
            (output,) = runner.run(tiny.ones())
        except Exception as error:
            raise EngineUnavailable(
                f"OpenVINO lists the {unit}, but it does not work: {_cause(error)}",
                hint="Update the processor's driver.",
            ) from error
    tiny.check(output, f"the {unit} by OpenVINO")
    return runner.device()


def _cause(error: Exception) -> str:
    """The last thing said: what stands before are places in OpenVINO's source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith("Exception from")]
    return first_line(RuntimeError(said[-1] if said else str(error)))
