"""Measures every row of a plan, each in processes of its own, in random order."""

import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.cell import Bench, measured
from benchmarks.environment import environment
from benchmarks.images import generated_picture
from benchmarks.plan import Plan, cells
from benchmarks.result import Results, Row, Subject
from edge.progress import Progress


def run(subjects: Sequence[Subject], plan: Plan, progress: Progress) -> Results:
    """Measure what the plan says; a row that fails says why and the others go on.

    Raises:
        UsageError: An unknown path, or no path for a model.
        ImageError: A picture of the plan cannot be decoded.
    """
    wanted = cells(subjects, plan)
    order = list(range(len(wanted)))
    random.Random(plan.seed).shuffle(order)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    record = environment() if plan.place is None else plan.place.environment()
    rows: list[Row | None] = [None] * len(wanted)
    with tempfile.TemporaryDirectory(prefix="edge-benchmark-") as name:
        folder = Path(name)
        pictures = plan.pictures or (generated_picture(folder),)
        bench = Bench(replace(plan, pictures=pictures), folder)
        with progress.stage("benchmark", len(wanted)) as step:
            for position, index in enumerate(order):
                if position and plan.cool_down:
                    time.sleep(plan.cool_down)
                rows[index] = replace(measured(wanted[index], bench), order=position)
                step(1)
    return Results(
        started=started,
        environment=record,
        protocol=plan.to_json(),
        seed=plan.seed,
        rows=tuple(row for row in rows if row is not None),
    )
