"""Numbers as the page shows them."""

from collections.abc import Sequence
from typing import Final

from edge import wording
from edge.evaluation.score import share_interval
from edge.pipeline.answers import KERAS
from edge.pipeline.page.element import Element, element

UNKNOWN: Final = "\u2013"
SPACE: Final = "\u00a0"  # between a number and its unit: never a line break
LONGEST: Final = 40  # characters of a class name


def percent(share: float | None, digits: int = 1) -> str:
    """0.985 -> ``98.5 %``."""
    return UNKNOWN if share is None else wording.percent(share, digits).replace(" ", SPACE)


def interval(bounds: Sequence[float] | None) -> str:
    """(0.95, 0.99) -> 95.0 to 99.0 with a dash between, percent."""
    return "" if bounds is None else f"{100 * bounds[0]:.1f}{UNKNOWN}{100 * bounds[1]:.1f}"


def counted_interval(share: float | None, images: int) -> str:
    """The interval of a share of so many images, percent."""
    found = None if share is None else share_interval(round(share * images), images)
    return UNKNOWN if found is None else interval((found.low, found.high))


def with_interval(share: float | None, bounds: Sequence[float] | None) -> Element:
    """A share, and after it its interval in small print."""
    return element("span", percent(share), " ", element("span", interval(bounds), class_="range"))


def size(count: int) -> str:
    """Bytes for people, in units of 1000."""
    return wording.size(count).replace(" ", SPACE)


def short(name: str) -> str:
    """A class name that leaves room for others."""
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def model_name(name: str) -> str:
    """A variant by its name, the reference in words."""
    return "Keras model" if name == KERAS else name
