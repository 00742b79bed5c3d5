"""What Vela 5 writes of a model: a summary of its estimate, and the model that it compiled."""

import csv
import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks.accelerators.base import Coverage, Estimate
from edge.errors import ModelLoadError
from edge.runtime.spec import TensorSpec

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
    """The only file of that name that Vela wrote.

    Raises:
        ModelLoadError: There is none.
    """
    for path in sorted(folder.glob(pattern)):
        return path
    raise ModelLoadError(f"Vela wrote no {pattern}", hint="Use ethos-u-vela 5.")


def read_summary(path: Path) -> dict[str, str]:
    """The only row of the summary, by column."""
    with path.open(encoding="utf-8", newline="") as stream:
        return next(csv.DictReader(stream))


def read_coverage(model: Path, compiled: Path, output: str) -> Coverage:
    """What the NPU takes: all that is no longer an operator of its own in the compiled model.

    Vela's own count is of the operators that it makes of the model's, by the thousand at times.

    Args:
        model: The .tflite file that was given.
        compiled: The one that Vela wrote.
        output: What it printed; the reasons stand there.
    """
    before, after = _operators(model), _operators(compiled)
    left = after - Counter({NPU: after[NPU]})
    reasons = {f"{found['type']}: {found['why']}" for found in REASON.finditer(output)}
    return Coverage(
        operators=before.total(),
        accelerated=max(0, before.total() - left.total()),
        partitions=after[NPU],
        left=dict(left.most_common()),
        reasons=tuple(sorted(reasons)),
    )


def estimate(engine: str, summary: Mapping[str, str], coverage: Coverage) -> Estimate:
    """The estimate, with no time unless the NPU takes all.

    Args:
        engine: Compiler and version.
        summary: Row of the summary; ``inference_time`` is in seconds, total cycles / core clock.
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
    """Inputs of the main graph, -1 for an extent that the file leaves open."""
    from ethosu.vela.tflite.Model import Model
    from ethosu.vela.tflite.TensorType import TensorType

    types = {code: name for name, code in vars(TensorType).items() if name.isupper()}
    graph = Model.GetRootAsModel(path.read_bytes(), 0).Subgraphs(0)
    tensors = [graph.Tensors(graph.Inputs(index)) for index in range(graph.InputsLength())]
    found = []
    for tensor in tensors:
        shape = tuple(tensor.Shape(axis) for axis in range(tensor.ShapeLength()))
        signed = tuple(tensor.ShapeSignature(axis) for axis in range(tensor.ShapeSignatureLength()))
        name = tensor.Name().decode("utf-8", "replace")
        dtype = types[tensor.Type()].lower()
        found.append(TensorSpec(name=name, shape=signed or shape, dtype=dtype))
    return tuple(found)


def _operators(path: Path) -> Counter[str]:
    """Operators of the main graph, by type; a custom one by its own name."""
    from ethosu.vela.tflite.BuiltinOperator import BuiltinOperator
    from ethosu.vela.tflite.Model import Model

    names = {code: name for name, code in vars(BuiltinOperator).items() if name.isupper()}
    model = Model.GetRootAsModel(path.read_bytes(), 0)
    graph = model.Subgraphs(0)
    found: Counter[str] = Counter()
    for index in range(graph.OperatorsLength()):
        code = model.OperatorCodes(graph.Operators(index).OpcodeIndex())
        # Old files state the type in the first of the two fields only.
        builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        custom = code.CustomCode()
        found[custom.decode() if custom else names.get(builtin, str(builtin))] += 1
    return found
