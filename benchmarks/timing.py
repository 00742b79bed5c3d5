"""How an inference is timed: first inference, warm-up and steady state apart, every sample kept.

``measure`` times a model file within this process, for a build's report; ``run`` has processes of
their own. Standard library, numpy and ``edge.runtime`` only: a worker runs in any Python
environment.
"""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from benchmarks.protocol import Protocol
from edge.runtime.session import open_session


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds of inferences, in order; none is left out.

    Attributes:
        first: The very first.
        warm_up: Those until the steady phase began.
        steady: Those that count.
    """

    first: float
    warm_up: tuple[float, ...]
    steady: tuple[float, ...]


def timed(
    run: Callable[[], Any],
    protocol: Protocol,
    *,
    clock: Callable[[], float] = time.perf_counter,
    after_first: Callable[[Any], None] = lambda outputs: None,  # noqa: ARG005
) -> Times:
    """Run a loaded model as the protocol says.

    Args:
        run: One inference.
        protocol: When to stop.
        clock: Seconds; tests pass their own.
        after_first: Given the first inference's outputs, outside of any time.

    Raises:
        InferenceError: Of ``run``.
    """
    with _no_garbage_collection():
        before = clock()
        outputs = run()
        first = clock() - before
        after_first(outputs)
        seconds = min(protocol.warm_up_seconds, protocol.max_seconds)
        warm_up: list[float] = []
        until = clock() + seconds
        while clock() < until:
            before = clock()
            run()
            warm_up.append(clock() - before)
        return Times(first=first, warm_up=tuple(warm_up), steady=_steady(run, protocol, clock))


def _steady(
    run: Callable[[], Any], protocol: Protocol, clock: Callable[[], float]
) -> tuple[float, ...]:
    samples: list[float] = []
    begin = clock()
    while True:
        before = clock()
        run()
        after = clock()
        samples.append(after - before)
        enough = len(samples) >= protocol.runs and after - begin >= protocol.min_seconds
        if enough or after - begin >= protocol.max_seconds:
            return tuple(samples)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A collection in the middle of an inference would count as the model's time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """Measured times of one model file, seconds.

    Attributes:
        engine: Interpreter and version.
        threads: CPU threads.
        load: From the file to a session that is ready.
        first: The first inference.
        samples: Every steady inference, in order; none is left out.
    """

    engine: str
    threads: int
    load: float
    first: float
    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median of the samples, seconds."""
        from benchmarks.stats import median  # which a worker in another environment has not

        return median(self.samples)

    def to_json(self) -> dict[str, Any]:
        """Times in milliseconds, and the raw samples."""
        from benchmarks.stats import percentile

        return {
            "engine": self.engine,
            "threads": self.threads,
            "kind": "measured",
            "load_ms": self.load * 1e3,
            "first_ms": self.first * 1e3,
            "median_ms": self.median * 1e3,
            "p95_ms": percentile(self.samples, 95) * 1e3,
            "runs": len(self.samples),
            "samples_ms": [sample * 1e3 for sample in self.samples],
        }


def measure(
    model: Path,
    make_input: Callable[[Any], NDArray[Any]],
    protocol: Protocol,
    *,
    engine: str | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Benchmark:
    """Load a model and time it.

    Args:
        model: A .tflite or .onnx file with one input.
        make_input: Gives the input tensor for the model's input spec.
        protocol: When to stop.
        engine: Interpreter; the first one installed by default.
        clock: Seconds; tests pass their own.

    Raises:
        ModelLoadError: The model does not load.
        InferenceError: It fails.
    """
    started = clock()
    session = open_session(model, engine=engine, threads=protocol.threads)
    loaded = clock()
    tensor = make_input(session.inputs[0])
    times = timed(lambda: session.run(tensor), protocol, clock=clock)
    return Benchmark(
        engine=session.engine,
        threads=protocol.threads,
        load=loaded - started,
        first=times.first,
        samples=times.steady,
    )
