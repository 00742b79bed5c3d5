"""TFLite models on an NPU, by LiteRT's compiler plugins; Intel's, which OpenVINO carries out.

The plugins of other vendors ship with Android devices and cannot be reached from here.
"""

import re
import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks.accelerators.base import Coverage, Device, EngineSettings, Label
from benchmarks.accelerators.engine import imported, partly_refused
from benchmarks.accelerators.litert_compiled import (
    CompiledRunner,
    compile_model,
    imported_options,
    read_graph,
)
from benchmarks.accelerators.litert_cpu import LITERT, import_interpreter
from benchmarks.accelerators.processors import cpu_name
from benchmarks.accelerators.tiny_models import write_tiny_tflite
from edge.errors import EngineUnavailable, ModelLoadError

HINT: Final = (
    "Install ai-edge-litert and ai-edge-litert-sdk-intel, both of one version (with "
    "SKIP_SDK_DOWNLOAD=1 set), and the openvino that they were built for."
)
# What LiteRT 2.3 logs: of a subgraph that a plugin partitioned, of a plugin that does not load.
PARTITIONED: Final = re.compile(
    r"Partitioned subgraph<\d+>, selected (\d+) ops, from a total of (\d+) ops. "
    r"resulted in (\d+) partitions"
)
NO_PLUGIN: Final = re.compile(r"Could not load shared library \S+/(?P<plugin>[^/\s]+): (?P<why>.+)")
SONAME: Final = re.compile(r"libopenvino\.so\.(\d\d)(\d)(\d)\b")


def open_npu(model: Path, settings: EngineSettings) -> CompiledRunner:
    """Load a .tflite file on the NPU; see ``base.Opener``.

    Compiled for the NPU alone first: with the CPU beside it, LiteRT calls a model that runs on
    the CPU fully accelerated.
    """
    graph = read_graph(model, settings)
    device, backend = _device(settings)
    compiled, reason, log = compile_model(model, _options(backend))
    coverage = npu_coverage(log)
    if coverage is None:
        raise _unavailable(reason, log)
    if settings.full_delegation and not (coverage.full and compiled is not None):
        raise partly_refused(model, device.name, coverage)
    if compiled is None and coverage.accelerated:
        compiled, reason, log = compile_model(model, _options(backend, with_cpu=True))
        coverage = npu_coverage(log)
    if compiled is None or coverage is None or not coverage.accelerated:
        raise ModelLoadError(
            f"{model.name} does not compile for {device.name}: {reason or 'nothing ran on it'}",
            hint="Measure it on litert-cpu.",
        )
    return CompiledRunner(compiled, graph, batch=settings.batch, device=device, coverage=coverage)


def probe_npu(settings: EngineSettings) -> Device:
    """Return the NPU that a tiny model compiles for; the plugin's CPU device where there is none.

    Raises:
        EngineUnavailable: A package is missing, or LiteRT does not load the plugin.
    """
    import_interpreter(LITERT)
    device, backend = _device(settings)
    with tempfile.TemporaryDirectory() as folder:
        compiled, reason, log = compile_model(write_tiny_tflite(Path(folder)), _options(backend))
    if compiled is None or npu_coverage(log) is None:
        raise _unavailable(reason, log)
    return device


def npu_coverage(log: str) -> Coverage | None:
    """Return what the plugin took, by LiteRT's log; None where no plugin looked at the model."""
    counts = [tuple(map(int, match.groups())) for match in PARTITIONED.finditer(log)]
    if not counts:
        return None
    taken, total, partitions = (sum(column) for column in zip(*counts, strict=True))
    left = {"of types that LiteRT does not name": total - taken} if total > taken else {}
    return Coverage(
        operators=total,
        accelerated=taken,
        partitions=partitions,
        left=left,
        reasons=("The plugin does not take them; the CPU computes them.",) if left else (),
    )


def _device(settings: EngineSettings) -> tuple[Device, str]:
    """Return the processor, and the plugin's name of it.

    ``device`` among the options names one; else it is the NPU, and the CPU where there is none,
    which computes what an NPU would, at its own speed.
    """
    openvino = imported("openvino", HINT)  # before the plugin: it brings the library into memory
    core = openvino.Core()
    there = {str(name).partition(".")[0] for name in core.available_devices}
    wanted = settings.options.get("device", "NPU" if "NPU" in there else "CPU").upper()
    if wanted not in ("CPU", "GPU", "NPU") or wanted not in there:
        raise EngineUnavailable(
            f"OpenVINO has no device {wanted} here; it has {', '.join(sorted(there))}",
            hint="Install the driver of the NPU, or leave the option device out.",
        )
    if wanted == "CPU":
        name = f"LiteRT's Intel NPU plugin on the CPU, {cpu_name()}"
        return Device(name=name, label=Label.SIMULATOR), wanted
    name = str(core.get_property(wanted, "FULL_DEVICE_NAME"))
    return Device(name=name, label=Label.HARDWARE), wanted


def _options(backend: str, *, with_cpu: bool = False) -> Any:
    options, accelerator = imported_options()
    intel = options.IntelOpenVinoOptions
    return options.Options(
        hardware_accelerators=accelerator.NPU | accelerator.CPU if with_cpu else accelerator.NPU,
        intel_openvino_options=intel(graph_backend=intel.GRAPH_BACKEND[backend]),
    )


def _unavailable(reason: str, log: str) -> EngineUnavailable:
    """LiteRT disables a plugin that does not load, and goes on; only its log says so."""
    disabled = NO_PLUGIN.search(log)
    if disabled is None:
        return EngineUnavailable(
            f"LiteRT has no NPU plugin here: {reason or 'its log names none'}", hint=HINT
        )
    wanted = SONAME.search(disabled["why"])
    hint = f"pip install openvino=={'20' + wanted[1]}.{wanted[2]}.{wanted[3]}" if wanted else HINT
    return EngineUnavailable(
        f"LiteRT disabled its plugin {disabled['plugin']}: {disabled['why'].rstrip('.')}", hint=hint
    )
