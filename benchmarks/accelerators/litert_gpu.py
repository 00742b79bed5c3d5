"""TFLite models on a GPU, by LiteRT's WebGPU accelerator over Vulkan."""

import re
import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks.accelerators.base import Coverage, Device, EngineSettings, Label
from benchmarks.accelerators.engine import partly_refused
from benchmarks.accelerators.litert_compiled import (
    CompiledRunner,
    Graph,
    compile_model,
    imported_options,
    read_graph,
)
from benchmarks.accelerators.litert_cpu import LITERT, import_interpreter
from benchmarks.accelerators.tiny_models import write_tiny_tflite
from edge.errors import EngineUnavailable, ModelLoadError

HINT: Final = (
    "LiteRT needs a GPU with a Vulkan driver; vulkaninfo (of vulkan-tools) shows what is there."
)
GET: Final = "Install it with pip: ai-edge-litert, version 2.3 or newer."
REGISTERED: Final = "name=GPU"
NO_DRIVER: Final = re.compile(r"Couldn't load Vulkan: (.+)")
# What LiteRT 2.3 logs: of the adapter that its WebGPU picked, of a partition, of what it leaves.
ADAPTER: Final = re.compile(r"Selected adapter: (?P<name>.+?), arch=.*adapterType=(?P<type>.+)")
PARTITION: Final = re.compile(r"Initializing \S+-based API from graph")
SPLIT: Final = re.compile(r"(\d+) operations will run on the GPU, and the remaining (\d+)")
REFUSED: Final = re.compile(
    r"operations are not supported by GPU delegate:\n(?P<lines>.*?)\n\d", re.S
)

_named: list[Device] = []


def open_gpu(model: Path, settings: EngineSettings) -> CompiledRunner:
    """Load a .tflite file on the GPU; see ``base.Opener``.

    The model is compiled for the GPU alone, which fails where an operator is not taken. Only
    then, and unless full delegation is asked for, the CPU gets the rest: asked for both at once,
    LiteRT would run a model on the CPU without a word.
    """
    graph = read_graph(model, settings)
    compiled, reason, log = compile_model(model, _options())
    device = _device(log)
    if device is None:
        raise _unavailable(log)
    coverage = gpu_coverage(graph, log, whole=compiled is not None)
    if compiled is None:
        if not coverage.accelerated:
            raise ModelLoadError(
                f"{model.name} does not compile for {device.name}: {reason}",
                hint="Measure it on litert-cpu.",
            )
        if settings.full_delegation:
            raise partly_refused(model, device.name, coverage)
        compiled, reason, log = compile_model(model, _options(with_cpu=True))
        coverage = gpu_coverage(graph, log, whole=False)
        if compiled is None or not coverage.accelerated:
            raise ModelLoadError(
                f"{model.name} does not compile for {device.name}: {reason or 'nothing ran on it'}",
                hint="Measure it on litert-cpu.",
            )
    return CompiledRunner(compiled, graph, batch=settings.batch, device=device, coverage=coverage)


def probe_gpu(settings: EngineSettings) -> Device:
    """Return the GPU that a tiny model compiles for.

    Raises:
        EngineUnavailable: ai-edge-litert or a usable GPU is missing.
    """
    del settings
    import_interpreter(LITERT)
    with tempfile.TemporaryDirectory() as folder:
        compiled, _, log = compile_model(write_tiny_tflite(Path(folder)), _options())
    device = _device(log)
    if compiled is None or device is None:
        raise _unavailable(log)
    return device


def gpu_coverage(graph: Graph, log: str, *, whole: bool) -> Coverage:
    """Return what the GPU took.

    Args:
        graph: What the file states.
        log: What LiteRT logged when it compiled the model.
        whole: Whether the model compiled for the GPU alone, which proves that all was taken.
    """
    split = SPLIT.search(log)
    partitions = len(PARTITION.findall(log))
    if whole or split is None:
        count = len(graph.operators)
        return Coverage(operators=count, accelerated=count if whole else 0, partitions=partitions)
    taken, remaining = int(split[1]), int(split[2])
    refused = REFUSED.search(log)
    reasons = tuple(dict.fromkeys(refused["lines"].splitlines())) if refused else ()
    left: dict[str, int] = {}
    for name in dict.fromkeys(reason.partition(":")[0] for reason in reasons):
        left[name] = min(graph.operators.count(name), remaining - sum(left.values()))
    if rest := remaining - sum(left.values()):
        left["others, cut off by these"] = rest
    return Coverage(
        operators=taken + remaining,
        accelerated=taken,
        partitions=partitions,
        left={name: count for name, count in left.items() if count},
        reasons=reasons,
    )


def _unavailable(log: str) -> EngineUnavailable:
    """Return what to raise where LiteRT picked no adapter."""
    if REGISTERED not in log:
        return EngineUnavailable(
            "this ai-edge-litert has no GPU accelerator for this system", hint=GET
        )
    stated = NO_DRIVER.search(log)
    return EngineUnavailable(
        f"LiteRT finds no GPU: {stated[1] if stated else 'no Vulkan adapter'}", hint=HINT
    )


def _options(*, with_cpu: bool = False) -> Any:
    options, accelerator = imported_options()
    accelerators = accelerator.GPU | accelerator.CPU if with_cpu else accelerator.GPU
    # No benchmark_mode: it makes the run call wait, and a run here ends with the outputs read.
    return options.Options(hardware_accelerators=accelerators, gpu_options=options.GpuOptions())


def _device(log: str) -> Device | None:
    """Return the adapter in use: LiteRT before 2.2 names it in a process's first log only."""
    named = adapter(log)
    if named is not None:
        _named[:] = [named]
    return _named[0] if _named else None


def adapter(log: str) -> Device | None:
    """Return the adapter that the log names; a driver that computes on the CPU says so."""
    line = ADAPTER.search(log)
    if line is None:
        return None
    hardware = line["type"].strip() in ("Discrete GPU", "Integrated GPU")
    return Device(name=line["name"], label=Label.HARDWARE if hardware else Label.SOFTWARE_GPU)
