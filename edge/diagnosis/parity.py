"""Two rows over the same images: how far apart their answers are."""

from collections.abc import Mapping
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.diagnosis.result import Pair
from edge.runtime.output import PROBABILITIES, OutputSpec
from edge.runtime.postprocess import answers

Table = NDArray[np.float32]
# A reference that varies by less than four steps of an 8-bit probability may round to one answer.
ROUNDED_AWAY: Final = 4 / 255


def pairs(
    tables: Mapping[str, Table],
    steps: Mapping[str, float | None],
    output: OutputSpec = PROBABILITIES,
) -> tuple[Pair, ...]:
    """Every two rows, in the order of the rows.

    Args:
        tables: (images, classes) real values, by row.
        steps: Quantization step of the row's output; None for a real one.
        output: What the values mean.
    """
    return tuple(
        compared(first, second, tables, steps, output) for first, second in combinations(tables, 2)
    )


def compared(
    first: str,
    second: str,
    tables: Mapping[str, Table],
    steps: Mapping[str, float | None],
    output: OutputSpec = PROBABILITIES,
) -> Pair:
    """One pair of rows; see ``pairs``."""
    one, other = tables[first], tables[second]
    differences = np.abs(one - other, dtype=np.float64)
    flips = int((best(one, output) != best(other, output)).sum())
    known = bool(np.isfinite(differences).all())
    largest = float(differences.max()) if known else None
    step = steps[first] if steps[first] == steps[second] else None
    return Pair(
        first=first,
        second=second,
        images=len(one),
        flips=flips,
        agreement=1 - flips / len(one),
        max_difference=largest,
        mean_difference=float(differences.mean()) if known else None,
        variation=float(differences.sum(axis=1).mean()) / 2 if known else None,
        max_steps=None if largest is None or not step else largest / step,
    )


def best(table: Table, output: OutputSpec = PROBABILITIES) -> NDArray[np.int64]:
    """(images,) class index, or set of labels; of a single output, whether it is above a half."""
    if table.shape[1] == 1:
        return (table[:, 0] > 0.5).astype(np.int64)
    return answers(np.nan_to_num(table, nan=-np.inf), output)


def failure(table: Table, reference: Table) -> str:
    """What makes a row's answers useless: ``NaN``, ``all zero``, ``constant``; empty if nothing.

    Args:
        table: (images, classes) of the row.
        reference: Of the row that it is held against.
    """
    if not np.isfinite(table).all():
        return "NaN"
    if not table.any() and np.abs(reference).max() > ROUNDED_AWAY:
        return "all zero"
    varies = bool((np.ptp(reference, axis=0) > ROUNDED_AWAY).any())
    return "constant" if varies and not np.ptp(table, axis=0).any() else ""
