"""The rows of the int8 table, for people, for machines and for docs/quantization.md."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from benchmarks.verdict import ratio_interval
from edge.wording import percent, size
from support.quantization_methods import EDGE, Method
from support.quantization_pictures import Pictures
from support.quantization_scores import Outcome, mean

CONFIDENCE: Final = 0.95
COLUMNS: Final = (
    "method",
    "top-1",
    "drop, points",
    "agreement",
    "below edge's",
    "KL",
    "make",
    "latency",
    "to plain",
    "size",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A mean over pictures with its standard error."""

    value: float
    error: float

    def text(self, factor: float, digits: int, *, signed: bool = False) -> str:
        """Such as ``97.2 ± 0.7``."""
        sign = "+" if signed else ""
        return f"{factor * self.value:{sign}.{digits}f} ± {factor * self.error:.{digits}f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A method over all splits.

    Attributes:
        name: Of the method.
        format: ``tflite`` or ``onnx``.
        top1: Share of right answers.
        drop: Of the float model's share less this one's, paired.
        agreement: Share of answers that are the float model's.
        below_edge: edge's agreement in the same format less this one's, paired; None without it.
        divergence: KL divergence from the float model, nats.
        above_edge: The same less edge's in the same format, paired; None without it.
        seconds: To make the file, median.
        latency_ms: Median, one thread.
        ratio: Of the latency to the plain file's.
        ratio_low: Of its 95 % interval.
        ratio_high: Likewise.
        size_bytes: Of the last file.
        input: dtype of its input.
    """

    name: str
    format: str
    top1: Number
    drop: Number
    agreement: Number
    below_edge: Number | None
    divergence: Number
    above_edge: Number | None
    seconds: float
    latency_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    size_bytes: int
    input: str

    def cells(self) -> tuple[str, ...]:
        """As ``COLUMNS``."""
        below = self.below_edge
        return (
            self.name,
            percent(self.top1.value),
            self.drop.text(100, 2, signed=True),
            f"{self.agreement.text(100, 1)} %",
            "-" if below is None or self.name == EDGE else below.text(100, 1, signed=True),
            self.divergence.text(1, 4),
            f"{self.seconds:.0f} s",
            f"{self.latency_ms:.2f} ms",
            f"{self.ratio:.2f} ({self.ratio_low:.2f} to {self.ratio_high:.2f})",
            size(self.size_bytes),
        )


def row(
    method: Method, outcomes: Sequence[Outcome], best: Sequence[Outcome], pictures: Pictures
) -> Row:
    """The row of a method.

    Args:
        method: Which.
        outcomes: One per split.
        best: Of edge's own method in the same format; empty without it.
        pictures: What was scored.
    """
    splits = pictures.splits
    right = (pictures.reference.argmax(axis=1) == pictures.truth).astype(np.float64)

    def over(values: Sequence[Any]) -> Number:
        return Number(**dict(zip(("value", "error"), mean(values, splits), strict=True)))

    drops = [right[s.scored] - o.top1 for s, o in zip(splits, outcomes, strict=True)]
    below = [b.agreement - o.agreement for b, o in zip(best, outcomes, strict=False)]
    above = [o.divergence - b.divergence for b, o in zip(best, outcomes, strict=False)]
    rounds = np.concatenate([outcome.rounds for outcome in outcomes])
    before, after = np.median(rounds, axis=0).tolist()
    interval = ratio_interval(rounds, CONFIDENCE)
    return Row(
        name=method.name,
        format=method.format,
        top1=over([outcome.top1 for outcome in outcomes]),
        drop=over(drops),
        agreement=over([outcome.agreement for outcome in outcomes]),
        below_edge=over(below) if best else None,
        divergence=over([outcome.divergence for outcome in outcomes]),
        above_edge=over(above) if best else None,
        seconds=float(np.median([outcome.seconds for outcome in outcomes])),
        latency_ms=after,
        ratio=after / before,
        ratio_low=interval.low,
        ratio_high=interval.high,
        size_bytes=outcomes[-1].path.stat().st_size,
        input=outcomes[-1].input,
    )


def markdown(rows: Sequence[Row], missing: Mapping[str, str], format_: str) -> str:
    """A table of one format's methods."""
    lines = [COLUMNS, ("---", *["---:"] * (len(COLUMNS) - 1))]
    lines += [item.cells() for item in rows if item.format == format_]
    gone = [name for name in missing if name.startswith(f"{format_}: ")]
    empty = ("",) * (len(COLUMNS) - 2)
    lines += [(name.removeprefix(f"{format_}: "), missing[name], *empty) for name in gone]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
