"""How long both sides take on one host: measured in turn now, or as their bundles recorded."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.protocol import Protocol
from benchmarks.stats import median
from benchmarks.timing import measure
from benchmarks.turns import TimedFile, in_turn
from edge.comparison.evidence import Latencies
from edge.comparison.model import ComparedModel
from edge.comparison.result import Interval
from edge.errors import UsageError
from edge.progress import Progress
from edge.runtime.session import encode_pixels
from edge.runtime.spec import TensorSpec

ROUNDS: Final = 10
BLOCK: Final = Protocol(runs=5, min_seconds=0.05, max_seconds=2.0, warm_up_seconds=0.1)
ALONE: Final = Protocol(min_seconds=0.5, warm_up_seconds=0.1)  # of one file, twice named


def measured(
    baseline: ComparedModel, candidate: ComparedModel, confidence: float, progress: Progress
) -> Latencies:
    """Time both files here, on an image of noise, with one thread.

    Neighbouring blocks share the machine's speed of that moment, so it is the median of their
    ratios, with its interval, that is known best. The baseline's latency is the median of its
    blocks' medians; the candidate's is that times the ratio, which is what it takes on a machine
    just as fast.

    Raises:
        InferenceError: A model fails.
    """
    if baseline.sha256 == candidate.sha256:
        with progress.stage("latency"):
            engine = baseline.interpreter
            alone = 1e3 * measure(baseline.path, _input(baseline), ALONE, engine=engine).median
        return Latencies(baseline_ms=alone, candidate_ms=alone, ratio=Interval(1.0, 1.0))
    sides = {"baseline": baseline, "candidate": candidate}
    files = {
        part: TimedFile(path=side.path, make_input=_input(side), engine=side.interpreter)
        for part, side in sides.items()
    }
    with progress.stage("latency", ROUNDS) as step:
        turns = in_turn(files, BLOCK, ROUNDS, step=step)
    judgement = turns.judged("candidate", "baseline", confidence)
    before = 1e3 * median(turns.medians[:, 0].tolist())
    return Latencies(
        baseline_ms=before, candidate_ms=before * judgement.ratio, ratio=judgement.interval
    )


def _input(side: ComparedModel) -> Callable[[TensorSpec], NDArray[Any]]:
    noise = np.random.default_rng(0).integers(0, 256, side.preprocessing.shape, np.uint8)
    return lambda spec: encode_pixels(noise, spec, side.preprocessing.encoding)


def latencies(
    sources: Sequence[str],
    sides: tuple[ComparedModel, ComparedModel],
    confidence: float,
    progress: Progress,
) -> dict[str, Latencies | None]:
    """Return the latencies of each source that is asked for, ``measured`` or ``recorded``."""
    return {
        source: recorded(*sides) if source == "recorded" else measured(*sides, confidence, progress)
        for source in sources
    }


def recorded(baseline: ComparedModel, candidate: ComparedModel) -> Latencies | None:
    """Return the latencies that the two bundles state; None if a side has none.

    Raises:
        UsageError: They were measured on unlike hosts or with other settings.
    """
    before, after = baseline.recorded, candidate.recorded
    if before is None or after is None:
        return None
    unlike = [
        f"{name}: {getattr(before, name)} and {getattr(after, name)}"
        for name in ("machine", "system", "cpus", "threads")
        if getattr(before, name) != getattr(after, name)
    ]
    if unlike:
        raise UsageError(
            f"the recorded latencies are of unlike hosts ({', '.join(unlike)})",
            hint='Write source = "measured" in the rule: both are then timed here.',
        )
    return Latencies(baseline_ms=before.milliseconds, candidate_ms=after.milliseconds)
