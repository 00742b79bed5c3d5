"""Numbers, sizes, intervals, lists and plurals in words, as every output writes them."""

import math
from collections.abc import Iterable, Sequence
from typing import Final

UNKNOWN: Final = "-"


def significant(value: float, digits: int = 3) -> str:
    """Return a number with so many significant digits and no exponent: 0.0123, 1.23, 1,234."""
    if value == 0:
        return "0"
    places = min(6, max(0, digits - 1 - math.floor(math.log10(abs(value)))))
    return f"{value:,.{places}f}"


def at_most(share: float) -> str:
    """Return a bound with one digit, which is not below the number: 2.1e-07 as ``3e-07``."""
    if share == 0:
        return "0"
    unit = 10.0 ** math.floor(math.log10(abs(share)))
    return f"{math.ceil(round(share / unit, 9)) * unit:.0e}"


def milliseconds(seconds: float | None) -> str:
    """Return three significant digits without the unit; a dash for what is not known."""
    return UNKNOWN if seconds is None else significant(1e3 * seconds)


def megabytes(count: int | None) -> str:
    """Return bytes in units of 1,000,000, without the unit; a dash for what is not known."""
    return UNKNOWN if count is None else significant(count / 1e6)


def size(count: int) -> str:
    """Return bytes with their unit, in steps of 1000: ``2.31 MB``, ``940.0 kB``."""
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share in percent: 0.985 -> ``98.5 %``; a dash for what is not known."""
    return UNKNOWN if share is None else f"{100 * share:.{digits}f} %"


def bounds(interval: Sequence[float] | None) -> str:
    """Return an interval in percent: (0.957, 0.995) -> ``95.7-99.5``; a dash if not known."""
    if interval is None:
        return UNKNOWN
    low, high = (f"{100 * end:.1f}" for end in interval)
    return f"{low}-{high.removesuffix('.0') if high == '100.0' else high}"


def span(interval: Sequence[float] | None) -> str:
    """Return an interval in a sentence: ``95.7 to 99.5 %``; a dash for what is not known."""
    return UNKNOWN if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, in the plural unless it is one: ``1 image``, ``3 images``."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def few(count: int, noun: str) -> str:
    """Return that so many are few: ``1 image is few``, ``12 images are few``."""
    return f"{counted(count, noun)} {'is' if count == 1 else 'are'} few"


def listed(names: Sequence[str], most: int = 10) -> str:
    """Return names in one line; a long list is cut, and the rest is counted."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def joined(parts: Iterable[str]) -> str:
    """Return ``a, b and c``; a dash for no parts."""
    *most, last = list(parts) or [UNKNOWN]
    return f"{', '.join(most)} and {last}" if most else last
