"""Model files timed in turn within this process, so that their times can be compared.

A machine is faster in one second than in the next. Files that run one after the other within a
fraction of a second share its speed of that moment; so it is the ratio of two neighbouring blocks
that says which file is faster, and not the two times.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.protocol import Protocol
from benchmarks.stats import median
from benchmarks.timing import Benchmark, measure
from benchmarks.verdict import Judgement, SpeedVerdict, judge
from edge.evaluation.confidence import CONFIDENCE
from edge.progress import Step

BLOCK: Final = Protocol(runs=3, min_seconds=0.02, max_seconds=0.5, warm_up_seconds=0.01)
FEWEST_ROUNDS = 3  # of two passes each: six pairs are the fewest that have a 95 % interval


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedFile:
    """A file to be timed.

    Attributes:
        path: A .tflite or .onnx file with one input.
        make_input: Gives the input tensor for the model's input spec.
        engine: The interpreter; the first one installed by default.
    """

    path: Path
    make_input: Callable[[Any], NDArray[Any]]
    engine: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """The times of files that were measured in turn.

    Attributes:
        names: The names of the files.
        medians: (passes, files) the median of each block, in seconds; the blocks of a pass ran
            one after the other.
        benchmarks: All samples of each file, by its name.
    """

    names: tuple[str, ...]
    medians: NDArray[np.float64]
    benchmarks: Mapping[str, Benchmark]

    def judged(self, name: str, against: str, confidence: float) -> Judgement:
        """Return how long a file takes against another one, as a ratio with its interval.

        Raises:
            UsageError: There are too few passes for that confidence.
        """
        columns = [self.names.index(against), self.names.index(name)]
        return judge(self.medians[:, columns], confidence)


def in_turn(
    files: Mapping[str, TimedFile],
    block: Protocol,
    rounds: int,
    *,
    step: Step,
    max_seconds: float = math.inf,
    clock: Callable[[], float] = time.perf_counter,
) -> Turns:
    """Time files of this machine; see ``blocks_in_turn``.

    Each block opens its file anew: where its memory lies changes its time, and that belongs into
    the interval.

    Args:
        files: The files by name.
        block: How long each is measured in a pass.
        rounds: The number of rounds.
        step: Told of each round.
        max_seconds: No further round begins after so many seconds, once ``FEWEST_ROUNDS`` ran.
        clock: Gives the time in seconds; tests pass their own.

    Raises:
        ModelLoadError: A file does not load.
        InferenceError: A model fails.
    """

    def measured(name: str) -> Benchmark:
        file = files[name]
        return measure(file.path, file.make_input, block, engine=file.engine)

    return blocks_in_turn(
        tuple(files), measured, rounds, step=step, max_seconds=max_seconds, clock=clock
    )


def blocks_in_turn(
    names: Sequence[str],
    measured: Callable[[str], Benchmark],
    rounds: int,
    *,
    step: Step,
    max_seconds: float = math.inf,
    clock: Callable[[], float] = time.perf_counter,
) -> Turns:
    """Time files in rounds of two passes: in their order, and then backwards.

    So a drift of the machine's speed makes one ratio of a round too large and the other one too
    small by as much.

    Args:
        names: The names of the files.
        measured: Measures one block of a file, here or on another machine.
        rounds: The number of rounds.
        step: Told of each round.
        max_seconds: No further round begins after so many seconds, once ``FEWEST_ROUNDS`` ran.
        clock: Gives the time in seconds; tests pass their own.
    """
    names, begin, done = tuple(names), clock(), 0
    blocks: dict[str, list[Benchmark]] = {name: [] for name in names}
    while done < rounds and (done < FEWEST_ROUNDS or clock() - begin < max_seconds):
        for name in (*names, *reversed(names)):
            blocks[name].append(measured(name))
        done += 1
        step(1)
    step(rounds - done)
    return Turns(
        names=names,
        medians=np.array([[median(item.samples) for item in blocks[name]] for name in names]).T,
        benchmarks={name: _joined(blocks[name]) for name in names},
    )


PREFERRED: Final = (  # the order among variants that are as fast and as large
    *("tflite-int8", "tflite-mixed", "tflite-dynamic", "tflite-fp16", "tflite-fp32"),
    *("onnx-int8", "onnx-mixed", "onnx-fp32", "tflite-w8a16"),
)
AS_LARGE: Final = (
    1.1  # a file up to this many times as large saves nothing worth a change of format
)


def fastest(names: Iterable[str], turns: Turns) -> str:
    """Return the name of the file that takes least of the times of the same passes."""
    names = tuple(names)
    return min(names, key=lambda name: turns.judged(name, names[0], CONFIDENCE).ratio)


def best(sizes: Mapping[str, int], turns: Turns) -> str:
    """Choose one of the variants that are as accurate as another: this is the rule's one place.

    It is the fastest. Of those that are not surely slower than it, the smallest one; of files
    about as large, the first in ``PREFERRED``: so noise does not flip the choice between two files
    that are alike.

    Args:
        sizes: The size of each variant in bytes, by its name.
        turns: Their times.
    """
    first = fastest(sizes, turns)
    alike = [
        name
        for name in sizes
        if turns.judged(name, first, CONFIDENCE).verdict is not SpeedVerdict.SLOWER
    ]
    small = AS_LARGE * min(sizes[name] for name in alike)
    order = {name: place for place, name in enumerate(PREFERRED)}
    # A bundle of a later edge may have variants that this one does not know: they come last.
    return min(
        (name for name in alike if sizes[name] <= small),
        key=lambda name: (order.get(name, len(order)), name),
    )


def why_best(name: str, sizes: Mapping[str, int], turns: Turns, where: str) -> str:
    """Say in a few words why ``best`` chose a variant.

    Args:
        name: What it chose.
        sizes: As for ``best``.
        turns: Their times.
        where: The place where they were timed, an adverb.
    """
    first = fastest(sizes, turns)
    if first == name:
        return f"the fastest {where} of the files that are as accurate"
    told = turns.judged(name, first, CONFIDENCE).times
    why = "smaller" if AS_LARGE * sizes[name] < sizes[first] else "preferred"
    return f"as fast {where} as {first} as far as that can be told, {told} its time, and {why}"


def _joined(blocks: list[Benchmark]) -> Benchmark:
    """Return all samples of a file; its load and first inference are those of the first block."""
    first = blocks[0]
    return Benchmark(
        engine=first.engine,
        threads=first.threads,
        load=first.load,
        first=first.first,
        samples=tuple(sample for item in blocks for sample in item.samples),
    )
