"""Numbers and names as every report writes them."""

from edge.comparison import degenerate
from edge.comparison.judge import spanned, written
from edge.comparison.metrics import METRICS
from edge.comparison.result import Comparison, Interval, Side


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
