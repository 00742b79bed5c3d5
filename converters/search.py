"""Accuracy-budgeted mixed precision: which blocks have to stay in floats.

The blocks are ranked by the error that each makes alone, all others in floats; then the fewest of
that ranking are kept that hold the budget on held-out images. What leaving one block out saves
would be noise where several of them break the answers. One block at a time, as in sensitivity
analyses of the field (HAWQ, Dong et al., ICCV 2019, ranks by curvature instead; here the error
itself is measured, which needs no gradients).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.turns import BLOCK, TimedFile, Turns, in_turn
from converters.base import HeldOut
from converters.judge import ClassJudge, Judge, Loss
from converters.quantizable import Quantizable, layers_of
from edge.evaluation.confidence import CONFIDENCE
from edge.runtime.contract import PIXELS, InputEncoding
from edge.runtime.session import encode_pixels

RANKING_IMAGES: Final = 24  # a block's share of the error shows on few images
ROUNDS: Final = 10  # two pairs each, as for the files of a bundle
MOST_SECONDS: Final = 8.0  # after which no further round begins: there may be a dozen files
FLOAT: Final = "float"  # the name of the float file among the files that are timed
Tried = TypeVar("Tried")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One file that was tried.

    Attributes:
        kept: The blocks that are left in floats.
        top1: The top-1 accuracy on the held-out images; None without labels.
        drop_points: How many percentage points of top-1 it is below the float model; without
            labels, the percentage of images that are answered otherwise.
        agreement: The share of images with the float model's answer, 0..1.
        size_bytes: The size of the file as a bundle holds it, metadata included.
        latency_ms: The median of one inference on this host with one thread, measured.
        latency_ratio: The time of an inference over that of the float file, from neighbouring
            blocks of both.
        latency_ratio_interval: The low and the high end of the ratio, 95 %.
        on_front: Whether no other candidate is at least as good in drop, ratio and size and better
            in one.
    """

    kept: tuple[str, ...]
    top1: float | None
    drop_points: float
    agreement: float
    size_bytes: int
    latency_ms: float
    latency_ratio: float
    latency_ratio_interval: tuple[float, float]
    on_front: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What was tried, and what came of it.

    Attributes:
        max_drop_points: The budget, in percentage points.
        images: How many held-out images it was checked on; they also chose.
        blocks: How many blocks could have been kept.
        ranking: The blocks and the share that each has in the sum of the errors that they make
            alone, largest first; empty if int8 held the budget.
        candidates: The files in the order in which they were tried.
        float_latency_ms: The median of one inference of the float file, measured in turn with
            them.
        chosen: The candidate with the fewest blocks that holds the budget; None if none does.
        layers: The Keras layer of each block that it keeps, where the names of operators hold one.
    """

    max_drop_points: float
    images: int
    blocks: int
    ranking: tuple[tuple[str, float], ...]
    candidates: tuple[Candidate, ...]
    float_latency_ms: float
    chosen: Candidate | None
    layers: Mapping[str, str]


def search(
    model: Quantizable,
    held_out: HeldOut,
    max_drop_points: float,
    folder: Path,
    step: Callable[[], None],
    floats: Callable[[], bytes],
    *,
    judge: Judge | None = None,
    encoding: InputEncoding = PIXELS,
    finished: Callable[[bytes], bytes] = bytes,
) -> Search:
    """Find the fewest blocks to leave in floats.

    Args:
        model: A calibrated model.
        held_out: The images that the budget is checked on.
        max_drop_points: How many percentage points of top-1 may be lost.
        folder: The folder for the files that are tried.
        step: Is called after each file.
        floats: Gives the float file that the others are timed against.
        judge: Says how much a file loses; without it, as a classifier.
        encoding: What real values a pixel becomes in a file that takes such.
        finished: Gives a file as a bundle holds it, from the file without metadata.

    Raises:
        ConversionError: The quantizer refused the model.
        ModelLoadError, InferenceError: A file does not load or run.
    """
    judge = judge or ClassJudge(held_out, encoding)
    pixels = np.load(held_out.pixels, mmap_mode="r")
    scorer = _Scorer(model, judge, folder, step, finished)
    files = [scorer.scored(())]
    ranking: list[tuple[str, float]] = []
    if files[0].drop_points > max_drop_points:
        ranking = scorer.ranking()
        order = [name for name, _ in ranking]
        attempts = narrowed(
            order[: len(order) - 1],
            scorer.scored,
            lambda item: item.drop_points <= max_drop_points,
        )
        files += [item for _, item in attempts]
    float_file = folder / f"{FLOAT}.{model.suffix}"
    float_file.write_bytes(floats())
    paths = {FLOAT: float_file, **{item.path.name: item.path for item in files}}
    turns = _timed(paths, pixels[0], encoding)
    tried = _with_front([_candidate(item, turns) for item in files])
    good = [item for item in tried if item.drop_points <= max_drop_points]
    chosen = min(good, key=lambda item: len(item.kept), default=None)
    kept = () if chosen is None else chosen.kept
    layers = layers_of(model.blocks, model.layer_names)
    return Search(
        max_drop_points=max_drop_points,
        images=len(pixels),
        blocks=len(model.blocks),
        ranking=tuple(ranking),
        candidates=tried,
        float_latency_ms=turns.benchmarks[FLOAT].median * 1e3,
        chosen=chosen,
        layers={name: layers[name] for name in kept if name in layers},
    )


def narrowed(
    order: Sequence[str],
    attempt: Callable[[tuple[str, ...]], Tried],
    holds: Callable[[Tried], bool],
) -> list[tuple[int, Tried]]:
    """Try twice as many each time until it holds, then halfway back and forth.

    Args:
        order: What can be taken, the most important first.
        attempt: Tries the first so many of ``order``.
        holds: Whether they are enough.

    Returns:
        How many were taken, and what came of it, in the order of the attempts.
    """
    tried: list[tuple[int, Tried]] = []
    failed, count = 0, 1
    while order and count <= len(order):
        tried.append((count, attempt(tuple(order[:count]))))
        if holds(tried[-1][1]):
            break
        failed, count = count, min(2 * count, len(order)) if count < len(order) else count + 1
    if not tried or not holds(tried[-1][1]):
        return tried
    held = tried[-1][0]
    while held - failed > 1:
        middle = (held + failed) // 2
        tried.append((middle, attempt(tuple(order[:middle]))))
        if holds(tried[-1][1]):
            held = middle
        else:
            failed = middle
    return tried


@dataclass(frozen=True, slots=True)
class _Scored:
    """A file that was tried, before it is timed: what it keeps in floats, and what it loses."""

    kept: tuple[str, ...]
    path: Path
    loss: Loss

    @property
    def drop_points(self) -> float:
        """The loss, rounded so that a difference of binary fractions is none."""
        return round(self.loss.drop_points, 6)


@dataclass(frozen=True, slots=True)
class _Scorer:
    """Writes and scores files; they stay, so that they can be timed in turn."""

    model: Quantizable
    judge: Judge
    folder: Path
    step: Callable[[], None]
    finished: Callable[[bytes], bytes]

    def scored(self, kept: tuple[str, ...]) -> _Scored:
        """Try the file with those blocks in floats, over all held-out images."""
        # No two files that are tried keep as many blocks.
        path = self.folder / f"candidate-{len(kept)}.{self.model.suffix}"
        path.write_bytes(self.finished(self.model.quantized(kept)))
        loss = self.judge.loss(path)
        self.step()
        return _Scored(kept, path, loss)

    def ranking(self) -> list[tuple[str, float]]:
        """Rank the blocks by the error that each makes alone."""
        names = [block.name for block in self.model.blocks]
        errors = {name: self._error(name, names) for name in names}
        whole = max(sum(errors.values()), 1e-12)
        shares = [(name, error / whole) for name, error in errors.items()]
        return sorted(shares, key=lambda pair: -pair[1])

    def _error(self, alone: str, names: list[str]) -> float:
        path = self.folder / f"alone.{self.model.suffix}"
        path.write_bytes(self.model.quantized(tuple(name for name in names if name != alone)))
        error = self.judge.error(path, RANKING_IMAGES)
        self.step()
        return error


def _timed(paths: Mapping[str, Path], sample: NDArray[np.uint8], encoding: InputEncoding) -> Turns:
    """Time files in turn with one thread: the machine changes its speed in a search.

    Args:
        paths: The files by name.
        sample: (height, width, channels) pixels of one image.
        encoding: What real values a pixel becomes in a file that takes such.
    """
    files = {
        name: TimedFile(path=path, make_input=lambda spec: encode_pixels(sample, spec, encoding))
        for name, path in paths.items()
    }
    return in_turn(files, BLOCK, ROUNDS, step=lambda count: None, max_seconds=MOST_SECONDS)  # noqa: ARG005


def _candidate(item: _Scored, turns: Turns) -> Candidate:
    name = item.path.name
    judged = turns.judged(name, FLOAT, CONFIDENCE)
    return Candidate(
        kept=item.kept,
        top1=item.loss.top1,
        drop_points=item.drop_points,
        agreement=item.loss.agreement,
        size_bytes=item.path.stat().st_size,
        latency_ms=turns.benchmarks[name].median * 1e3,
        latency_ratio=judged.ratio,
        latency_ratio_interval=(judged.interval.low, judged.interval.high),
    )


def _with_front(candidates: list[Candidate]) -> tuple[Candidate, ...]:
    return tuple(
        replace(item, on_front=not any(_dominates(other, item) for other in candidates))
        for item in candidates
    )


def _dominates(one: Candidate, other: Candidate) -> bool:
    better = (one.drop_points, one.latency_ratio, one.size_bytes)
    worse = (other.drop_points, other.latency_ratio, other.size_bytes)
    pairs = list(zip(better, worse, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)
