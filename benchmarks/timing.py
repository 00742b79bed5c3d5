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
    """The times of inferences in seconds, in order; none is left out.

    Attributes:
        first: The time of the very first inference.
        warm_up: The times until the steady phase began.
        steady: The times that count.
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
        run: Runs one inference.
        protocol: When the measurement ends.
        clock: Gives the time in seconds; tests pass their own.
        after_first: Called with the outputs of the first inference, outside of any time.

    Raises:
        InferenceError: An inference failed.
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
    """Keep the garbage collector off: a collection would count as the model's time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """The measured times of one model file, in seconds.

    Attributes:
        engine: The interpreter and its version.
        threads: The number of CPU threads.
        load: The time from the file to a session that is ready.
        first: The time of the first inference.
        samples: The time of every steady inference, in order; none is left out.
    """

    engine: str
    threads: int
    load: float
    first: float
    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """Return the median of the samples, seconds."""
        from benchmarks.stats import median  # which a worker in another environment has not

        return median(self.samples)

    def to_json(self) -> dict[str, Any]:
        """Return the times in milliseconds, and the raw samples."""
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
        protocol: When the measurement ends.
        engine: The interpreter; the first one installed by default.
        clock: Gives the time in seconds; tests pass their own.

    Raises:
        ModelLoadError: The model does not load.
        InferenceError: The model fails.
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
