"""YOLO: a text file for each picture, a line an object: class, centre x, centre y, width, height.

The numbers are shares of the picture's sides. The files lie beside the pictures, or in a folder
``labels`` beside their folder ``images``; the names of the classes stand in ``data.yaml``, or in
``classes.txt`` or ``obj.names``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from edge.dataset.annotations.stated import StatedBox, StatedPicture, by_stem
from edge.errors import DataError, cause_of
from edge.runtime import checked
from edge.runtime.numbers import finite_number

MOST_BYTES: Final = 8 << 20
_NAME_FILES: Final = ("classes.txt", "obj.names", "classes.names")
_YAML_FILES: Final = ("data.yaml", "data.yml", "dataset.yaml")
MOST_YAML_BYTES: Final = 1 << 20
_WAY: Final = "Write them as a list, names: [cat, dog], or a line each, 0: cat."


def evidence(folder: Path) -> list[Path]:
    """Return the text files, where the first line of one is five numbers or more.

    A file that holds something else among them is one that is damaged, which ``read`` says.
    """
    files, fits = [], False
    for path in sorted(folder.rglob("*.txt")):
        if path.name in _NAME_FILES or not path.is_file():
            continue
        files.append(path)
        if not fits:
            fits = _is_annotation(path)
    return files if fits else []


def _is_annotation(path: Path) -> bool:
    try:
        text = checked.read_text(path, "it", max_bytes=MOST_BYTES)
    except (OSError, ValueError):
        return False
    first = text.strip().partition("\n")[0].split()
    return len(first) >= 5 and first[0].isdecimal() and None not in map(finite_number, first)


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
    unnamed = None
    for place in (folder, folder.parent):
        for name in _YAML_FILES:
            if (place / name).is_file():
                found = _yaml_names(place / name)
                if found:
                    return found
                unnamed = place / name
        for name in _NAME_FILES:
            if (place / name).is_file():
                lines = _text(place / name).splitlines()
                return tuple(line.strip() for line in lines if line.strip())
    if unnamed is not None:
        raise DataError(f"{unnamed} names no classes", hint=_WAY)
    return ()


def _yaml_names(path: Path) -> tuple[str, ...]:
    """Return the entry ``names`` of a data.yaml, a list or a mapping from the number of a class.

    Raises:
        DataError: The file is no YAML, or the entry something else.
    """
    import yaml  # not at the top: most commands read none

    text = _text(path, MOST_YAML_BYTES)
    try:
        # Every scalar is a text: a class may be called no, null or 1e3.
        value = yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        where = getattr(error, "problem_mark", None)
        line = "" if where is None else f", line {where.line + 1}"
        raise DataError(f"{path}{line} is no YAML that can be read", hint=_WAY) from error
    names = value.get("names") if isinstance(value, dict) else None
    if names is None or names == "":
        return ()
    if isinstance(names, dict):
        names = _numbered(path, names)
    if not isinstance(names, list) or not all(isinstance(item, str) and item for item in names):
        raise DataError(f"the entry names of {path} is no list of names", hint=_WAY)
    return tuple(names)


def _numbered(path: Path, names: dict[Any, Any]) -> list[Any]:
    """Return names in the order of their numbers, which have to be all from 0 on."""
    numbers = {str(key): value for key, value in names.items()}
    wanted = [str(number) for number in range(len(numbers))]
    if sorted(numbers) != sorted(wanted):
        missing = next(number for number in wanted if number not in numbers)
        raise DataError(
            f"the names of {path} are not numbered from 0 on: {missing} is missing", hint=_WAY
        )
    return [numbers[number] for number in wanted]


def _text(path: Path, max_bytes: int = MOST_BYTES) -> str:
    try:
        return checked.read_text(path, "the annotation", max_bytes=max_bytes)
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
