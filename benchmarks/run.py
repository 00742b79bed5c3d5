"""Measures every row of a plan, each in processes of its own, in random order."""

import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.cell import Bench, measured
from benchmarks.diff import check_hosts
from benchmarks.environment import environment
from benchmarks.inputs import generated_picture
from benchmarks.outputs import describe
from benchmarks.plan import BenchmarkPlan, Cell, cells
from benchmarks.result import BenchmarkRow, MeasuredModel, Results
from edge.errors import UsageError
from edge.progress import Progress

Key = tuple[str, str, str, int]


def run(
    models: Sequence[MeasuredModel],
    plan: BenchmarkPlan,
    progress: Progress,
    *,
    begun: Results | None = None,
    kept: Callable[[Results], None] = lambda results: None,  # noqa: ARG005
) -> Results:
    """Measure what the plan says; a row that fails says why and the others go on.

    Args:
        models: The models to measure.
        plan: How to measure.
        progress: Told of each row that is measured.
        begun: An interrupted run of the same plan: its rows with a time are not measured again.
        kept: Given what there is after each row, with the number of those that are missing.

    Raises:
        UsageError: A path is unknown, a model has no path, or ``begun`` is of another plan,
            machine or model.
        ImageError: A picture of the plan cannot be decoded.
    """
    wanted = cells(models, plan)
    order = list(range(len(wanted)))
    random.Random(plan.seed).shuffle(order)
    record = environment() if plan.machine is None else plan.machine.environment()
    results = Results(
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        environment=record,
        protocol=plan.to_json(),
        seed=plan.seed,
        rows=(),
    )
    rows: list[BenchmarkRow | None] = [None] * len(wanted)
    if begun is not None:
        rows = _kept_rows(begun, results, wanted)
        results = replace(results, started=begun.started, environment=begun.environment)
    left = [(position, index) for position, index in enumerate(order) if rows[index] is None]
    with tempfile.TemporaryDirectory(prefix="edge-benchmark-") as name:
        folder = Path(name)
        pictures = plan.pictures or (generated_picture(folder),)
        bench = Bench(replace(plan, pictures=pictures), folder)
        with progress.stage("benchmark", len(left)) as step:
            for count, (position, index) in enumerate(left):
                if count and plan.cool_down:
                    time.sleep(plan.cool_down)
                rows[index] = replace(measured(wanted[index], bench), order=position)
                results = _with_rows(results, rows)
                kept(results)
                step(1)
    return _with_rows(results, rows)


def _with_rows(results: Results, rows: Sequence[BenchmarkRow | None]) -> Results:
    measured_rows = tuple(row for row in rows if row is not None)
    return replace(results, rows=measured_rows, missing=len(rows) - len(measured_rows))


def _key(model: MeasuredModel, path: str, threads: int) -> Key:
    return f"{model.bundle}:{model.name}", model.sha256, path, threads


def _kept_rows(begun: Results, here: Results, wanted: Sequence[Cell]) -> list[BenchmarkRow | None]:
    """Return the rows of the interrupted run that have a time, each at its position.

    Raises:
        UsageError: It is of another plan, machine or model.
    """
    check_hosts(begun.environment, here.environment)
    positions = {
        _key(cell.model, cell.path.name, cell.threads): index for index, cell in enumerate(wanted)
    }
    unlike = [
        name
        for name, before, now in (
            ("options", begun.protocol, here.protocol),
            ("seed", begun.seed, here.seed),
            ("versions", _versions(begun.environment), _versions(here.environment)),
            ("rows", len(begun.rows) + begun.missing, len(wanted)),
        )
        if before != now
    ]
    rows: list[BenchmarkRow | None] = [None] * len(wanted)
    for row in begun.rows:
        index = positions.get(_key(row.model, row.accelerator, row.threads))
        if index is None:
            unlike.append("rows")
        elif not describe.unmeasured(row):
            # The file itself is named by the command; results do not tell where it lies.
            rows[index] = replace(row, model=wanted[index].model)
    if unlike:
        raise UsageError(
            f"the interrupted run has other {' and other '.join(dict.fromkeys(unlike))}",
            hint="Repeat its command to go on from it, or begin anew with --overwrite.",
        )
    return rows


def _versions(environment: Mapping[str, Any]) -> Any:
    return environment.get("versions")
