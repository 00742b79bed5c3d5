"""Times one model file within this process, for a build's report; ``run`` has processes apart."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from benchmarks.stats import median, percentile
from benchmarks.timing import Protocol, timed
from edge.runtime.session import open_session


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
        return median(self.samples)

    def to_json(self) -> dict[str, Any]:
        """Times in milliseconds, and the raw samples."""
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
