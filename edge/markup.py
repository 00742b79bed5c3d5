"""GitHub-flavoured Markdown, and names in plots, out of text that may say anything."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from edge.runtime.printable import one_line

# ASCII punctuation that means something to Markdown, HTML or GitHub. As a character reference it
# means nothing, wherever it stands (CommonMark 0.31, section 2.5).
_SPECIAL: Final = re.compile(r"[#$&*<>@\[\\\]`|~]|:(?=\S)|^[-+=]|(?<![^\W_])_|_(?![^\W_])")
# GitHub links mentions and issues after the references are resolved; a word joiner stops it.
_LINKED: Final = re.compile(r"(?<=[@#])(?=\w)")


def plot_text(text: str, longest: int = 80) -> str:
    """A name for Matplotlib, which sees no formula in it and, in a legend, no name to leave out.

    Args:
        text: Anything.
        longest: Characters that are shown.
    """
    shown = one_line(text, longest).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def _escaped(shown: str, longest: int) -> str:
    if len(shown) > longest:
        shown = "…" + shown[-longest + 1 :]
    return _SPECIAL.sub(lambda found: f"&#{ord(found.group())};", shown)


def code(text: str, longest: int = 60) -> str:
    """A name in type of fixed width, where GitHub makes no mention, emoji or link of it.

    Args:
        text: Anything.
        longest: Characters that are shown; the end is kept, since it tells paths apart.
    """
    return f"<code>{_escaped(one_line(text).strip(), longest) or '&#32;'}</code>"


def prose(text: str, longest: int = 400) -> str:
    """A sentence as it is, without markup and without mentions.

    Args:
        text: Anything.
        longest: Characters that are shown.
    """
    shown = one_line(text).strip()
    shown = shown if len(shown) <= longest else shown[: longest - 1] + "…"
    return _escaped(_LINKED.sub("\u2060", shown), 2 * longest)


def table(columns: Mapping[str, str], rows: Iterable[Sequence[str]], total: int = 0) -> str:
    """A table. Titles and cells are Markdown.

    Args:
        columns: Title and alignment, ``left`` or ``right``, of each.
        rows: That are shown, with a cell for each column.
        total: Rows that there are; a line below counts those that are not shown.
    """
    rules = ["---:" if side == "right" else "---" for side in columns.values()]
    lines = ["| " + " | ".join(line) + " |" for line in (columns, rules, *rows)]
    hidden = total - len(lines) + 2
    return "\n".join([*lines, *(["", f"and {hidden:,} more"] if hidden > 0 else [])])


def folded(title: str, body: str) -> str:
    """A part that opens on a click."""
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"
