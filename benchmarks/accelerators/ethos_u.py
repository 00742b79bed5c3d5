"""Time of a TFLite model on an Arm Ethos-U NPU, as Vela, its compiler, estimates it.

Vela counts cycles per operator by a performance model; nothing runs. It leaves the time of
operators on the CPU out and succeeds all the same, so that a model of which it takes less looks
faster: then there is no time here.
"""

import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks.accelerators.base import Device, Estimate, Label, Settings
from benchmarks.accelerators.delegation import partly_refused
from benchmarks.accelerators.packages import imported, version
from benchmarks.accelerators.vela_report import estimate, inputs, one, read_coverage, read_summary
from benchmarks.input_shape import given_shapes, open_axes
from edge.errors import ModelLoadError, UsageError

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
class Target:
    """What Vela compiles for."""

    accelerator: str
    system_config: str
    memory_mode: str


def target(settings: Settings) -> Target:
    """The NPU that the settings' options name, with the system and memory of its family.

    Raises:
        UsageError: Unknown option, or an accelerator of no known family.
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
    return Target(
        accelerator=accelerator,
        system_config=settings.options.get("system-config", system),
        memory_mode=settings.options.get("memory-mode", memory),
    )


def open_ethos_u(model: Path, settings: Settings) -> Estimate:
    """Compile a .tflite file and read the estimate.

    Raises:
        EngineUnavailable: Vela is missing.
        ModelLoadError: Vela does not read the file, or takes none of it, or not all where that
            is asked.
        UsageError: Options that Vela does not know, or no such file.
    """
    engine = _vela()
    wanted = target(settings)
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


def probe_ethos_u(settings: Settings) -> Device:
    """The NPU that the options name; it need not be here.

    Raises:
        EngineUnavailable: Vela is missing.
        UsageError: Options that Vela does not know.
    """
    _vela()
    wanted = target(settings)
    return Device(name=f"{wanted.accelerator}, by Vela", label=Label.ESTIMATE)


def _vela() -> str:
    imported("ethosu.vela", HINT)
    return version("ethos-u-vela")


def _compile(model: Path, wanted: Target, folder: Path) -> str:
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
