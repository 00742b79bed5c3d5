"""Standard output: tables that fit the terminal for people, JSON for machines."""

import json
import re
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge.runtime.printable import one_line, shell_word, visible


def print_json(value: Any) -> None:
    """Print one JSON document."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    least: Sequence[str] = (),
) -> str:
    """Print a table; the first column is text, the others are numbers. It fits the terminal.

    Args:
        title: The line above the table.
        columns: The titles of the columns.
        rows: The cells, one for each column.
        least: The columns that may be left out where there is no room, the least important
            first; ``--json`` has them.

    Returns:
        What was printed.
    """
    available = shutil.get_terminal_size().columns
    text = "\n".join(table_lines(title, columns, rows, least=least, available=available))
    print(text)
    return text


def fits_terminal(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Say whether ``print_table`` would set all columns side by side."""
    return fits(columns, rows, shutil.get_terminal_size().columns)


def print_beside(label: str, text: str, left: int) -> None:
    """Print a text that begins at column ``left``, beside its label, folded by words."""
    available = shutil.get_terminal_size().columns
    for line in beside_lines(label, text, left=left, available=available):
        print(line)


def print_folded(line: str) -> None:
    """Print a line, folded by words; what does not fit is set in by four more columns."""
    indent = " " * (len(line) - len(line.lstrip()))
    available = shutil.get_terminal_size().columns
    print("\n".join(folded(line.strip(), available, indent, indent + " " * 4)) or line)


def quoted(path: Path) -> str:
    """Return a path as a shell takes it."""
    text = str(path)
    return shell_word(f"./{text}" if text.startswith("-") else text)


GAPS: Final = (3, 2)  # columns between two cells, the wider one where it fits
EDGE: Final = 2  # columns to the left of the table
LEAST_TEXT: Final = 36  # columns that a text beside its label needs


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table of text: its first column is set to the left, the others to the right.

    Attributes:
        columns: The titles.
        rows: The cells, one for each column; a row with a first cell alone is a heading.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def widths(self) -> list[int]:
        """Return the width of each column; a heading may reach over its neighbours."""
        needed = [width(title) for title in self.columns]
        for row in self.rows:
            for position, cell in enumerate(row):
                if position or not heads(row):
                    needed[position] = max(needed[position], width(cell))
        return needed

    def total(self, gap: int) -> int:
        """Return the width of the table, with ``gap`` between two cells."""
        widths = self.widths()
        return EDGE + sum(widths) + gap * (len(widths) - 1)

    def without(self, column: str) -> "TextTable":
        """Return the table without the column of that title."""
        kept = [position for position, title in enumerate(self.columns) if title != column]
        return TextTable(
            tuple(self.columns[position] for position in kept),
            tuple(tuple(row[position] for position in kept) for row in self.rows),
        )


def fits(columns: Sequence[str], rows: Sequence[Sequence[str]], available: int) -> bool:
    """Say whether all columns of a table fit side by side; else its cells are stacked."""
    table = TextTable(
        tuple(one_line(column) for column in columns),
        tuple(tuple(one_line(cell) for cell in row) for row in rows),
    )
    return table.total(GAPS[-1]) <= available


def table_lines(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    least: Sequence[str] = (),
    available: int,
) -> list[str]:
    """The lines of a table that fits.

    Args:
        title: Stands above, folded by words; may be empty.
        columns: Titles, all different.
        rows: A cell per column.
        least: Columns that are left out where there is no room, the least important first. If
            that is not enough, or there are none, each row becomes a few lines instead.
        available: Columns of the terminal.

    Returns:
        Lines without line breaks. None is wider than ``available`` but for a single word.
    """
    table = TextTable(
        tuple(one_line(column) for column in columns),
        tuple(tuple(one_line(cell) for cell in row) for row in rows),
    )
    fitting, left_out = table, []
    for column in least:
        if fitting.total(GAPS[-1]) <= available:
            break
        fitting = fitting.without(column)
        left_out.append(column)
    above = _folded(visible(title), available)
    if fitting.total(GAPS[-1]) > available:
        return [*above, "", *_stacked(table, available), ""]
    gap = next(gap for gap in GAPS if fitting.total(gap) <= available)
    lines = [*above, "", *_in_columns(fitting, gap), ""]
    if left_out:
        note = f"Left out for want of room: {', '.join(left_out)}. They are in --json."
        lines += [*_folded(note, available), ""]
    return lines


def width(text: str) -> int:
    """Return the width of a text on a terminal: wide characters take two (Unicode, annex 11)."""
    if text.isascii():
        return len(text)
    total = last = 0
    joined = False
    for character in text:
        if character == "\ufe0f" and last == 1:  # as a picture, which is wide
            total, last = total + 1, 2
        elif character in "\u200c\u200d" or unicodedata.category(character) in ("Mn", "Me", "Cf"):
            joined = character == "\u200d"
        elif last == 2 and (joined or "\U0001f3fb" <= character <= "\U0001f3ff"):
            joined = False  # one picture of several, and of a colour of skin
        else:
            last = 1 + (unicodedata.east_asian_width(character) in ("W", "F"))
            total, joined = total + last, False
    return total


def heads(row: Sequence[str]) -> bool:
    """Say whether a row is a heading over others."""
    return len(row) > 1 and bool(row[0]) and not any(row[1:])


def _in_columns(table: TextTable, gap: int) -> list[str]:
    widths = table.widths()

    def line(cells: Sequence[str]) -> str:
        first = cells[0] + " " * (widths[0] - width(cells[0]))
        others = [
            " " * (needed - width(cell)) + cell
            for cell, needed in zip(cells[1:], widths[1:], strict=True)
        ]
        return (" " * EDGE + (" " * gap).join([first, *others])).rstrip()

    rule = " " * (EDGE - 1) + "─" * (table.total(gap) - EDGE + 1)
    return [line(table.columns), rule, *[line(row) for row in table.rows]]


def _stacked(table: TextTable, available: int) -> list[str]:
    """Return a line for the first cell of each row, and below it one for each cell with text."""
    lines = []
    for row in table.rows:
        lines += _folded(row[0], available, " " * EDGE)
        for title, cell in zip(table.columns[1:], row[1:], strict=True):
            if cell:
                said = f"{title} {cell}" if title else cell
                lines += _folded(said, available, " " * (EDGE + 4))
    return lines


def folded(text: str, available: int, first: str = "", others: str | None = None) -> list[str]:
    """Return a text in lines of whole words.

    Args:
        text: The text.
        available: The width of the terminal.
        first: The text before the first line.
        others: The text before all other lines; None for that of the first.
    """
    lines: list[str] = []
    line, used = first, width(first)
    empty = True
    for space, word in re.findall(r"(\s*)(\S+)", visible(text)):
        gap = "" if empty else re.sub(r"\s", " ", space)
        if not empty and used + len(gap) + width(word) > max(available, 20):
            lines.append(line)
            line, gap = first if others is None else others, ""
            used = width(line)
        line += gap + word
        used += len(gap) + width(word)
        empty = False
    return lines if empty else [*lines, line]


def _folded(text: str, available: int, indent: str = "") -> list[str]:
    kept = text[: len(text) - len(text.lstrip())]  # indented rows stay so
    return folded(text.strip(), available, indent + kept)


def beside_lines(label: str, text: str, *, left: int, available: int) -> list[str]:
    """Return a text, folded by words, beside its label; below it where there is little room.

    Args:
        label: The label; one that is longer than ``left`` has a line of its own.
        text: A sentence or a list of words.
        left: The column at which the text begins.
        available: The width of the terminal.
    """
    label, text = one_line(label), visible(text)
    left = left if available - left >= LEAST_TEXT else min(left, 4)
    lines = _folded(text, available, " " * left)
    if label and width(label) + 1 > left:
        return [label.rstrip(), *lines]
    first, *others = lines or [""]
    return [label + first[width(label) :], *others]
