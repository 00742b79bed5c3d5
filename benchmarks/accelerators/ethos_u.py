"""Time of a TFLite model on an Arm Ethos-U NPU, as Vela 5, its compiler, estimates it.

Vela counts cycles per operator by a performance model; nothing runs. It leaves the time of
operators on the CPU out and succeeds all the same, so that a model of which it takes less looks
faster: then there is no time here. It writes a summary of its estimate and the model that it
compiled.
"""

import csv
import math
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks.accelerators.base import Coverage, Device, EngineSettings, Estimate, Label
from benchmarks.accelerators.engine import imported, partly_refused, version
from benchmarks.input_shape import given_shapes, open_axes
from edge.errors import ModelLoadError, UsageError
from edge.runtime.spec import TensorSpec

HINT: Final = "Install it with pip: ethos-u-vela."
INT8: Final = "Give a model quantized to int8, inputs and outputs included."
CONFIG: Final = "Arm/vela.ini"  # comes with Vela
DEFAULT: Final = "ethos-u55-128"
OPTIONS: Final = ("accelerator", "system-config", "memory-mode")
# What Vela 5.2 assumes by itself (architecture_features.py); stated, so that it cannot change.
SYSTEMS: Final = {
    "ethos-u55": ("Ethos_U55_High_End_Embedded", "Shared_Sram"),
    "ethos-u65": ("Ethos_U65_Client_Server", "Dedicated_Sram_384KB"),
    "ethos-u85": ("Ethos_U85_SYS_DRAM_Mid", "Dedicated_Sram_384KB"),
}
OPTION_ERRORS: Final = ("CliOptionError", "ConfigOptionError", "vela: error: argument")


@dataclass(frozen=True, slots=True, kw_only=True)
class EthosUConfiguration:
    """What Vela compiles for."""

    accelerator: str
    system_config: str
    memory_mode: str


def configuration(settings: EngineSettings) -> EthosUConfiguration:
    """Return the NPU that the settings' options name, with the system and memory of its family.

    Raises:
        UsageError: An option or the family of the accelerator is unknown.
    """
    unknown = sorted(set(settings.options) - set(OPTIONS))
    if unknown and settings.delegate is None:  # with a delegate, they may be meant for that
        raise UsageError(f"unknown option {unknown[0]!r} of ethos-u; known: {', '.join(OPTIONS)}")
    accelerator = settings.options.get("accelerator", DEFAULT).lower()
    family = accelerator.rpartition("-")[0]
    if family not in SYSTEMS:
        raise UsageError(
            f"unknown accelerator {accelerator!r}; expected one of {', '.join(SYSTEMS)}, with its "
            "number of MACs, such as ethos-u55-128"
        )
    system, memory = SYSTEMS[family]
    return EthosUConfiguration(
        accelerator=accelerator,
        system_config=settings.options.get("system-config", system),
        memory_mode=settings.options.get("memory-mode", memory),
    )


def open_ethos_u(model: Path, settings: EngineSettings) -> Estimate:
    """Compile a .tflite file and read the estimate.

    Raises:
        EngineUnavailable: Vela is missing.
        ModelLoadError: Vela does not read the file, or takes none of it, or not all where that
            is asked.
        UsageError: Vela does not know the options, or there is no such file.
    """
    engine = _vela()
    wanted = configuration(settings)
    if not model.is_file():
        raise UsageError(f"no model file at {model}")
    if model.read_bytes()[4:8] != b"TFL3":
        raise ModelLoadError(f"{model} is no TFLite model, or is truncated")
    if settings.batch != 1:
        raise ModelLoadError(
            f"Vela estimates the file as it is; a batch of {settings.batch} was asked for",
            hint="Ask for --batch 1.",
        )
    specs = inputs(model)
    given_shapes(specs, settings.shapes)  # refuses what does not fit
    if any(open_axes(spec) for spec in specs):
        raise ModelLoadError(
            f"Vela estimates the file as it is, and {model.name} leaves extents of its input open",
            hint="Convert the model with a fixed input shape.",
        )
    with tempfile.TemporaryDirectory() as folder:
        output = _compile(model, wanted, Path(folder))
        summary = read_summary(one(Path(folder), "*_summary_*.csv"))
        coverage = read_coverage(model, one(Path(folder), "*_vela.tflite"), output)
    if not coverage.accelerated:
        raise ModelLoadError(
            f"{wanted.accelerator} takes none of the operators of {model.name}, "
            f"{coverage.operators} in all",
            hint=INT8,
        )
    if settings.full_delegation and not coverage.full:
        raise partly_refused(model, wanted.accelerator, coverage)
    known = tuple(replace(spec, shape=tuple(max(n, 1) for n in spec.shape)) for spec in specs)
    return replace(estimate(engine, summary, coverage), inputs=known)


def probe_ethos_u(settings: EngineSettings) -> Device:
    """Return the NPU that the options name; it need not be here.

    Raises:
        EngineUnavailable: Vela is missing.
        UsageError: Vela does not know the options.
    """
    _vela()
    wanted = configuration(settings)
    return Device(name=f"{wanted.accelerator}, by Vela", label=Label.ESTIMATE)


def _vela() -> str:
    imported("ethosu.vela", HINT)
    return version("ethos-u-vela")


def _compile(model: Path, wanted: EthosUConfiguration, folder: Path) -> str:
    """Run Vela, which writes into ``folder``, and return what it prints."""
    command = [sys.executable, "-m", "ethosu.vela", str(model), "--config", CONFIG]
    command += ["--accelerator-config", wanted.accelerator]
    command += ["--system-config", wanted.system_config, "--memory-mode", wanted.memory_mode]
    command += ["--output-dir", str(folder), "--verbose-performance"]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode == 0:
        return done.stdout
    last = (done.stdout.strip().splitlines() or ["it does not say why"])[-1]
    if any(sign in last for sign in OPTION_ERRORS):
        raise UsageError(
            f"Vela does not know these options: {last.partition(': ')[2].strip(chr(39))}",
            hint="vela --list-configs Arm/vela.ini shows system configurations and memory modes.",
        )
    raise ModelLoadError(f"Vela does not compile {model.name}: {last}", hint=INT8)


NPU: Final = "ethos-u"  # custom operator that stands for a partition
REASON: Final = re.compile(
    r"operator: (?P<type>\w+), ofm: .*\nReason: (?P<why>.+)"  # Vela's warnings
)
FACTS: Final = {  # name here: column of the summary
    "sram_kib": "sram_memory_used",
    "dram_kib": "dram_memory_used",
    "on_chip_flash_kib": "on_chip_flash_memory_used",
    "off_chip_flash_kib": "off_chip_flash_memory_used",
    "macs": "nn_macs",
    "cycles_npu": "cycles_npu",
    "cycles_total": "cycles_total",
    "core_clock_hz": "core_clock",
}


def one(folder: Path, pattern: str) -> Path:
    """Return the only file of that name that Vela wrote.

    Raises:
        ModelLoadError: There is none.
    """
    for path in sorted(folder.glob(pattern)):
        return path
    raise ModelLoadError(f"Vela wrote no {pattern}", hint="Use ethos-u-vela 5.")


def read_summary(path: Path) -> dict[str, str]:
    """Return the only row of the summary, by column."""
    with path.open(encoding="utf-8", newline="") as stream:
        return next(csv.DictReader(stream))


def read_coverage(model: Path, compiled: Path, output: str) -> Coverage:
    """Return what the NPU takes: all that is no operator of its own in the compiled model.

    Vela's own count is of the operators that it makes of the model's, by the thousand at times.

    Args:
        model: The .tflite file that was given.
        compiled: The one that Vela wrote.
        output: What it printed; the reasons stand there.
    """
    before, after = _operators(model), _operators(compiled)
    left = after - Counter({NPU: after[NPU]})
    reasons = {f"{refusal['type']}: {refusal['why']}" for refusal in REASON.finditer(output)}
    return Coverage(
        operators=before.total(),
        accelerated=max(0, before.total() - left.total()),
        partitions=after[NPU],
        left=dict(left.most_common()),
        reasons=tuple(sorted(reasons)),
    )


def estimate(engine: str, summary: Mapping[str, str], coverage: Coverage) -> Estimate:
    """Return the estimate, with no time unless the NPU takes all.

    Args:
        engine: The compiler and its version.
        summary: The row of the summary; ``inference_time`` is in seconds: cycles / core clock.
        coverage: What the NPU takes.
    """
    npu = float(summary["inference_time"])
    facts: dict[str, float | str] = {
        name: float(summary[column]) for name, column in FACTS.items() if column in summary
    }
    facts |= {name: summary[name] for name in ("system_config", "memory_mode")}
    notes = ["The clock and the memories are assumed, not those of a board."]
    if not coverage.full:
        left = ", ".join(f"{count} {name}" for name, count in coverage.left.items())
        notes.insert(0, f"Vela leaves out the time of what stays on the CPU: {left}.")
        facts["npu_part_seconds"] = npu
    clock = float(summary["core_clock"]) / 1e6
    accelerator = summary["accelerator_configuration"].replace("_", "-")
    return Estimate(
        engine=engine,
        device=f"{accelerator} at {clock:.0f} MHz, {summary['memory_mode']}, "
        f"{summary['system_config']}",
        seconds=npu if coverage.full and math.isfinite(npu) and npu > 0 else None,
        coverage=coverage,
        facts=facts,
        notes=tuple(notes),
    )


def inputs(path: Path) -> tuple[TensorSpec, ...]:
    """Return the inputs of the main graph, -1 for an extent that the file leaves open."""
    from ethosu.vela.tflite.Model import Model
    from ethosu.vela.tflite.TensorType import TensorType

    types = {code: name for name, code in vars(TensorType).items() if name.isupper()}
    graph = Model.GetRootAsModel(path.read_bytes(), 0).Subgraphs(0)
    tensors = [graph.Tensors(graph.Inputs(index)) for index in range(graph.InputsLength())]
    specs = []
    for tensor in tensors:
        shape = tuple(tensor.Shape(axis) for axis in range(tensor.ShapeLength()))
        signed = tuple(tensor.ShapeSignature(axis) for axis in range(tensor.ShapeSignatureLength()))
        name = tensor.Name().decode("utf-8", "replace")
        dtype = types[tensor.Type()].lower()
        specs.append(TensorSpec(name=name, shape=signed or shape, dtype=dtype))
    return tuple(specs)


def _operators(path: Path) -> Counter[str]:
    """Return the operators of the main graph, by type; a custom one by its own name."""
    from ethosu.vela.tflite.BuiltinOperator import BuiltinOperator
    from ethosu.vela.tflite.Model import Model

    names = {code: name for name, code in vars(BuiltinOperator).items() if name.isupper()}
    model = Model.GetRootAsModel(path.read_bytes(), 0)
    graph = model.Subgraphs(0)
    counts: Counter[str] = Counter()
    for index in range(graph.OperatorsLength()):
        code = model.OperatorCodes(graph.Operators(index).OpcodeIndex())
        # Old files state the type in the first of the two fields only.
        builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        custom = code.CustomCode()
        counts[custom.decode() if custom else names.get(builtin, str(builtin))] += 1
    return counts
