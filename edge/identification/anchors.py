"""A file of a detector's anchors, as people and tools write it."""

from pathlib import Path
from typing import Any

import numpy as np

from edge.errors import UsageError, cause_of
from edge.runtime import checked
from edge.runtime.numbers import finite_number

MOST_BYTES = 16 << 20


def read_anchors(path: Path) -> list[list[float]]:
    """Return centre y, centre x, height and width of each anchor, as shares of the sides.

    The file is an .npy array of (anchors, 4), a JSON list of lists, or a line of four numbers for
    each anchor, divided by commas or spaces.

    Raises:
        UsageError: It cannot be read, or holds something else.
    """
    try:
        if path.suffix.lower() == ".npy":
            content = checked.read_bytes(path, "it", max_bytes=MOST_BYTES)
            rows: Any = checked.read_npy(content, "it", max_bytes=MOST_BYTES).tolist()
        else:
            text = checked.read_text(path, "it", max_bytes=MOST_BYTES).strip()
            rows = checked.parse_json(text) if text.startswith("[") else _lines(text)
    except (OSError, ValueError) as error:
        raise UsageError(f"the anchors {path} cannot be read: {cause_of(error)}") from error
    good = isinstance(rows, list) and rows and all(map(_is_anchor, rows))
    if not good:
        raise UsageError(
            f"{path} is no file of anchors",
            hint="Give centre y, centre x, height and width of each anchor, as shares of the "
            "sides: four numbers a line, a JSON list, or an .npy array.",
        )
    return [[float(value) for value in row] for row in rows]


def _lines(text: str) -> list[list[float | None]]:
    lines = (line.replace(",", " ").split() for line in text.splitlines())
    return [[finite_number(word) for word in words] for words in lines]


def _is_anchor(row: Any) -> bool:
    if not isinstance(row, list) or len(row) != 4:
        return False
    numbers = all(type(value) in (int, float) for value in row)
    return numbers and bool(np.isfinite(row).all()) and row[2] > 0 and row[3] > 0
