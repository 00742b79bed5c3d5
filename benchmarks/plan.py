"""What is to be measured how: the options of a run, as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from typing import Protocol as TypingProtocol

from benchmarks.accelerators.base import EngineSettings, Unit
from benchmarks.accelerators.table import ACCELERATORS, Accelerator, accelerator
from benchmarks.protocol import TIMEOUT_SECONDS, Protocol
from benchmarks.request import Reply, Request
from benchmarks.result import MeasuredModel
from edge.errors import UsageError

ALL: Final = "all"


class MeasuringMachine(TypingProtocol):
    """Another machine, where workers run as they do here."""

    def ask(self, request: Request, reply: type[Reply], *, timeout: float) -> list[Reply]:
        """Run one worker to its end, as ``benchmarks.request.ask`` does."""
        ...

    def environment(self) -> Mapping[str, Any]:
        """Return what ``benchmarks.environment.environment`` says there."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkPlan:
    """The options of a run.

    Attributes:
        paths: Names of accelerators, or ``cpu``, ``gpu``, ``npu``, ``all``. ``cpu`` means
            the first engine of each format, the others mean every path.
        threads: CPU threads; each is a row of its own.
        settings: The settings of every row, except for threads.
        protocol: The protocol of every row, except for threads.
        pythons: The Python interpreter by name of a path, for engines in other environments.
        machine: Another machine to measure on; None for this one.
        pictures: Real pictures for models that take images; none for a generated one.
        memory: Whether peak memory is measured, in a process of its own.
        end_to_end: Whether the way from a picture to an answer is measured.
        profile: Whether operators are timed, in a process of its own.
        sustained_seconds: The length of a sustained run after the measurement; 0 for none.
        cool_down: Seconds of rest before each row.
        seed: The seed of the random order.
        timeout: Seconds beyond what its task may take until a process is killed.
        memory_bytes: The resident memory at which a process is killed; None for no limit.
    """

    paths: tuple[str, ...] = ("cpu",)
    threads: tuple[int, ...] = (1,)
    settings: EngineSettings = field(default_factory=EngineSettings)
    protocol: Protocol = field(default_factory=Protocol)
    pythons: Mapping[str, Path] = field(default_factory=dict)
    machine: MeasuringMachine | None = None
    pictures: tuple[Path, ...] = ()
    memory: bool = True
    end_to_end: bool = True
    profile: bool = False
    sustained_seconds: float = 0.0
    cool_down: float = 0.0
    seed: int = 0
    timeout: float = TIMEOUT_SECONDS
    memory_bytes: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what stands in the results, as JSON values."""
        return {
            "runs": self.protocol.runs,
            "min_seconds": self.protocol.min_seconds,
            "max_seconds": self.protocol.max_seconds,
            "warm_up_seconds": self.protocol.warm_up_seconds,
            "cool_down_seconds": self.cool_down,
            "sustained_seconds": self.sustained_seconds,
            "pictures": len(self.pictures) or "generated",
            "delegate": self.settings.delegate.name if self.settings.delegate else None,
            "options": dict(self.settings.options),
            "batch": self.settings.batch,
            "profile": self.profile,
            "input_shapes": {name: list(item) for name, item in self.settings.shapes.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One row to measure: a model on a path with a number of threads."""

    model: MeasuredModel
    path: Accelerator
    threads: int


def cells(models: Sequence[MeasuredModel], plan: BenchmarkPlan) -> tuple[Cell, ...]:
    """Return every row of a run, in the order in which they are shown.

    Threads matter on a CPU only: a GPU or NPU has one row.

    Raises:
        UsageError: An unknown path, or none that takes a model's format.
    """
    rows: list[Cell] = []
    for model in models:
        taken = _paths(model.format, plan)
        if not taken:
            raise UsageError(
                f"none of {', '.join(plan.paths)} takes {model.name}",
                hint=f"These do: {', '.join(_named(model.format))}.",
            )
        for path in taken:
            threads = plan.threads if path.unit is Unit.CPU else plan.threads[:1]
            rows += [Cell(model=model, path=path, threads=count) for count in threads]
    return tuple(rows)


def reference(format_: str) -> Accelerator | None:
    """Return the path whose answers are taken for right; None for a format without a CPU path."""
    return next((row for row in _of(format_) if row.unit is Unit.CPU), None)


def _paths(format_: str, plan: BenchmarkPlan) -> list[Accelerator]:
    wanted: dict[str, Accelerator] = {}
    for name in plan.paths:
        if name == ALL:
            rows = _of(format_)
        elif name == Unit.CPU:
            rows = [row for row in _of(format_) if row.unit is Unit.CPU][:1]
        elif name in list(Unit):
            rows = [row for row in _of(format_) if row.unit == name]
        else:
            rows = [row for row in (accelerator(name),) if format_ in row.formats]
        wanted.update((row.name, row) for row in rows)
    return [row for name, row in ACCELERATORS.items() if name in wanted]


def _of(format_: str) -> list[Accelerator]:
    return [row for row in ACCELERATORS.values() if format_ in row.formats]


def _named(format_: str) -> list[str]:
    return [row.name for row in _of(format_)]
