"""Numbers and names as every report writes them."""

import re
from typing import Final

from edge.comparison import degenerate
from edge.comparison.judge import spanned, written
from edge.comparison.metrics import METRICS
from edge.comparison.result import Comparison, Interval, Side

# Line breaks would break a table or an attribute.
_BREAKS: Final = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029]+")
# What XML 1.0 forbids (Char, section 2.2), what has no UTF-8 (the surrogates that stand for
# undecodable bytes of file names), and what turns the text around it (Unicode bidi controls).
_UNPRINTABLE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


def printable(text: str) -> str:
    """Text on one line, fit for UTF-8, XML and a screen; U+FFFD stands for what is not."""
    return _UNPRINTABLE.sub("\ufffd", _BREAKS.sub(" ", text)).strip()


def quantity(value: float | None, unit: str) -> str:
    """A value with its unit; a dash for what is not known."""
    return "-" if value is None else written(value, unit)


def span(interval: Interval | None, unit: str) -> str:
    """An interval, such as `` (-1.25 to 1.75 points)``; nothing where there is none."""
    return "" if interval is None else f" ({spanned(interval, unit)})"


def meaning(metric: str) -> str:
    """What a check looks at, a sentence without a full stop."""
    if metric == degenerate.METRIC:
        return f"{metric}: sides whose scores do not depend on the image"
    known = METRICS.get(metric)
    return f"{metric}: {known.meaning}" if known else metric


def sides(comparison: Comparison) -> tuple[tuple[str, Side], tuple[str, Side]]:
    """Both sides with their part in the comparison."""
    return ("baseline", comparison.baseline), ("candidate", comparison.candidate)
