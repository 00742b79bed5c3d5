"""Pascal VOC: an XML file for each picture, beside it or in a folder Annotations."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from edge.dataset.annotations.stated import StatedBox, StatedPicture, by_stem
from edge.errors import DataError, cause_of
from edge.runtime import checked
from edge.runtime.numbers import finite_number

MOST_BYTES: Final = 4 << 20  # of one file; some thousand objects
# Both begin what an XML file can do harm with: entities that grow, and files of the system.
_DANGEROUS: Final = (b"<!DOCTYPE", b"<!ENTITY")


def evidence(folder: Path) -> list[Path]:
    """Return the XML files that annotate, sorted; the first one tells."""
    files = sorted(path for path in folder.rglob("*.xml") if path.is_file())
    for path in files[:1]:
        try:
            if b"<annotation" not in checked.read_bytes(path, "it", max_bytes=MOST_BYTES):
                return []
        except (OSError, ValueError):
            return []
    return files


def read(
    folder: Path, files: Sequence[Path], pictures: Sequence[Path], labels: Sequence[str]
) -> dict[Path, StatedPicture]:
    """See ``Format``.

    Raises:
        DataError: A file cannot be read, or states no annotation.
    """
    del folder, labels
    known = by_stem(pictures)
    found = {}
    for path in files:
        if path.stem in known:
            found[known[path.stem]] = _picture(path)
    return found


def _picture(path: Path) -> StatedPicture:
    try:
        content = checked.read_bytes(path, "the annotation", max_bytes=MOST_BYTES)
        upper = content.upper()
        if any(mark in upper for mark in _DANGEROUS) or b"\0" in content:
            raise DataError(
                f"{path} declares a document type or entities, which annotations have none of",
                hint="Write it again without them.",
            )
        root = ElementTree.fromstring(content)
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise DataError(
            f"{path} cannot be read: {cause_of(error)}", hint="Export the annotations again."
        ) from error
    size = root.find("size")
    width, height = (_number(path, size, name, default=0.0) for name in ("width", "height"))
    return StatedPicture(
        source=path,
        boxes=tuple(_box(path, item) for item in root.iter("object")),
        size=(int(width), int(height)) if width >= 1 and height >= 1 else None,
    )


def _box(path: Path, item: ElementTree.Element) -> StatedBox:
    box = item.find("bndbox")
    if box is None:
        raise DataError(f"{path} has an object without bndbox", hint="Draw it again.")
    left, top, right, bottom = (
        _number(path, box, name) for name in ("xmin", "ymin", "xmax", "ymax")
    )
    return StatedBox(
        label=(item.findtext("name") or "").strip(),
        left=left,
        top=top,
        right=right,
        bottom=bottom,
        ignored=(item.findtext("difficult") or "").strip() == "1",
    )


def _number(
    path: Path, parent: ElementTree.Element | None, name: str, default: float | None = None
) -> float:
    text = None if parent is None else parent.findtext(name)
    if text is None and default is not None:
        return default
    value = finite_number((text or "").strip())
    if value is None:
        raise DataError(
            f"{path}: {name} is {checked.shown(text)}, expected a number", hint="Draw it again."
        )
    return value
