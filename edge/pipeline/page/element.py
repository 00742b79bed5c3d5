"""Elements of a page out of text that may say anything, and numbers as the page shows them.

The standard library escapes the text.
"""

from collections.abc import Sequence
from typing import Any, Final
from xml.etree import ElementTree

from edge import wording
from edge.evaluation.confidence import ends
from edge.evaluation.score import share_interval
from edge.pipeline.class_report import KERAS
from edge.runtime.printable import one_line

Element = ElementTree.Element


def element(tag: str, *children: Element | str | None, **attributes: Any) -> Element:
    """Return an element of HTML or SVG.

    Args:
        tag: Its name.
        children: The elements and text in order; text is escaped, None is left out.
        attributes: ``_`` stands for ``-`` and is dropped at the end; values are escaped, None
            leaves the attribute out.
    """
    named = {
        key.rstrip("_").replace("_", "-"): _safe(str(value))
        for key, value in attributes.items()
        if value is not None
    }
    made = ElementTree.Element(tag, named)
    for child in children:
        if isinstance(child, str):
            _add_text(made, _safe(child))
        elif child is not None:
            made.append(child)
    return made


def document(title: str, style: str, *body: Element) -> str:
    """Return a whole HTML document.

    Args:
        title: The title of the page.
        style: The style sheet, which is trusted.
        body: What is shown.
    """
    sheet = ElementTree.Element("style")
    sheet.text = style  # HTML knows no escapes in here
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        sheet,
    )
    root = element("html", head, element("body", element("main", *body)), lang="en")
    return "<!doctype html>\n" + ElementTree.tostring(root, encoding="unicode", method="html")


def table(
    columns: tuple[str, ...], rows: list[tuple[Element | str, ...]], *, text_columns: int = 1
) -> Element:
    """Return a table; on a narrow screen each row is a few lines, and no cell is out of sight.

    Args:
        columns: The titles.
        rows: The rows, with a cell for each column.
        text_columns: The number of columns from the left that hold text; the others hold numbers.
    """

    def side(position: int) -> str | None:
        return None if position < text_columns else "number"

    titles = [element("th", name, class_=side(index)) for index, name in enumerate(columns)]
    lines = [
        element(
            "tr",
            *[
                element("td", cell, class_=side(i), data_title=columns[i] or None)
                for i, cell in enumerate(row)
            ],
        )
        for row in rows
    ]
    made = element("table", element("thead", element("tr", *titles)), element("tbody", *lines))
    return element("div", made, class_="scroll rows")


def section(title: str, *children: Element | str | None) -> Element:
    """Return a part of the page under its heading."""
    return element("section", element("h2", title), *children)


def folded(title: str, *children: Element | None, opened: bool = False) -> Element:
    """Return a part that opens on a click."""
    return element("details", element("summary", title), *children, open="open" if opened else None)


def _add_text(made: Element, text: str) -> None:
    """Text goes behind the last child, or into the element as long as there is none."""
    if len(made):
        made[-1].tail = (made[-1].tail or "") + text
    else:
        made.text = (made.text or "") + text


def _safe(text: str) -> str:
    """Drop what breaks a page, and keep the spaces between words and elements."""
    before = " " if text[:1] == " " else ""
    after = " " if text[-1:] == " " and text.strip() else ""
    return before + one_line(text) + after


UNKNOWN: Final = "\u2013"
SPACE: Final = "\u00a0"  # between a number and its unit: never a line break
LONGEST: Final = 40  # characters of a class name


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share in percent: 0.985 -> ``98.5 %``."""
    return UNKNOWN if share is None else wording.percent(share, digits).replace(" ", SPACE)


def interval(bounds: Sequence[float] | None) -> str:
    """Return (0.95, 0.99) -> 95.0 to 99.0 with a dash between, percent."""
    return "" if bounds is None else f"{100 * bounds[0]:.1f}{UNKNOWN}{100 * bounds[1]:.1f}"


def counted_interval(share: float | None, images: int) -> str:
    """Return the interval of a share of so many images, percent."""
    bounds = None if share is None else share_interval(round(share * images), images)
    return UNKNOWN if bounds is None else interval(ends(bounds))


def with_interval(share: float | None, bounds: Sequence[float] | None) -> Element:
    """Return a share, and after it its interval in small print."""
    return element("span", percent(share), " ", element("span", interval(bounds), class_="range"))


def size(count: int) -> str:
    """Return bytes for people, in units of 1000."""
    return wording.size(count).replace(" ", SPACE)


def short(name: str) -> str:
    """Return a class name that leaves room for others."""
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def model_name(name: str) -> str:
    """Return a variant by its name, the reference in words."""
    return "Keras model" if name == KERAS else name
