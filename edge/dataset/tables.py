"""Tables that users write: CSV files whose lines are counted, so that errors can name them."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edge.dataset.layout import normal
from edge.errors import UsageError, cause_of
from edge.runtime import checked
from edge.runtime.printable import csv_cell, csv_text

Row = tuple[int, list[str]]
"""The number of the line, and its cells: stripped, in NFC, without a spreadsheet's apostrophe."""


@dataclass(frozen=True, slots=True)
class ReadTable:
    """A table as it was read.

    Attributes:
        content: The bytes of its file.
        rows: The lines that are not blank, the one that names the columns among them.
    """

    content: bytes
    rows: list[Row]


def read_table(path: Path, what: str, *, max_bytes: int, hint: str) -> ReadTable:
    """Read a table; tabs, commas or semicolons part the cells.

    Args:
        path: The file.
        what: What it is, for messages.
        max_bytes: The largest size of the file, bytes.
        hint: How such a file is written.

    Raises:
        UsageError: The file cannot be read, or holds no line.
    """
    try:
        content = checked.read_bytes(path, max_bytes=max_bytes)
        text = checked.decoded(content, "the file", max_bytes)
        head = text.partition("\n")[0]
        delimiter = next((mark for mark in "\t,;" if mark in head), ",")
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except (OSError, checked.Malformed, csv.Error) as error:
        raise UsageError(f"{what} {path} cannot be read: {cause_of(error)}", hint=hint) from error
    lines = [
        (number, [normal(csv_text(cell.strip())) for cell in row])
        for number, row in enumerate(rows, 1)
        if any(cell.strip() for cell in row)
    ]
    if not lines:
        raise UsageError(f"{what} {path} is empty", hint=hint)
    return ReadTable(content, lines)


def check_cells(row: Sequence[str], header: Sequence[str], where: str) -> None:
    """Refuse a line that has not as many cells as the first one.

    Raises:
        UsageError: It has more or fewer; ``where`` names it.
    """
    if len(row) != len(header):
        raise UsageError(f"{where} has {len(row)} cells, the first line {len(header)}")


def file_name(cell: str) -> str:
    """Return the path in a cell as it is compared: with slashes, and without ``./``."""
    return normal(PurePosixPath(cell.replace("\\", "/")).as_posix())


def name_below(path: Path, root: Path) -> str:
    """Return a path below a folder as ``file_name`` has it; empty for one that lies elsewhere."""
    return normal(path.relative_to(root).as_posix() if path.is_relative_to(root) else "")


def table_bytes(rows: Iterable[Sequence[str]]) -> bytes:
    """Return a CSV file that ``read_table`` reads; the first row names the columns."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(
        [csv_cell(cell) for cell in row] for row in rows
    )
    return stream.getvalue().encode()
