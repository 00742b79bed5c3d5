"""Sidecar files: the tags of a picture in an XMP file beside it, which photo programs read.

Tags are added to what a file holds without touching another byte of it.

Sources: XMP specification part 1 (ISO 16684-1, section 7: RDF in XML) and part 3 (sidecar files);
``lr:hierarchicalSubject`` is that of Lightroom (levels divided by |), ``digiKam:TagsList`` is that
of digiKam (levels divided by /).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from edge.errors import DataError, OutputError
from edge.progress import Step
from edge.runtime import checked
from edge.runtime.files import expected, readable, write_bytes
from edge.runtime.printable import one_line
from edge.tagging.options import SidecarName
from edge.tagging.search import Groups
from edge.tagging.tags import Tagged

MAX_SIDECAR: Final = 16 << 20  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecars:
    """What became of the sidecars.

    Attributes:
        written: The number of those that are new or got more tags.
        unchanged: The number of those that had every tag.
        problems: The reason why each of the others was left as it is, by its path.
    """

    written: int
    unchanged: int
    problems: Mapping[Path, str]


def write_sidecars(
    directory: Path,
    pictures: Sequence[Tagged],
    groups: Groups,
    *,
    naming: SidecarName,
    folder: Path | None,
    step: Step,
) -> Sidecars:
    """Add the tags of each picture to its sidecar; whatever else is in it stays.

    Args:
        directory: The folder that was tagged.
        pictures: The pictures with their tags; those without one get no sidecar.
        groups: The groups that are parents of the labels.
        naming: How the sidecars are called.
        folder: The folder for them, with the same sub-folders; None puts them beside the pictures.
        step: It is told of each picture.

    Raises:
        DataError: Two pictures would share a sidecar.
        OutputError: A sidecar cannot be written.
    """
    targets = _targets(folder or directory, pictures, naming)
    written = 0
    problems: dict[Path, str] = {}
    for target, picture in targets.items():
        try:
            written += _add(target, [tag.label for tag in picture.tags], groups)
        except DataError as error:
            problems[target] = error.message
        step(1)
    unchanged = len(targets) - written - len(problems)
    return Sidecars(written=written, unchanged=unchanged, problems=problems)


def _targets(root: Path, pictures: Sequence[Tagged], naming: SidecarName) -> dict[Path, Tagged]:
    targets: dict[Path, Tagged] = {}
    for picture in pictures:
        if not picture.tags:
            continue
        path = root / picture.path
        if naming is SidecarName.APPENDED:
            target = path.with_name(path.name + ".xmp")
        else:
            target = path.with_suffix(".xmp")
        if target in targets:
            raise DataError(
                f"{readable(targets[target].path)} and {readable(picture.path)} would share the "
                f"sidecar {readable(Path(target.name))}",
                hint="Use --xmp-name appended, or rename one of the pictures.",
            )
        targets[target] = picture
    return targets


def _add(target: Path, labels: Sequence[str], groups: Groups) -> bool:
    """Add labels to a sidecar; return whether it had to be written."""
    try:
        path = target.resolve()  # a link stays one
        with expected(path):  # a photo program may write it at the same time
            before = None
            if path.exists():
                before = checked.read_bytes(path, "the sidecar", max_bytes=MAX_SIDECAR)
            content = with_tags(EMPTY if before is None else before, tag_values(labels, groups))
            if content == before:
                return False
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, content)
    except checked.Malformed as error:
        raise DataError(str(error)) from error
    except OSError as error:
        raise OutputError(
            f"the sidecar {readable(target)} cannot be written: {error.strerror or error}",
            hint="Check the permissions, or write elsewhere with --xmp-dir.",
        ) from error
    return True


RDF: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
# Each property has a namespace, a prefix and a kind of array.
PROPERTIES: Final[dict[str, tuple[str, str, str]]] = {
    "subject": ("http://purl.org/dc/elements/1.1/", "dc", "Bag"),
    "hierarchicalSubject": ("http://ns.adobe.com/lightroom/1.0/", "lr", "Bag"),
    "TagsList": ("http://www.digikam.org/ns/1.0/", "digiKam", "Seq"),
}
EMPTY: Final = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="edge">\n'
    f' <rdf:RDF xmlns:rdf="{RDF}">\n'
    " </rdf:RDF>\n"
    "</x:xmpmeta>\n"
    '<?xpacket end="w"?>\n'
).encode()


@dataclass(slots=True)
class _Array:
    """An array of values in a file: the position where more go in, and what it holds."""

    end: int = -1
    name: str = ""
    prefix: str = ""
    values: set[str] = field(default_factory=set)


def tag_values(labels: Sequence[str], groups: Groups) -> dict[str, list[str]]:
    """Return the values of each property: every label, and the group that it belongs to."""
    values: dict[str, list[str]] = {name: [] for name in PROPERTIES}
    for label in (one_line(label).strip() for label in labels):
        parent = groups.parent(label)
        path = (label,) if parent is None else (parent, label)
        values["subject"] += reversed(path)
        values["hierarchicalSubject"].append("|".join(part.replace("|", "-") for part in path))
        values["TagsList"].append("/".join(part.replace("/", "-") for part in path))
    return {name: list(dict.fromkeys(items)) for name, items in values.items()}


def with_tags(content: bytes, wanted: Mapping[str, Sequence[str]]) -> bytes:
    """Add the values that a file lacks; return the same bytes if it lacks none.

    Args:
        content: The XMP file, in UTF-8.
        wanted: The values of each property, by a name of ``PROPERTIES``.

    Raises:
        DataError: The content is not XMP, not UTF-8, or has a document type, which XMP never has.
    """
    scan = _Scan(content)
    edits: list[tuple[int, str, str]] = []  # position of an end tag, text, name of the element
    missing: list[str] = []
    for name, values in wanted.items():
        array = scan.arrays.get(name)
        if array is None:
            missing.append(_property(name, values, scan.rdf_prefix))
            continue
        new = [value for value in values if value not in array.values]
        if new:
            edits.append((array.end, _items(new, array.prefix), array.name))
    if missing:
        edits.append(
            (scan.rdf_end, _description(missing, scan), _qualified(scan.rdf_prefix, "RDF"))
        )
    for position, text, name in sorted(edits, reverse=True):
        content = _inserted(content, position, text.encode(), name)
    return content


class _Scan:
    """The values that a file has of the properties, and their positions."""

    def __init__(self, content: bytes) -> None:
        self.arrays: dict[str, _Array] = {}
        self.rdf_end = -1
        self.rdf_prefix = "rdf"
        self.about = ""
        self._path: list[tuple[str, str]] = []
        self._text: list[str] | None = None
        if content.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise _unfit("it is in UTF-16")
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.namespace_prefixes = True
        self._parser.StartDoctypeDeclHandler = _refuse_doctype
        self._parser.XmlDeclHandler = _check_encoding
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        try:
            self._parser.Parse(content, True)
        except expat.ExpatError as error:
            raise _unfit(f"it is not well-formed XML: {error}") from error
        if self.rdf_end < 0:
            raise _unfit("it has no rdf:RDF")
        broken = [name for name, array in self.arrays.items() if array.end < 0]
        if broken:
            raise _unfit(f"its {broken[0]} is not an array")

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        uri, local, prefix = _split(name)
        self._path.append((uri, local))
        if (uri, local) == (RDF, "RDF"):
            self.rdf_prefix = prefix
        if self._inside_rdf(1) and local == "Description":
            about = (v for key, v in attributes.items() if _split(key)[:2] == (RDF, "about"))
            self.about = next(about, self.about)
        ours = self._property(2)
        if ours is not None:
            self.arrays.setdefault(ours, _Array())
        if self._property(4) is not None and (uri, local) == (RDF, "li"):
            self._text = []

    def _end(self, name: str) -> None:
        uri, local, prefix = _split(name)
        if (uri, local) == (RDF, "RDF"):
            self.rdf_end = self._parser.CurrentByteIndex
        array = self._property(3)
        if array is not None and uri == RDF and local in ("Bag", "Seq", "Alt"):
            self.arrays[array].end = self._parser.CurrentByteIndex
            self.arrays[array].prefix = prefix
            self.arrays[array].name = _qualified(prefix, local)
        item = self._property(4)
        if item is not None and self._text is not None:
            self.arrays[item].values.add("".join(self._text).strip())
            self._text = None
        self._path.pop()

    def _characters(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)

    def _inside_rdf(self, levels: int) -> bool:
        return len(self._path) > levels and self._path[-1 - levels] == (RDF, "RDF")

    def _property(self, levels: int) -> str | None:
        """Return the name of our property that the element so many levels below RDF is in."""
        if not self._inside_rdf(levels) or self._path[-levels] != (RDF, "Description"):
            return None
        uri, local = self._path[1 - levels]
        known = PROPERTIES.get(local)
        return local if known is not None and known[0] == uri else None


def _split(name: str) -> tuple[str, str, str]:
    """Return namespace, local name and prefix of a name, as expat joins them."""
    parts = name.split(" ")
    if len(parts) == 1:
        return "", parts[0], ""
    return parts[0], parts[1], parts[2] if len(parts) > 2 else ""


def _qualified(prefix: str, local: str) -> str:
    return f"{prefix}:{local}" if prefix else local


def _refuse_doctype(*_: object) -> None:
    raise _unfit("it has a document type (DOCTYPE)")


def _check_encoding(_version: str, encoding: str | None, _standalone: int) -> None:
    if encoding is not None and encoding.upper() not in ("UTF-8", "US-ASCII", "ASCII"):
        raise _unfit(f"it is in {encoding}")


def _unfit(why: str) -> DataError:
    return DataError(
        f"tags cannot be added to this XMP file: {why}",
        hint="Expected XMP in UTF-8; move the file away, or write elsewhere with --xmp-dir.",
    )


def _items(values: Iterable[str], prefix: str) -> str:
    name = _qualified(prefix, "li")
    return "".join(f"<{name}>{escape(value)}</{name}>" for value in values)


def _property(name: str, values: Sequence[str], rdf: str) -> str:
    uri, prefix, kind = PROPERTIES[name]
    array = _qualified(rdf, kind)
    return (
        f'   <{prefix}:{name} xmlns:{prefix}="{uri}">'
        f"<{array}>{_items(values, rdf)}</{array}></{prefix}:{name}>\n"
    )


def _description(properties: Sequence[str], scan: _Scan) -> str:
    element = _qualified(scan.rdf_prefix, "Description")
    # An attribute of RDF needs a prefix, even if the elements of the file do without one.
    declared = "" if scan.rdf_prefix == "rdf" else f'xmlns:rdf="{RDF}" '
    about = f"{declared}rdf:about={quoteattr(scan.about)}"
    return f" <{element} {about}>\n{''.join(properties)}  </{element}>\n "


def _inserted(content: bytes, position: int, text: bytes, name: str) -> bytes:
    """Insert text in front of the end tag of an element; an empty element is opened for it.

    Args:
        content: The file.
        position: The position of the end tag, or that behind the empty element, as expat states it.
        text: The text to insert.
        name: The name of the element, with its prefix.
    """
    closing = f"</{name}".encode()
    if content.startswith(closing, position):
        return content[:position] + text + content[position:]
    opened = content[:position].removesuffix(b"/>")
    return opened + b">" + text + closing + b">" + content[position:]
