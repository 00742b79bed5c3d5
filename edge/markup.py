"""GitHub-flavoured Markdown out of text that may say anything."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from edge.runtime.printable import one_line

# ASCII punctuation that means something to Markdown, HTML or GitHub. As a character reference it
# means nothing, wherever it stands (CommonMark 0.31, section 2.5).
_SPECIAL: Final = re.compile(r"[#$&*<>@\[\\\]`|~]|:(?=\S)|^[-+=]|(?<![^\W_])_|_(?![^\W_])")
# GitHub links mentions and issues after the references are resolved; a word joiner stops it.
_LINKED: Final = re.compile(r"(?<=[@#])(?=\w)")


def _escaped(shown: str, longest: int) -> str:
    if len(shown) > longest:
        shown = "…" + shown[-longest + 1 :]
    return _SPECIAL.sub(lambda found: f"&#{ord(found.group())};", shown)


def code(text: str, longest: int = 60) -> str:
    """Return a name in type of fixed width, of which GitHub makes no mention, emoji or link.

    Args:
        text: Any text.
        longest: The largest number of characters that are shown; the end is kept, since it
            tells paths apart.
    """
    return f"<code>{_escaped(one_line(text).strip(), longest) or '&#32;'}</code>"


def prose(text: str, longest: int = 400) -> str:
    """Return a sentence in which GitHub sees no markup and no mention.

    Args:
        text: Any text.
        longest: The largest number of characters that are shown.
    """
    shown = one_line(text).strip()
    shown = shown if len(shown) <= longest else shown[: longest - 1] + "…"
    return _escaped(_LINKED.sub("\u2060", shown), 2 * longest)


def table(columns: Mapping[str, str], rows: Iterable[Sequence[str]], total: int = 0) -> str:
    """Return a table. Its titles and cells are Markdown.

    Args:
        columns: The title of each column, and its alignment, ``left`` or ``right``.
        rows: The rows that are shown, with a cell for each column.
        total: The number of all rows; a line below the table counts those that are not shown.
    """
    rules = ["---:" if side == "right" else "---" for side in columns.values()]
    lines = ["| " + " | ".join(line) + " |" for line in (columns, rules, *rows)]
    hidden = total - len(lines) + 2
    return "\n".join([*lines, *(["", f"and {hidden:,} more"] if hidden > 0 else [])])


def folded(title: str, body: str) -> str:
    """Return a part that opens on a click."""
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"
