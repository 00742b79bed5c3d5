"""Measures one row: time, then whether the answers are right, then what else was asked for."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.accelerators.base import Estimate, Label, Unit
from benchmarks.accelerators.table import Accelerator
from benchmarks.inputs import pixels
from benchmarks.parity import FLOAT16, FLOAT32, INTEGER, Tolerance, parity
from benchmarks.plan import BenchmarkPlan, Cell, reference
from benchmarks.request import (
    LoadedModel,
    OperatorTimes,
    PeakMemory,
    Reply,
    Request,
    StepTimes,
    SustainedPoint,
    TimedModel,
    WorkerTask,
    ask,
)
from benchmarks.result import BenchmarkRow, EndToEnd, MeasuredModel, Moment, Status, Timing
from benchmarks.stats import stability
from edge.errors import EdgeError, EngineUnavailable, ImageError, ModelLoadError, UsageError
from edge.modelfile.contents import integers_inside
from edge.runtime import checked

MAX_ANSWERS: Final = 1 << 30  # bytes of what a model answers to the pictures of a cell
ESTIMATE_SECONDS: Final = 600.0  # a compiler takes longer than an inference
STATUS: Final[tuple[tuple[type[EdgeError], Status], ...]] = (
    (EngineUnavailable, Status.UNAVAILABLE),  # before its base class
    (ModelLoadError, Status.REFUSED),
    (UsageError, Status.REFUSED),
)


class Bench:
    """What the rows of one run share: the plan, scratch files, and the reference's answers."""

    def __init__(self, plan: BenchmarkPlan, folder: Path) -> None:
        self.plan = plan
        self.folder = folder
        self._answers: dict[str, tuple[LoadedModel, list[NDArray[Any]]] | EdgeError] = {}
        self._files = 0

    def request(self, cell: Cell, task: WorkerTask, outputs: Path | None = None) -> Request:
        """Return what the worker of a row is asked for."""
        plan, contract = self.plan, cell.model.preprocessing
        return Request(
            task=task,
            opener=cell.path.open,
            probe=cell.path.probe,
            model=cell.model.path,
            settings=replace(plan.settings, threads=cell.threads),
            protocol=replace(plan.protocol, threads=cell.threads),
            pixels=pixels(plan.pictures, contract, self.folder) if contract else None,
            outputs=outputs,
            seconds=plan.sustained_seconds,
            image=plan.pictures[0] if contract else None,
            preprocessing=contract,
            decoder=cell.model.decoder,
        )

    def ask(
        self, cell: Cell, task: WorkerTask, reply: type[Reply], outputs: Path | None = None
    ) -> list[Reply]:
        """Return the worker's messages; arguments and errors as ``request.ask``."""
        plan = self.plan
        longest = {
            WorkerTask.ESTIMATE: ESTIMATE_SECONDS,
            WorkerTask.SUSTAINED: plan.sustained_seconds,
        }
        request = self.request(cell, task, outputs)
        timeout = plan.timeout + longest.get(task, 2 * plan.protocol.max_seconds)
        if plan.machine is not None:
            return plan.machine.ask(request, reply, timeout=timeout)
        return ask(
            request,
            reply,
            python=plan.pythons.get(cell.path.name),
            timeout=timeout,
            memory_bytes=plan.memory_bytes,
        )

    def new_file(self) -> Path:
        """Return a name for a worker's outputs."""
        self._files += 1
        return self.folder / f"outputs-{self._files}.npz"

    def expected(
        self, measured: MeasuredModel, path: Accelerator
    ) -> tuple[LoadedModel, list[NDArray[Any]]]:
        """Return what the reference path says of a model; asked once.

        Raises:
            EdgeError: The reference path is not installed, or fails on the model.
        """
        if measured.sha256 not in self._answers:
            file = self.new_file()
            cell = Cell(model=measured, path=path, threads=1)
            try:
                model = self.ask(cell, WorkerTask.OUTPUTS, LoadedModel, file)[-1]
                self._answers[measured.sha256] = (model, arrays(file))
            except EdgeError as error:
                self._answers[measured.sha256] = error
        answer = self._answers[measured.sha256]
        if isinstance(answer, EdgeError):
            raise answer
        return answer


def measured(cell: Cell, bench: Bench) -> BenchmarkRow:
    """Measure one row; what goes wrong stands in it.

    Raises:
        ImageError: A picture cannot be decoded, which says nothing of the model.
    """
    row = BenchmarkRow(
        model=cell.model,
        accelerator=cell.path.name,
        unit=cell.path.unit,
        threads=cell.threads,
        batch=bench.plan.settings.batch,
        status=Status.FAILED,
    )
    try:
        if cell.path.estimate:
            return _estimated(row, bench.ask(cell, WorkerTask.ESTIMATE, Estimate)[-1])
        file = bench.new_file()
        timed = bench.ask(cell, WorkerTask.TIME, TimedModel, file)[-1]
        row = _timed(row, timed)
        row = _proved(row, cell, bench, timed.model, arrays(file))
    except ImageError:
        raise
    except EdgeError as error:
        return _failed(row, error, cell.path)
    return row if row.status is not Status.MEASURED else _with_extras(row, cell, bench)


def arrays(file: Path) -> list[NDArray[Any]]:
    """Return what a worker left, in order."""
    outputs = checked.read_npz(file, "what the worker left", max_bytes=MAX_ANSWERS)
    return [outputs[f"arr_{number}"] for number in range(len(outputs))]


def _failed(row: BenchmarkRow, error: EdgeError, path: Accelerator) -> BenchmarkRow:
    status = next((to for kind, to in STATUS if isinstance(error, kind)), Status.FAILED)
    hint = error.hint or (path.get if status is Status.UNAVAILABLE else "")
    return replace(
        row,
        status=status,
        reason=error.message,
        hint=hint,
        usage=isinstance(error, UsageError),
    )


def _timed(row: BenchmarkRow, timed: TimedModel) -> BenchmarkRow:
    model, times = timed.model, timed.times
    timing = Timing(load=timed.load, first=times.first, warm_up=times.warm_up, samples=times.steady)
    others = [key for key in model.signatures if key != model.signature]
    return replace(
        row,
        status=Status.MEASURED,
        reason=f"signature {model.signature} was measured; edge does not measure the file's "
        f"others, {', '.join(others)}"
        if others
        else "",
        inputs=tuple(replace(spec, quantization=None) for spec in model.inputs),
        signature=model.signature,
        engine=model.engine,
        device=model.device.name,
        label=model.device.label,
        coverage=model.coverage,
        timing=timing,
        stability=stability(timing.samples),
    )


def _proved(
    row: BenchmarkRow, cell: Cell, bench: Bench, model: LoadedModel, outputs: list[NDArray[Any]]
) -> BenchmarkRow:
    """Return the row, without its time where its answers are wrong or nothing ran there."""
    if row.unit is not Unit.CPU and row.coverage is not None and not row.coverage.accelerated:
        return replace(
            row,
            status=Status.REFUSED,
            timing=None,
            stability=None,
            reason=f"no operator ran on it: all {row.coverage.operators} stayed on the CPU",
        )
    known = reference(cell.model.format)
    if known is None or known.name == cell.path.name:
        return _finite(row, outputs)
    try:
        described, expected = bench.expected(cell.model, known)
    except EdgeError as error:
        reason = f"cannot be checked against {known.name}: {error.message}"
        return replace(
            row,
            status=Status.FAILED,
            timing=None,
            stability=None,
            reason=reason,
            hint=error.hint,
        )
    specs, own = list(described.outputs), list(model.outputs)
    tolerance = _tolerance(cell)
    compared = parity(expected, outputs, specs, known.name, own=own, tolerance=tolerance)
    if compared.ok:
        return replace(row, parity=compared)
    return replace(
        row,
        status=Status.WRONG,
        parity=compared,
        timing=None,
        stability=None,
        reason=compared.detail,
    )


def _finite(row: BenchmarkRow, outputs: Sequence[NDArray[Any]]) -> BenchmarkRow:
    """Return the row of the reference path, without its time where no answer can be right."""
    broken = not_finite(outputs)
    if not broken:
        return row
    return replace(row, status=Status.WRONG, timing=None, stability=None, reason=broken)


def not_finite(outputs: Sequence[NDArray[Any]]) -> str:
    """Say how many elements of an answer are NaN or infinite; empty where none is."""
    broken = sum(int(np.count_nonzero(~np.isfinite(o))) for o in outputs if o.dtype.kind == "f")
    return f"{broken:,} elements of its answer are not finite (NaN or infinity)" if broken else ""


def _tolerance(cell: Cell) -> Tolerance:
    """Return what float answers may differ by."""
    if integers_inside(cell.model.path):
        return INTEGER
    return FLOAT32 if cell.path.unit is Unit.CPU else FLOAT16


def _estimated(row: BenchmarkRow, estimate: Estimate) -> BenchmarkRow:
    return replace(
        row,
        status=Status.ESTIMATED,
        engine=estimate.engine,
        device=estimate.device,
        label=Label.ESTIMATE,
        coverage=estimate.coverage,
        inputs=estimate.inputs,
        estimate=estimate.seconds,
        facts=estimate.facts,
        reason=" ".join(estimate.notes),
    )


def _with_extras(row: BenchmarkRow, cell: Cell, bench: Bench) -> BenchmarkRow:
    """Add memory, steps, operators and the sustained curve, each measured in a process of its own.

    One that fails leaves a note: the time of the row stands.
    """
    plan = bench.plan
    if plan.memory:
        row = _with(row, "memory", lambda: _memory(row, cell, bench))
    if plan.end_to_end and cell.model.preprocessing is not None:
        row = _with(row, "end-to-end", lambda: _end_to_end(row, cell, bench))
    if plan.profile:
        row = _with(row, "profile", lambda: _profile(row, cell, bench))
    if plan.sustained_seconds:
        row = _with(row, "sustained", lambda: _sustained(row, cell, bench))
    return row


def _with(row: BenchmarkRow, name: str, add: Callable[[], BenchmarkRow]) -> BenchmarkRow:
    try:
        return add()
    except ImageError:
        raise
    except EdgeError as error:
        return replace(row, reason=f"{row.reason} {name}: {error.message}".strip())


def _memory(row: BenchmarkRow, cell: Cell, bench: Bench) -> BenchmarkRow:
    return replace(row, peak_memory=bench.ask(cell, WorkerTask.MEMORY, PeakMemory)[-1].size_bytes)


def _end_to_end(row: BenchmarkRow, cell: Cell, bench: Bench) -> BenchmarkRow:
    steps = bench.ask(cell, WorkerTask.END_TO_END, StepTimes)[-1]
    return replace(row, end_to_end=EndToEnd(**asdict(steps)))


def _profile(row: BenchmarkRow, cell: Cell, bench: Bench) -> BenchmarkRow:
    return replace(row, profile=bench.ask(cell, WorkerTask.PROFILE, OperatorTimes)[-1].operators)


def _sustained(row: BenchmarkRow, cell: Cell, bench: Bench) -> BenchmarkRow:
    points = bench.ask(cell, WorkerTask.SUSTAINED, SustainedPoint)
    return replace(row, sustained=tuple(Moment(**asdict(point)) for point in points))
