"""GitHub-flavoured Markdown out of text that may say anything."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

# Line breaks would break a table or an attribute.
_BREAKS: Final = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029]+")
# What XML 1.0 forbids (Char, section 2.2), what has no UTF-8 (the surrogates that stand for
# undecodable bytes of file names), and what turns the text around it (Unicode bidi controls).
_UNPRINTABLE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
# ASCII punctuation that means something to Markdown, HTML or GitHub. As a character reference it
# means nothing, wherever it stands (CommonMark 0.31, section 2.5).
_SPECIAL: Final = re.compile(r"[#$&*<>@\[\\\]`|~]|:(?=\S)|^[-+=]|(?<![^\W_])_|_(?![^\W_])")
# GitHub links mentions and issues after the references are resolved; a word joiner stops it.
_LINKED: Final = re.compile(r"(?<=[@#])(?=\w)")


def printable(text: str) -> str:
    """Text on one line, fit for UTF-8, XML and a screen; U+FFFD stands for what is not."""
    return _UNPRINTABLE.sub("\ufffd", _BREAKS.sub(" ", text)).strip()


def _escaped(text: str, longest: int) -> str:
    shown = printable(text)
    if len(shown) > longest:
        shown = "…" + shown[-longest + 1 :]
    return _SPECIAL.sub(lambda found: f"&#{ord(found.group())};", shown)


def code(text: str, longest: int = 60) -> str:
    """A name in type of fixed width, where GitHub makes no mention, emoji or link of it.

    Args:
        text: Anything.
        longest: Characters that are shown; the end is kept, since it tells paths apart.
    """
    return f"<code>{_escaped(text, longest) or '&#32;'}</code>"


def prose(text: str, longest: int = 400) -> str:
    """A sentence as it is, without markup and without mentions.

    Args:
        text: Anything.
        longest: Characters that are shown.
    """
    shown = printable(text)
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
