"""A labels file, as people and tools write it -> the names of the classes, in order."""

import codecs
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from edge.dataset.layout import normal
from edge.errors import UsageError, cause_of
from edge.runtime import checked
from edge.runtime.files import readable
from edge.runtime.printable import one_line
from edge.wording import counted

_MOST_BYTES: Final = 16 << 20
_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # stands before the mark of UTF-16, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_INDEXED: Final = re.compile(r"(\d{1,6})(?:\s*[,;:=\t]\s*|[.)]\s+|\s+-\s+|\s+)(\S.*)")
_INDEX_LAST: Final = re.compile(r"(\S.*?)\s*[,;:=\t]\s*(\d{1,6})")
_WORDNET: Final = re.compile(r"(n\d{8})\s*[\s,;:]\s*(\S.*)")
_HEADER: Final = re.compile(r"[^\W\d]\w*\s*[,;\t]\s*[^\W\d]\w*")
_BACKGROUND: Final = ("background", "dummy", "???", "none", "__background__")


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """The classes of a model.

    Attributes:
        names: The names in NFC, all different; the position is the class index.
        wnids: The WordNet IDs of the same classes, if the file has them; otherwise empty.
        notes: Sentences on how the file was read.
    """

    names: tuple[str, ...]
    wnids: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_labels(path: Path, classes: int | None = None, *, doubles: bool = False) -> Labels:
    """Read a labels file; see ``parse_labels``.

    Raises:
        UsageError: The file cannot be read, or is not clear.
    """
    try:
        with checked.opened(path) as stream:
            content = stream.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = cause_of(error)
        raise UsageError(f"the labels {readable(path)} cannot be read: {reason}") from error
    return parse_labels(content, readable(path), classes, doubles=doubles)


def parse_labels(
    content: bytes, name: str, classes: int | None = None, *, doubles: bool = False
) -> Labels:
    """Parse the labels in the bytes of a file.

    A label stands on a line of its own, alone or after its index (``0 cat``, ``0: cat``,
    ``0,cat``) or its WordNet ID. Indices count from 0 or 1 and decide the order. A JSON file is
    a list of names, or says the index of each. The text is UTF-8, or has a byte order mark.

    Args:
        content: The content of the file.
        name: The name of the file, for messages.
        classes: The number of classes of the model; None if it is not known.
        doubles: Whether a label may stand twice, as in published lists (COCO's ``n/a``,
            ImageNet's ``crane``); the later one then gets its index: ``crane (517)``.

    Raises:
        UsageError: A line is blank, stands twice or has a control character; indices have gaps;
            or the number of labels is not ``classes``.
    """
    if len(content) > _MOST_BYTES:
        raise UsageError(f"{name} has more than {_MOST_BYTES >> 20} MB: it is not a labels file")
    text, notes = _decoded(content, name)
    parsed = _json(text, name) if text.lstrip()[:1] in ("{", "[") else None
    lines = _lines(text, name) if parsed is None else parsed
    labels = Labels(names=tuple(lines), notes=notes)
    if parsed is None:
        for form in (_wordnet, _index_last, _indexed):
            labels = form(labels, name)
    if doubles:
        labels = _told_apart(labels)
    _check_names(labels.names, name)
    _check_count(labels.names, name, classes)
    return labels


def _decoded(content: bytes, name: str) -> tuple[str, tuple[str, ...]]:
    """Return the text, and a note on its encoding unless that is plain UTF-8."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            notes = () if encoding == "utf-8" else (f"{name} is read as {encoding.upper()}",)
            return _text(content[len(mark) :], encoding, name), notes
    encoding = "utf-16-le" if content[1::2].count(0) >= content[::2].count(0) else "utf-16-be"
    if _is_wide(content, encoding):
        return _text(content, encoding, name), (f"{name} is read as {encoding.upper()}",)
    return _text(content, "utf-8", name), ()


def _is_wide(content: bytes, encoding: str) -> bool:
    """Whether bytes are UTF-16, and do not only hold a stray NUL.

    Every other byte of most languages' letters is NUL then, and of every line break.
    """
    breaks = content.count(b"\n\0" if encoding == "utf-16-le" else b"\0\n")
    wide_breaks = 0 < breaks == content.count(b"\n")
    return b"\0" in content and (wide_breaks or 3 * content.count(0) >= len(content))


def _text(content: bytes, encoding: str, name: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UsageError(
            f"line {line} of {name} is not {encoding.upper()}", hint="Save the file as UTF-8."
        ) from error


def _lines(text: str, name: str) -> list[str]:
    """Return the lines without the space around them; blank ones at the end do not count.

    Lines end at LF, CR LF or CR only. A label may hold other line breaks of Unicode; if they
    counted, all labels after it would be shifted.
    """
    lines = [normal(line.strip(" \t\xa0")) for line in re.split(r"\r\n|\n|\r", text)]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise UsageError(f"{name} holds no label", hint="Write a class name on each line.")
    for number, line in enumerate(lines, 1):
        if not line:
            raise UsageError(
                f"line {number} of {name} is blank: the labels after it would belong to other "
                "classes",
                hint="Delete the line, or write the name of its class there.",
            )
    return lines


def _wordnet(labels: Labels, name: str) -> Labels:  # noqa: ARG001 - the signature of all forms
    """Read lines such as ``n01440764 tench``; names that stand twice get their ID."""
    matches = [_WORDNET.fullmatch(line) for line in labels.names]
    if not all(matches):
        return labels
    wnids = tuple(match[1] for match in matches if match)
    names = [match[2] for match in matches if match]
    named = tuple(
        f"{label} ({wnid})" if names.count(label) > 1 else label
        for wnid, label in zip(wnids, names, strict=True)
    )
    return Labels(names=named, wnids=wnids, notes=labels.notes)


def _index_last(labels: Labels, name: str) -> Labels:  # noqa: ARG001 - the signature of all forms
    """Turn lines such as ``cat,0`` round if the numbers are those of classes."""
    lines = labels.names
    start = 1 if len(lines) > 1 and _HEADER.fullmatch(lines[0]) else 0
    matches = [_INDEX_LAST.fullmatch(line) for line in lines[start:]]
    indices = sorted(int(match[2]) for match in matches if match)
    if len(indices) < len(matches) or indices != [*range(indices[0], indices[0] + len(indices))]:
        return labels
    if indices[0] > 1:
        return labels
    turned = [f"{match[2]}\t{match[1]}" for match in matches if match]
    return Labels(names=(*lines[:start], *turned), notes=labels.notes)


def _indexed(labels: Labels, name: str) -> Labels:
    """Read lines such as ``0 cat``; they stay as they are if the numbers are not indices."""
    lines = labels.names
    header = len(lines) > 1 and _HEADER.fullmatch(lines[0]) and _INDEXED.fullmatch(lines[1])
    start = 1 if header else 0
    matches = [_INDEXED.fullmatch(line) for line in lines[start:]]
    pairs = [(int(match[1]), _unquoted(match[2])) for match in matches if match]
    if not pairs or len(pairs) < len(lines) - start or min(pairs)[0] > 1:
        return _check_mixed(labels, matches, start, name)
    indices = sorted(index for index, _ in pairs)
    first = indices[0]
    if len({label for _, label in pairs}) < len(pairs) == len({*lines[start:]}):
        return labels  # "1 euro", "2 euro": the numbers are part of the names
    for offset, index in enumerate(indices):
        if index != first + offset:
            double = index in indices[:offset]
            raise UsageError(
                f"{name} has the index {index} twice"
                if double
                else f"{name} lacks the index {first + offset}",
                hint="Number the classes from 0, each once.",
            )
    notes = [f"{name}: the numbers before the labels are taken as class indices from {first}"]
    if header:
        notes.append(f"{name}: the first line is taken as a heading")
    return Labels(names=tuple(label for _, label in sorted(pairs)), notes=(*labels.notes, *notes))


def _check_mixed(
    labels: Labels, matches: Sequence[re.Match[str] | None], start: int, name: str
) -> Labels:
    """Refuse indexed lines with one that has no index: the rest would be misread."""
    without = [number for number, match in enumerate(matches, 1 + start) if match is None]
    indices = [int(match[1]) for match in matches if match]
    if len(indices) > 2 and indices == sorted({*indices}) and len(without) < len(indices):
        line = without[0] if without else 1
        raise UsageError(
            f"line {line} of {name} has no index and the others have"
            if without
            else f"the indices of {name} begin with {indices[0]}",
            hint="Number all classes from 0, or none.",
        )
    return labels


def _unquoted(text: str) -> str:
    """Return a field of a CSV line without its quotes."""
    quoted = len(text) > 1 and text[0] == text[-1] == '"'
    return text[1:-1].replace('""', '"') if quoted else text


def _json(text: str, name: str) -> list[str] | None:
    """Return names from a list, index -> name, or name -> index; None if it is not JSON."""
    try:
        value: Any = checked.parse_json(text, name, max_bytes=_MOST_BYTES)
    except checked.Malformed:
        return None
    if isinstance(value, dict):
        by_index: Callable[[tuple[Any, Any]], Any] = lambda item: int(item[0])  # noqa: E731
        if all(isinstance(index, int) for index in value.values()):
            value = {str(index): label for label, index in value.items()}
        if sorted(value) == sorted(map(str, range(len(value)))):
            value = [label for _, label in sorted(value.items(), key=by_index)]
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return [normal(item.strip()) for item in value]
    raise UsageError(
        f"{name} is JSON of another form",
        hint='Write ["cat", "dog"], or {"0": "cat", "1": "dog"}, or a name on each line.',
    )


def _told_apart(labels: Labels) -> Labels:
    """Give a label that stands a second time its index."""
    seen: set[str] = set()
    names = []
    for index, label in enumerate(labels.names):
        names.append(f"{label} ({index})" if label in seen else label)
        seen.add(label)
    return replace(labels, names=tuple(names))


def _check_names(names: Sequence[str], name: str) -> None:
    """Refuse labels with control characters, and labels that stand twice."""
    numbers: dict[str, int] = {}
    for number, label in enumerate(names, 1):
        if not label or any(
            unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in label
        ):
            raise UsageError(
                f"label {number} of {name}, '{one_line(label)}', is empty or has a control "
                "character",
                hint="Write plain text, a class name on each line.",
            )
        if label in numbers:
            raise UsageError(
                f"label {number} of {name}, {label!r}, is that of label {numbers[label]} as well",
                hint="Give each class a name of its own.",
            )
        numbers[label] = number


def _check_count(names: Sequence[str], name: str, classes: int | None) -> None:
    """Refuse another number of labels than the model has classes."""
    if classes is None or len(names) == classes:
        return
    hint = "Name as many classes as the model has, in the order of its outputs."
    if len(names) == classes + 1:
        first = names[0].casefold() in _BACKGROUND
        hint = (
            f"The first label is {names[0]!r}: if the model has no such class, delete the line."
            if first
            else "One label is too many: perhaps a heading, or the name of a background class."
        )
    elif len(names) + 1 == classes:
        hint = (
            "One label is missing. Models often have a background class as their first: if this "
            "one has, write 'background' above the others."
        )
    raise UsageError(
        f"{name} has {counted(len(names), 'label')}; the model has "
        f"{counted(classes, 'class', 'classes')}",
        hint=hint,
    )


def numbered(classes: int) -> Labels:
    """Return the classes of a model that nobody has named."""
    return Labels(
        names=tuple(str(index) for index in range(classes)),
        notes=(
            f"the answers are the numbers 0 to {classes - 1}, since nothing names the {classes} "
            "classes: --labels FILE names them, one a line in the order of the model's outputs; "
            "until then a picture has a label only if its folder is called by such a number"
            + (" or by an id of WordNet" if classes == 1000 else ""),
        ),
    )
