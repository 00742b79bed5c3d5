"""Accuracy-budgeted mixed precision: which blocks have to stay in floats.

The blocks are ranked by the error that each makes alone, all others in floats; then the fewest of
that ranking are kept that hold the budget on held-out images. What leaving one block out saves
would be noise where several of them break the answers. One block at a time, as in sensitivity
analyses of the field (HAWQ, Dong et al., ICCV 2019, ranks by curvature instead; here the error
itself is measured, which needs no gradients).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.protocol import Protocol
from benchmarks.timing import measure
from converters.base import HeldOut
from converters.judge import ClassJudge, Judge
from converters.quantizable import Quantizable
from edge.runtime.contract import PIXELS, InputEncoding
from edge.runtime.session import encode_pixels

RANKING_IMAGES: Final = 24  # a block's share of the error shows on few images
LATENCY: Final = Protocol(runs=20, min_seconds=0.2, max_seconds=5.0, warm_up_seconds=0.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One file that was tried.

    Attributes:
        kept: The blocks that are left in floats.
        top1: The top-1 accuracy on the held-out images; None without labels.
        drop_points: How many percentage points of top-1 it is below the float model; without
            labels, the percentage of images that are answered otherwise.
        agreement: The share of images with the float model's answer, 0..1.
        latency_ms: The median of one inference on this host with one thread, measured.
        size_bytes: The size of the file without metadata.
        on_front: Whether no other candidate is at least as good in all three and better in one.
    """

    kept: tuple[str, ...]
    top1: float | None
    drop_points: float
    agreement: float
    latency_ms: float
    size_bytes: int
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
        chosen: The candidate with the fewest blocks that holds the budget; None if none does.
    """

    max_drop_points: float
    images: int
    blocks: int
    ranking: tuple[tuple[str, float], ...]
    candidates: tuple[Candidate, ...]
    chosen: Candidate | None


def search(
    model: Quantizable,
    held_out: HeldOut,
    max_drop_points: float,
    folder: Path,
    step: Callable[[], None],
    *,
    judge: Judge | None = None,
    encoding: InputEncoding = PIXELS,
) -> Search:
    """Find the fewest blocks to leave in floats.

    Args:
        model: A calibrated model.
        held_out: The images that the budget is checked on.
        max_drop_points: How many percentage points of top-1 may be lost.
        folder: The folder for the files that are tried.
        step: Is called after each file.
        judge: Says how much a file loses; without it, as a classifier.
        encoding: What real values a pixel becomes in a file that takes such.
    """
    judge = judge or ClassJudge(held_out, encoding)
    pixels = np.load(held_out.pixels, mmap_mode="r")
    scorer = _CandidateScorer(model, judge, pixels[0], encoding, folder, step)
    candidates = [scorer.candidate(())]
    ranking: list[tuple[str, float]] = []
    if candidates[0].drop_points > max_drop_points:
        ranking = scorer.ranking()
        order = [name for name, _ in ranking]
        candidates += _narrowed(scorer, order[: len(order) - 1], max_drop_points)
    tried = _with_front(candidates)
    good = [item for item in tried if item.drop_points <= max_drop_points]
    chosen = min(good, key=lambda item: len(item.kept), default=None)
    return Search(
        max_drop_points=max_drop_points,
        images=len(pixels),
        blocks=len(model.blocks),
        ranking=tuple(ranking),
        candidates=tried,
        chosen=chosen,
    )


def _narrowed(scorer: "_CandidateScorer", order: list[str], budget: float) -> list[Candidate]:
    """Twice as many blocks each time until the budget holds, then halfway back and forth."""
    tried: list[Candidate] = []
    failed, count = 0, 1
    while order and count <= len(order):
        tried.append(scorer.candidate(tuple(order[:count])))
        if tried[-1].drop_points <= budget:
            break
        failed, count = count, min(2 * count, len(order)) if count < len(order) else count + 1
    if not tried or tried[-1].drop_points > budget:
        return tried
    held = len(tried[-1].kept)
    while held - failed > 1:
        middle = (held + failed) // 2
        tried.append(scorer.candidate(tuple(order[:middle])))
        if tried[-1].drop_points <= budget:
            held = middle
        else:
            failed = middle
    return tried


@dataclass(frozen=True, slots=True)
class _CandidateScorer:
    """Writes, scores and times files."""

    model: Quantizable
    judge: Judge
    sample: NDArray[np.uint8]
    encoding: InputEncoding
    folder: Path
    step: Callable[[], None]

    def candidate(self, kept: tuple[str, ...]) -> Candidate:
        """Try the file with those blocks in floats, over all held-out images."""
        path = self._written(kept)
        loss = self.judge.loss(path)
        latency = measure(
            path, lambda spec: encode_pixels(self.sample, spec, self.encoding), LATENCY
        )
        self.step()
        return Candidate(
            kept=kept,
            top1=loss.top1,
            drop_points=round(loss.drop_points, 6),
            agreement=loss.agreement,
            latency_ms=latency.median * 1e3,
            size_bytes=path.stat().st_size,
        )

    def ranking(self) -> list[tuple[str, float]]:
        """Rank the blocks by the error that each makes alone."""
        names = [block.name for block in self.model.blocks]
        errors = {name: self._error(name, names) for name in names}
        whole = max(sum(errors.values()), 1e-12)
        shares = [(name, error / whole) for name, error in errors.items()]
        return sorted(shares, key=lambda pair: -pair[1])

    def _error(self, alone: str, names: list[str]) -> float:
        path = self._written(tuple(name for name in names if name != alone))
        error = self.judge.error(path, RANKING_IMAGES)
        self.step()
        return error

    def _written(self, kept: tuple[str, ...]) -> Path:
        path = self.folder / f"candidate.{self.model.suffix}"
        path.write_bytes(self.model.quantized(kept))
        return path


def _with_front(candidates: list[Candidate]) -> tuple[Candidate, ...]:
    return tuple(
        replace(item, on_front=not any(_dominates(other, item) for other in candidates))
        for item in candidates
    )


def _dominates(one: Candidate, other: Candidate) -> bool:
    better = (one.drop_points, one.latency_ms, one.size_bytes)
    worse = (other.drop_points, other.latency_ms, other.size_bytes)
    pairs = list(zip(better, worse, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)
