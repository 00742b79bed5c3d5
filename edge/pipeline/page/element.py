"""Elements of a page out of text that may say anything; the standard library escapes it."""

from typing import Any
from xml.etree import ElementTree

from edge.runtime.printable import one_line

Element = ElementTree.Element


def element(tag: str, *children: Element | str | None, **attributes: Any) -> Element:
    """An element of HTML or SVG.

    Args:
        tag: Its name.
        children: Elements and text in order; text is escaped, None is left out.
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
    """A whole HTML document.

    Args:
        title: Of the page.
        style: Style sheet; trusted.
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
    """A table; on a narrow screen each row is a few lines, and no cell is out of sight.

    Args:
        columns: Titles.
        rows: With a cell for each column.
        text_columns: So many columns from the left hold text, the others numbers.
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
    """A part of the page under its heading."""
    return element("section", element("h2", title), *children)


def folded(title: str, *children: Element | None, opened: bool = False) -> Element:
    """A part that opens on a click."""
    return element("details", element("summary", title), *children, open="open" if opened else None)


def _add_text(made: Element, text: str) -> None:
    """Text goes behind the last child, or into the element as long as there is none."""
    if len(made):
        made[-1].tail = (made[-1].tail or "") + text
    else:
        made.text = (made.text or "") + text


def _safe(text: str) -> str:
    """Without what breaks a page, but with the spaces between words and elements."""
    before = " " if text[:1] == " " else ""
    after = " " if text[-1:] == " " and text.strip() else ""
    return before + one_line(text) + after
