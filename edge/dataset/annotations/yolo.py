"""YOLO: a text file for each picture, a line an object: class, centre x, centre y, width, height.

The numbers are shares of the picture's sides. The files lie beside the pictures, or in a folder
``labels`` beside their folder ``images``; the names of the classes stand in ``data.yaml``, or in
``classes.txt`` or ``obj.names``.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edge.dataset.annotations.stated import StatedBox, StatedPicture, by_stem
from edge.errors import DataError, cause_of
from edge.runtime import checked
from edge.runtime.numbers import finite_number

MOST_BYTES: Final = 8 << 20
_NAME_FILES: Final = ("classes.txt", "obj.names", "classes.names")
_LIST: Final = re.compile(r"^names\s*:\s*\[(?P<items>[^\]]*)\]", re.MULTILINE)
_ENTRY: Final = re.compile(r"^(?:\s*-|\s+(?P<index>\d+)\s*:)\s*(?P<name>.+?)\s*$")


def evidence(folder: Path) -> list[Path]:
    """Return the text files whose first line is five numbers or more."""
    found = []
    for path in sorted(folder.rglob("*.txt")):
        if path.name in _NAME_FILES or not path.is_file():
            continue
        try:
            text = checked.read_text(path, "it", max_bytes=MOST_BYTES)
        except (OSError, ValueError):
            continue
        first = text.strip().partition("\n")[0].split()
        fits = len(first) >= 5 and first[0].isdecimal() and None not in map(finite_number, first)
        if fits or (not text.strip() and "labels" in path.parts):
            found.append(path)
    empty = all(path.stat().st_size == 0 for path in found)
    return [] if empty else found


def read(
    folder: Path, files: Sequence[Path], pictures: Sequence[Path], labels: Sequence[str]
) -> dict[Path, StatedPicture]:
    """See ``Format``.

    Raises:
        DataError: A line is no object, or a class has no name.
    """
    names = class_names(folder) or tuple(labels)
    known = by_stem(pictures)
    return {known[path.stem]: _picture(path, names) for path in files if path.stem in known}


def class_names(folder: Path) -> tuple[str, ...]:
    """Return the class names that a file at the folder or above states; none where none does."""
    for place in (folder, folder.parent):
        for name in ("data.yaml", "data.yml", "dataset.yaml"):
            found = _yaml_names(place / name)
            if found:
                return found
        for name in _NAME_FILES:
            if (place / name).is_file():
                lines = _text(place / name).splitlines()
                return tuple(line.strip() for line in lines if line.strip())
    return ()


def _yaml_names(path: Path) -> tuple[str, ...]:
    """Return the entry ``names`` of a data.yaml: a list in brackets, or an entry a line."""
    if not path.is_file():
        return ()
    text = _text(path)
    inline = _LIST.search(text)
    if inline:
        return tuple(_unquoted(item) for item in inline["items"].split(",") if item.strip())
    names: list[str] = []
    inside = False
    for line in text.splitlines():
        if inside:
            entry = _ENTRY.match(line)
            if entry is None:
                if line.strip() and not line.lstrip().startswith("#"):
                    break
                continue
            if entry["index"] is not None and int(entry["index"]) != len(names):
                raise DataError(f"{path}: the names of the classes are not numbered from 0 on")
            names.append(_unquoted(entry["name"]))
        elif line.rstrip() == "names:":
            inside = True
    return tuple(names)


def _unquoted(text: str) -> str:
    return text.strip().strip("\"'")


def _text(path: Path) -> str:
    try:
        return checked.read_text(path, "the annotation", max_bytes=MOST_BYTES)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {cause_of(error)}") from error


def _picture(path: Path, names: Sequence[str]) -> StatedPicture:
    lines = enumerate(_text(path).splitlines(), 1)
    boxes = tuple(_box(path, number, line, names) for number, line in lines if line.strip())
    return StatedPicture(source=path, boxes=boxes, shares=True)


def _box(path: Path, number: int, line: str, names: Sequence[str]) -> StatedBox:
    words = line.split()
    values = [finite_number(word) for word in words]
    if len(words) < 5 or not words[0].isdecimal() or None in values:
        raise DataError(
            f"{path}, line {number}: {checked.shown(line)}, expected a class and four numbers",
            hint="A line is: class, centre x, centre y, width and height, as shares of the sides.",
        )
    index = int(words[0])
    if index >= len(names):
        raise DataError(
            f"{path}, line {number}: class {index}, and {len(names)} classes have names",
            hint="Put data.yaml or classes.txt with the names beside the pictures.",
        )
    x, y, width, height = (value or 0.0 for value in values[1:5])
    points = [value or 0.0 for value in values[5:]]
    return StatedBox(
        label=names[index],
        left=x - width / 2,
        top=y - height / 2,
        right=x + width / 2,
        bottom=y + height / 2,
        keypoints=_keypoints(points),
    )


def _keypoints(values: Sequence[float]) -> tuple[tuple[float, float, int], ...]:
    """Return (x, y, visibility) of the numbers after a box, as Ultralytics writes poses."""
    if not values or len(values) % 3:
        return ()
    triples = zip(*(iter(values),) * 3, strict=True)
    return tuple((x, y, int(seen)) for x, y, seen in triples)
