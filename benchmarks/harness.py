"""Times one model file: load, first inference, warm-up and steady state apart."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.stats import median, percentile
from edge.errors import UsageError
from edge.progress import Progress
from edge.runtime.bundle import Bundle
from edge.runtime.session import encode_pixels, open_session

WARM_UP_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """When a measurement ends: after ``runs`` and ``min_seconds``, or at ``max_seconds``.

    Attributes:
        runs: At least so many inferences.
        min_seconds: At least so long, seconds.
        max_seconds: At most so long, seconds, and at least one inference.
        threads: CPU threads of the interpreter.
    """

    runs: int = 50
    min_seconds: float = 0.5
    max_seconds: float = 30.0
    threads: int = 1

    def __post_init__(self) -> None:
        if self.runs < 1 or self.threads < 1:
            raise UsageError("runs and threads must be at least 1")
        if not 0 <= self.min_seconds <= self.max_seconds:
            raise UsageError("seconds must not be negative, nor the least above the most")


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
    before = clock()
    session.run(tensor)
    first = clock() - before
    warm_until = clock() + min(WARM_UP_SECONDS, protocol.max_seconds)
    while clock() < warm_until:
        session.run(tensor)
    samples: list[float] = []
    begin = clock()
    while True:
        before = clock()
        session.run(tensor)
        after = clock()
        samples.append(after - before)
        enough = len(samples) >= protocol.runs and after - begin >= protocol.min_seconds
        if enough or after - begin >= protocol.max_seconds:
            break
    return Benchmark(
        engine=session.engine,
        threads=protocol.threads,
        load=loaded - started,
        first=first,
        samples=tuple(samples),
    )


def benchmark_bundle(
    path: Path, variants: tuple[str, ...], protocol: Protocol, progress: Progress
) -> dict[str, Benchmark]:
    """Times of variants of a bundle, all of them if none is named, on a grey noise image.

    Raises:
        UsageError: No bundle there.
        BundleError: A variant is missing or altered.
    """
    bundle = Bundle.open(path)
    spec = bundle.manifest.preprocessing
    noise = np.random.default_rng(0).integers(0, 256, (spec.height, spec.width, 3), np.uint8)
    names = variants or tuple(item.name for item in bundle.manifest.variants)
    models = {name: bundle.model(name)[1] for name in names}
    results = {}
    with progress.stage("benchmark", len(models)) as step:
        for name, model in models.items():
            results[name] = measure(model, lambda tensor: encode_pixels(noise, tensor), protocol)
            step(1)
    return results
