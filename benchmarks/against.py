"""Two models on one path, measured in turn: A B B A, each in a fresh process."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.cell import Bench, arrays, not_finite
from benchmarks.environment import environment
from benchmarks.inputs import generated_picture
from benchmarks.plan import BenchmarkPlan, Cell, cells
from benchmarks.protocol import Protocol
from benchmarks.request import LoadedModel, TimedModel, WorkerTask
from benchmarks.result import MeasuredModel
from benchmarks.stats import median
from benchmarks.verdict import ORDER, ROUNDS, Judgement, check_pairs, judge, paired
from edge.errors import InferenceError, UsageError
from edge.progress import Progress, Step
from edge.runtime.spec import TensorSpec

# Many short processes and not few long ones: what differs most is not the samples of a process
# but the processes, by where their memory lies.
BLOCK: Final = Protocol(runs=10, min_seconds=0.15, max_seconds=5.0, warm_up_seconds=0.05)


Inputs = tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """Whether a model is faster than a reference.

    Attributes:
        baseline: A, the reference.
        candidate: B, which is judged.
        path: The name of the path that both ran on.
        threads: CPU threads.
        medians: (A, B) seconds of processes that ran next to each other.
        judgement: What follows for B's time / A's time.
        environment: The record of the machine.
        inputs: What an inference of either got, with every extent.
    """

    baseline: MeasuredModel
    candidate: MeasuredModel
    path: str
    threads: int
    medians: tuple[tuple[float, float], ...]
    judgement: Judgement
    environment: Mapping[str, Any]
    inputs: tuple[Inputs, Inputs] = ((), ())

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; times in milliseconds."""
        judgement = self.judgement
        return {
            "schema_version": 1,
            "baseline": _named(self.baseline, self.inputs[0]),
            "candidate": _named(self.candidate, self.inputs[1]),
            "accelerator": self.path,
            "threads": self.threads,
            "medians_ms": [[1e3 * value for value in pair] for pair in self.medians],
            "ratio": judgement.ratio,
            "interval": [judgement.interval.low, judgement.interval.high],
            "confidence": judgement.confidence,
            "verdict": judgement.verdict.value,
            "environment": dict(self.environment),
        }


def _named(model: MeasuredModel, inputs: Inputs) -> dict[str, Any]:
    return {
        "name": model.name,
        "bundle": model.bundle,
        "sha256": model.sha256,
        "inputs": [{"name": item.name, "shape": list(item.shape)} for item in inputs],
    }


def against(
    baseline: MeasuredModel,
    candidate: MeasuredModel,
    plan: BenchmarkPlan,
    progress: Progress,
    *,
    rounds: int | None = None,
    candidate_plan: BenchmarkPlan | None = None,
) -> Against:
    """Measure both in turn.

    Args:
        baseline: A, the reference.
        candidate: B, which is judged; of the same format.
        plan: The path, threads and settings; the protocol is ``BLOCK``.
        progress: Told of each round.
        rounds: The number of rounds of four processes each; ``ROUNDS`` by default.
        candidate_plan: The settings of B where they differ, such as another delegate.

    Raises:
        UsageError: There is more than one path or number of threads, the path does not take
            both, or the rounds are too few to judge by.
        InferenceError: A model answers with NaN.
        EdgeError: A process failed.
    """
    count = rounds or ROUNDS
    check_pairs(count * len(ORDER) // 2)
    cell = _only(baseline, plan)
    other = replace(cell, model=candidate)
    if candidate.format != baseline.format and candidate.format not in cell.path.formats:
        raise UsageError(f"{cell.path.name} does not take {candidate.name}")
    with tempfile.TemporaryDirectory(prefix="edge-benchmark-") as name:
        folder = Path(name)
        pictures = plan.pictures or (generated_picture(folder),)
        shared = replace(plan, pictures=pictures, protocol=BLOCK)
        own = replace(candidate_plan or plan, pictures=pictures, protocol=BLOCK)
        sides = {"A": (cell, Bench(shared, folder)), "B": (other, Bench(own, folder))}
        title = f"pairs of {candidate.name} against {baseline.name}"
        with progress.stage(title, count * len(ORDER) // 2) as step:
            pairs, inputs = _measured(sides, count, step)
    return Against(
        baseline=baseline,
        candidate=candidate,
        path=cell.path.name,
        threads=cell.threads,
        medians=pairs,
        judgement=judge(np.array(pairs)),
        environment=environment(),
        inputs=inputs,
    )


def _measured(
    sides: Mapping[str, tuple[Cell, Bench]], rounds: int, step: Step
) -> tuple[tuple[tuple[float, float], ...], tuple[Inputs, Inputs]]:
    """Pairs of medians of neighbouring processes, and what A and B got."""
    for cell, bench in sides.values():
        _check_answers(cell, bench)
    pairs: list[tuple[float, float]] = []
    inputs: tuple[Inputs, Inputs] = ((), ())
    for _ in range(rounds):
        answers = [_asked(*sides[letter]) for letter in ORDER]
        pairs += paired(ORDER, [seconds for seconds, _ in answers])
        inputs = (answers[ORDER.index("A")][1], answers[ORDER.index("B")][1])
        step(len(ORDER) // 2)
    return tuple(pairs), inputs


def _check_answers(cell: Cell, bench: Bench) -> None:
    """Refuse to time a model whose answers cannot be right.

    Raises:
        InferenceError: An element of one is NaN or infinite.
    """
    file = bench.new_file()
    bench.ask(cell, WorkerTask.OUTPUTS, LoadedModel, file)
    broken = not_finite(arrays(file))
    if broken:
        raise InferenceError(
            f"{cell.model.name}: {broken}, so that its time means nothing",
            hint="Export the model again; edge predict shows what it answers.",
        )


def _only(model: MeasuredModel, plan: BenchmarkPlan) -> Cell:
    rows = cells((model,), plan)
    if len(rows) != 1:
        raise UsageError(
            f"{len(rows)} ways to run {model.name}; two models are compared on one",
            hint="Name one accelerator and one number of threads.",
        )
    if rows[0].path.estimate:
        raise UsageError(f"{rows[0].path.name} only estimates", hint="Name a path that measures.")
    return rows[0]


def _asked(cell: Cell, bench: Bench) -> tuple[float, Inputs]:
    """The median seconds of a process, and what its inferences got."""
    timed = bench.ask(cell, WorkerTask.TIME, TimedModel)[-1]
    inputs = tuple(replace(spec, quantization=None) for spec in timed.model.inputs)
    return median(timed.times.steady), inputs
