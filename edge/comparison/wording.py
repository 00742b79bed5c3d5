"""Numbers and names as every report writes them."""

from collections.abc import Sequence
from typing import Final

from edge.comparison.metrics import CONSTANT_OUTPUTS, METRICS
from edge.comparison.result import Comparison, Interval, PictureChange, Side

_SIGNS: Final = {"share": "%", "ratio": "", "count": "", "milliseconds": "ms", "percent": "%"}


def quantity(value: float | None, unit: str) -> str:
    """Return a value with its unit; a dash for what is not known."""
    return "-" if value is None else written(value, unit)


def span(interval: Interval | None, unit: str) -> str:
    """Return an interval, such as `` (-1.25 to 1.75 points)``; nothing where there is none."""
    return "" if interval is None else f" ({spanned(interval, unit)})"


def meaning(metric: str) -> str:
    """Return what a check looks at, a sentence without a full stop."""
    if metric == CONSTANT_OUTPUTS:
        return f"{metric}: sides whose scores do not depend on the image"
    known = METRICS.get(metric)
    return f"{metric}: {known.meaning}" if known else metric


def sides(comparison: Comparison) -> tuple[tuple[str, Side], tuple[str, Side]]:
    """Return both sides with their part in the comparison."""
    return ("baseline", comparison.baseline), ("candidate", comparison.candidate)


def change_text(change: PictureChange) -> str:
    """Return what changed on a picture: ``lost cat 64.0%; moved dog 50.0% (overlap 0.61)``."""
    parts = (("lost", change.lost), ("gained", change.gained), ("moved", change.moved))
    return "; ".join(f"{word} {', '.join(items)}" for word, items in parts if items)


def score_text(side: Side, name: str) -> str:
    """Return a value of the score by annotations, such as ``mAP``; a count is no share."""
    value = None if side.score is None else side.score.values.get(name)
    if name == "count_error":
        return "-" if value is None else f"{value:.2f}"
    return quantity(value, "share")


def telling_digits(limit: float, values: Sequence[float], unit: str) -> int:
    """Return how many decimals tell the values from the limit; a rounded tie would mislead."""
    others = [value for value in values if value != limit]
    for digits in range(2, 6):
        shown = written(limit, unit, digits)
        if all(written(value, unit, digits) != shown for value in others):
            return digits
    return 6


def written(value: float, unit: str, digits: int = 2) -> str:
    """Return a number of a check with its unit, for people.

    Args:
        value: The number, in ``unit``.
        unit: The unit, as in ``Check``.
        digits: Decimals; whole numbers and ratios have their own.
    """
    return f"{bare(value, unit, digits)} {_SIGNS.get(unit, unit)}".strip()


def spanned(interval: Interval, unit: str, digits: int = 2) -> str:
    """Return an interval for people: ``-0.50 to 1.20 points``."""
    return f"{bare(interval.low, unit, digits)} to {written(interval.high, unit, digits)}"


def bare(value: float, unit: str, digits: int = 2) -> str:
    """Return the number without its unit; shares are in percent."""
    if unit in ("count", "bytes"):
        return f"{value:,.0f}"
    if unit == "ratio":
        digits += 1
    sign = "+" if unit == "percent" else ""  # a change, as against a share
    return f"{100 * value if unit == 'share' else value:{sign}.{digits}f}"
