"""Rows, settings and machines in words, as every output writes them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from benchmarks.accelerators.base import Label
from benchmarks.input_shape import plain_name, shown
from benchmarks.result import BenchmarkRow, Results, Stability, Status
from edge.wording import UNKNOWN, joined

BUSY: Final = 0.75  # of a CPU; a benchmark that has just ended leaves one thread's load behind


def model_name(row: BenchmarkRow) -> str:
    """Return the name of the bundle's variant, or of the file."""
    model = row.model
    return f"{model.bundle}:{model.name}" if model.bundle else model.name


def input_shape(row: BenchmarkRow) -> str:
    """Return what an inference got, such as ``1x224x224x3`` or ``ids=1x128 mask=1x128``."""
    if len(row.inputs) == 1:
        return shown(row.inputs[0].shape)
    return " ".join(f"{plain_name(spec.name)}={shown(spec.shape)}" for spec in row.inputs)


def by_model(rows: Iterable[BenchmarkRow]) -> dict[str, list[BenchmarkRow]]:
    """Group rows under the names of their models, both in the order in which they come."""
    groups: dict[str, list[BenchmarkRow]] = {}
    for row in rows:
        groups.setdefault(model_name(row), []).append(row)
    return groups


def setting(row: BenchmarkRow, results: Results) -> str:
    """Return threads and batch as far as they differ between the rows, such as `` t2 b8``."""
    parts = []
    if len({item.threads for item in results.rows}) > 1:
        parts.append(f" t{row.threads}")
    if len({item.batch for item in results.rows}) > 1:
        parts.append(f" b{row.batch}")
    return "".join(parts)


def shared_setting(rows: Sequence[BenchmarkRow]) -> str:
    """Return the threads and batches of the rows, such as ``1 and 2 threads, batch 1``."""
    threads = joined(str(count) for count in sorted({row.threads for row in rows}))
    batches = joined(str(count) for count in sorted({row.batch for row in rows}))
    return f"{threads} thread{'' if threads == '1' else 's'}, batch {batches}"


def coverage(row: BenchmarkRow) -> str:
    """Return how many operators run on the path's own kernels, such as ``40/67 partial``."""
    ran = row.coverage
    if ran is None:
        return UNKNOWN
    return f"{ran.accelerated}/{ran.operators}" + ("" if ran.full else " partial")


def outcome(row: BenchmarkRow) -> str:
    """Return label and stability of a row with a time, or the status of any other."""
    if row.status not in (Status.MEASURED, Status.ESTIMATED):
        return row.status.value
    label = row.label or (Label.ESTIMATE if row.status is Status.ESTIMATED else None)
    words = [UNKNOWN if label is None else label.value]
    if row.stability not in (None, Stability.STABLE):
        words.append(str(row.stability))
    return ", ".join(words)


def why(row: BenchmarkRow) -> str:
    """Return the reason and the hint of a row in sentences; empty if there are none."""
    sentences = (row.reason, row.hint)
    return " ".join(text if text.endswith(".") else f"{text}." for text in sentences if text)


def unmeasured(row: BenchmarkRow) -> bool:
    """Return whether the row has no time to show."""
    return row.status not in (Status.MEASURED, Status.ESTIMATED)


def busy(environment: Mapping[str, Any]) -> str:
    """Return what to know of other work on the machine; empty where it was quiet or not known."""
    load, cpu = environment.get("load_average"), environment.get("cpu")
    count = (cpu.get("logical") if isinstance(cpu, Mapping) else None) or environment.get("cpus")
    if not (isinstance(load, list) and load and isinstance(count, int) and count):
        return ""
    if not isinstance(load[0], int | float) or load[0] <= BUSY * count:
        return ""
    return f"other work ran when the measurement began: load {load[0]:.1f} on {count} CPUs"


def machine(environment: Mapping[str, Any]) -> str:
    """Return the machine in a few words, as far as the record tells."""
    cpu = environment.get("cpu")
    record = cpu if isinstance(cpu, Mapping) else {}
    board, model = environment.get("board"), record.get("model")
    names = [str(name) for name in (board, model) if name]
    cores = record.get("logical") or environment.get("cpus")
    if cores:
        names.append(f"{cores} CPUs" if cores != 1 else "1 CPU")
    if environment.get("virtual_machine"):
        names.append("virtual machine")
    return ", ".join(names) or str(environment.get("system", "unknown machine"))
