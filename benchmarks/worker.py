"""One task in a process of its own: ``python -m benchmarks.worker REQUEST.json``.

An engine that aborts, hangs or writes to stdout then harms nobody else.
Standard library, numpy, ``edge.runtime`` and the engine only: it runs in any Python environment.
"""

import importlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from benchmarks.accelerators.base import Runner
from benchmarks.environment import sample
from benchmarks.inputs import tensors
from benchmarks.request import (
    LoadedModel,
    OperatorTimes,
    PeakMemory,
    Request,
    StepTimes,
    SustainedPoint,
    TimedModel,
    WorkerTask,
)
from benchmarks.timing import timed
from edge.errors import InferenceError
from edge.runtime import checked
from edge.runtime.contract import PIXELS
from edge.runtime.typed import encoded, typed
from edge.workers import Message, answer, read_request

if TYPE_CHECKING:
    from edge.runtime.placement import Placement

MEMORY_RUNS: Final = 3  # the first allocates; the others show whether more comes
PROFILE_RUNS: Final = 20
PROFILE_SECONDS: Final = 10.0  # fewer runs of a model that would take longer
MAX_PIXELS: Final = 1 << 30  # bytes of all pictures of a cell, decoded
POINT_SECONDS: Final = 1.0  # between two points of a sustained run's curve


def main() -> NoReturn:
    """Do what the request says."""

    def work(say: Callable[[Message], None]) -> None:
        request = typed(Request, read_request(Path(sys.argv[1])), "the request", exact=True)
        for reply in TASKS[request.task](request):
            say(encoded(reply))

    answer(work, failure=InferenceError)


def _callable(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    named: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return named


def _opened(request: Request) -> tuple[Runner, tuple[NDArray[Any], ...]]:
    runner: Runner = _callable(request.opener)(request.model, request.settings)
    return runner, _inputs(request, runner)


def _inputs(request: Request, runner: Runner) -> tuple[NDArray[Any], ...]:
    pixels = None
    if request.pixels is not None:
        pixels = checked.read_npy(request.pixels, "the pixels", max_bytes=MAX_PIXELS)
    contract = request.preprocessing
    encoding = PIXELS if contract is None else contract.encoding
    return tensors(runner.inputs, request.settings.batch, pixels, encoding)


def _probe(request: Request) -> Iterator[object]:
    yield _callable(request.probe)(request.settings)


def _estimate(request: Request) -> Iterator[object]:
    yield _callable(request.opener)(request.model, request.settings)


def _outputs(request: Request) -> Iterator[object]:
    runner, arrays = _opened(request)
    outputs = runner.run(*arrays)
    _keep(outputs, request)
    yield _described(runner)


def _time(request: Request) -> Iterator[object]:
    _callable(request.probe)(request.settings)  # imports the engine: no part of loading a model
    started = time.perf_counter()
    runner: Runner = _callable(request.opener)(request.model, request.settings)
    load = time.perf_counter() - started
    arrays = _inputs(request, runner)
    run = runner.run
    times = timed(
        lambda: run(*arrays),
        request.protocol,
        after_first=lambda outputs: _keep(outputs, request),
    )
    yield TimedModel(model=_described(runner), load=load, times=times)


def _memory(request: Request) -> Iterator[object]:
    _callable(request.probe)(request.settings)
    before = _status("VmRSS")
    runner, arrays = _opened(request)
    for _ in range(MEMORY_RUNS):
        runner.run(*arrays)
    peak = _status("VmHWM")
    known = before is not None and peak is not None
    yield PeakMemory(size_bytes=max(peak - before, 0) if known else None)  # type: ignore[operator]


def _end_to_end(request: Request) -> Iterator[object]:
    """Give the median of each step; the whole chain runs each time, as it does on a device."""
    from edge.runtime.preprocess import load_placed

    image, contract = request.image, request.preprocessing
    assert image is not None
    assert contract is not None
    runner: Runner = _callable(request.opener)(request.model, request.settings)
    answered = _answered(request, runner)
    steps: list[tuple[float, ...]] = []

    def once() -> None:
        marks = [time.perf_counter()]
        placed = load_placed(image, contract)
        marks.append(time.perf_counter())
        arrays = tensors(runner.inputs, request.settings.batch, placed.pixels, contract.encoding)
        marks.append(time.perf_counter())
        outputs = runner.run(*arrays)
        marks.append(time.perf_counter())
        answered(outputs, placed.placement)
        marks.append(time.perf_counter())
        steps.append(tuple(np.diff(marks).tolist()))

    times = timed(once, request.protocol)
    decode, encode, invoke, post = np.median(steps[-len(times.steady) :], axis=0).tolist()
    yield StepTimes(decode=decode, encode=encode, invoke=invoke, post=post)


def _answered(request: Request, runner: Runner) -> "Callable[[Any, Placement], object]":
    """Return what makes an answer of raw outputs: the decoder, or the best class."""
    from edge.runtime.postprocess import dequantize

    contract, decoder = request.preprocessing, request.decoder
    if decoder is None or contract is None:
        return lambda outputs, _: np.argmax(dequantize(outputs[0], runner.outputs[0]), axis=-1)
    from edge.runtime.tasks.decoder import Tensors

    return decoder.open(Tensors(outputs=runner.outputs, preprocessing=contract, labels=())).decode


def _profile(request: Request) -> Iterator[object]:
    runner, arrays = _opened(request)
    runner.run(*arrays)
    before = time.perf_counter()
    runner.run(*arrays)
    runs = int(PROFILE_SECONDS / max(time.perf_counter() - before, 1e-6))
    yield OperatorTimes(operators=runner.profile(arrays, max(1, min(runs, PROFILE_RUNS))))


def _sustained(request: Request) -> Iterator[object]:
    """Give one message for each point, so that a run that is broken off is not lost."""
    runner, arrays = _opened(request)
    runner.run(*arrays)
    begin = time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < request.seconds:
        samples: list[float] = []
        until = time.perf_counter() + min(POINT_SECONDS, request.seconds - elapsed)
        while not samples or time.perf_counter() < until:
            before = time.perf_counter()
            runner.run(*arrays)
            samples.append(time.perf_counter() - before)
        yield SustainedPoint(
            elapsed=time.perf_counter() - begin,
            median=float(np.median(samples)),
            runs=len(samples),
            **asdict(sample()),
        )


TASKS: Final[dict[WorkerTask, Callable[[Request], Iterator[object]]]] = {
    WorkerTask.PROBE: _probe,
    WorkerTask.OUTPUTS: _outputs,
    WorkerTask.TIME: _time,
    WorkerTask.MEMORY: _memory,
    WorkerTask.END_TO_END: _end_to_end,
    WorkerTask.PROFILE: _profile,
    WorkerTask.SUSTAINED: _sustained,
    WorkerTask.ESTIMATE: _estimate,
}


def _described(runner: Runner) -> LoadedModel:
    return LoadedModel(
        engine=runner.engine,
        device=runner.device(),
        coverage=runner.coverage(),
        inputs=runner.inputs,
        outputs=runner.outputs,
        signature=getattr(runner, "signature", ""),
        signatures=tuple(key for key, _ in getattr(runner, "signatures", ())),
    )


def _keep(outputs: list[NDArray[Any]], request: Request) -> None:
    """Leave the outputs where the parent looks for them.

    Raises:
        InferenceError: An output holds objects, which no file here does.
    """
    if request.outputs is None:
        return
    if any(np.asarray(output).dtype.hasobject for output in outputs):
        raise InferenceError("an output holds objects, not numbers")
    np.savez(request.outputs, *outputs)  # read back in order as arr_0, arr_1, ...


def _status(field: str) -> int | None:
    """Return the bytes that Linux states of this process; None elsewhere."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None


if __name__ == "__main__":
    main()
