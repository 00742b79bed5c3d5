"""Readers that believe nothing of JSON, TOML, NumPy arrays and text before it is checked.

Sizes are bounded before anything is read, depth before anything recurses, and what an archive
inflates to while it inflates. ``Malformed`` says what is wrong, in one sentence without the place:
whoever asked knows the path, and what to do.

Formats: RFC 8259 (JSON), toml.io/en/v1.0.0, numpy.lib.format (.npy), APPNOTE.TXT of PKWARE (zip).
"""

import errno
import io
import json
import os
import re
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import accumulate
from math import isfinite, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NoReturn

if TYPE_CHECKING:
    import zipfile

    from numpy.typing import NDArray

MAX_BYTES: Final = 1 << 20  # a text; parsed values take up to 30 times as much memory
MAX_DEPTH: Final = 32  # lists and objects within one another
MAX_ARRAY_BYTES: Final = 64 << 20  # all arrays of a file together
MAX_ARRAYS: Final = 64
MAX_DIMENSIONS: Final = 8
MAX_HEADER: Final = 1024  # bytes that describe an array; numpy writes 128
MAX_DIRECTORY: Final = 256 << 10  # bytes that list the members of an archive
SHOWN: Final = 60  # characters of a value in a message
PART: Final = 1 << 20  # bytes that are inflated at a time

_STRINGS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)  # linear, ended or not
_NO_BRACKETS: Final = bytes(code for code in range(256) if code not in b"[]{}")
_STEPS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
# Only a text with these can hold an infinite float, an integer of more than 64 bits, or a
# character that no text may have; all others are spared the slower hooks and the second look.
_LARGE: Final = re.compile(rb"[eE]\+?[0-9]{3}|[0-9]{200}")
_LONG: Final = re.compile(rb"[0-9]{19}")
_ODD: Final = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
# A word or a short string of a dotted key of TOML, with its dot: tomllib takes a time that grows
# with the square of their number (18 s for 64 KB).
_PART_OF_KEY: Final = r"""(?:[\w-]++|"(?:[^"\\\n]|\\.){0,99}+"|'[^'\n]{0,99}+')[ \t]*+\.[ \t]*+"""
_PLAIN: Final = re.compile(r"[<>|=]?(?:b1|[iu][1248]|f[248]|c8|c16|[SU][1-9][0-9]{0,5})")
_KINDS: Final = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class Malformed(ValueError):
    """Bytes that are not what they should be; its text is one sentence without a place's name."""


class Missing(Malformed):
    """A file of arrays that lacks one that was asked for."""


def parse_json(
    content: bytes | str,
    what: str = "the text",
    *,
    max_bytes: int = MAX_BYTES,
    max_depth: int = MAX_DEPTH,
    finite: bool = True,
) -> Any:
    """Return the value of a JSON text, all of whose numbers are finite.

    Two members of one name are refused, since programs differ in which of them they take: what
    one has checked is then not what another uses.

    Args:
        content: UTF-8, with or without a byte order mark.
        what: A noun with its article for the message, such as "the manifest".
        max_bytes: Longest text, in UTF-8.
        max_depth: Most lists and objects within one another.
        finite: False gives NaN and infinite numbers as they are: to who names the place of a bad
            one, or reads what other writers use them in.

    Raises:
        Malformed: It is no such text, is too long or too deep, holds NaN, an infinite number, an
            integer of more than 64 bits, or a string with zeros or halves of surrogate pairs.
    """
    text = decoded(content, what, max_bytes)
    raw = content if isinstance(content, bytes) else text.encode()
    _check_depth(raw, what, max_depth)

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            for name, _ in pairs:
                if value.pop(name, Malformed) is Malformed:
                    raise Malformed(f"{what} has two members of the name {name[:60]!r}")
        return value

    def constant(name: str) -> NoReturn:
        raise Malformed(f"{what} holds {name}, which is no number of JSON")

    hooks: dict[str, Any] = {"parse_constant": constant} if finite else {}
    if finite and _LARGE.search(raw):
        hooks["parse_float"] = lambda digits: _finite(float(digits), what)
    if _LONG.search(raw):
        hooks["parse_int"] = lambda digits: _integer(digits, what, text)
    try:
        value = json.loads(text, object_pairs_hook=members, **hooks)
    except json.JSONDecodeError as error:
        raise Malformed(f"{what} is no JSON: {error}") from error
    except RecursionError as error:  # whoever asked is deep in calls already
        raise Malformed(f"{what} is nested too deeply") from error
    if _ODD.search(raw):
        _check_values(value, what, max_depth, finite=finite)
    return value


def read_json(
    path: Path,
    what: str = "the file",
    *,
    max_bytes: int = MAX_BYTES,
    max_depth: int = MAX_DEPTH,
    finite: bool = True,
) -> Any:
    """Return the value of a JSON file; arguments as ``parse_json``.

    Raises:
        OSError: The file cannot be read.
        Malformed: As ``parse_json`` and ``read_bytes``.
    """
    content = read_bytes(path, what, max_bytes=max_bytes)
    bounds = {"max_bytes": max_bytes, "max_depth": max_depth}
    return parse_json(content, what, **bounds, finite=finite)


def read_toml(
    path: Path,
    what: str = "the file",
    *,
    max_bytes: int = MAX_BYTES,
    max_depth: int = MAX_DEPTH,
    finite: bool = True,
) -> dict[str, Any]:
    """Return the table of a TOML file, all of whose numbers are finite.

    The arguments are as those of ``parse_json``.

    Raises:
        OSError: The file cannot be read.
        Malformed: As ``parse_toml`` and ``read_bytes``.
    """
    content = read_bytes(path, what, max_bytes=max_bytes)
    bounds = {"max_bytes": max_bytes, "max_depth": max_depth}
    return parse_toml(content, what, **bounds, finite=finite)


def parse_toml(
    content: bytes | str,
    what: str = "the text",
    *,
    max_bytes: int = MAX_BYTES,
    max_depth: int = MAX_DEPTH,
    finite: bool = True,
) -> dict[str, Any]:
    """Return the table of a TOML text, all of whose numbers are finite.

    The arguments are as those of ``parse_json``.

    Raises:
        Malformed: It is no such text, is too long or too deep, or holds what ``parse_json``
            refuses too.
    """
    import tomllib

    text = decoded(content, what, max_bytes)
    if re.search(rf"(?<![\w-])(?:{_PART_OF_KEY}){{{max_depth},}}", text):
        raise Malformed(_too_deep(what, max_depth))
    try:
        value = tomllib.loads(text)
    except RecursionError as error:  # Python's own frames ended: nothing overflows before them
        raise Malformed(_too_deep(what, max_depth)) from error
    except tomllib.TOMLDecodeError as error:
        raise Malformed(f"{what} is no TOML: {_short(error)}") from error
    except ValueError as error:  # from int()
        raise Malformed(f"{what} holds an integer of more than 64 bits") from error
    _check_values(value, what, max_depth, finite=finite)
    return value


def read_text(path: Path, what: str = "the file", *, max_bytes: int = MAX_BYTES) -> str:
    """Return the text of a UTF-8 file, without its byte order mark.

    Raises:
        OSError: The file cannot be read.
        Malformed: It is not UTF-8, or as ``read_bytes``.
    """
    return decoded(read_bytes(path, what, max_bytes=max_bytes), what, max_bytes)


def read_bytes(path: Path, what: str = "the file", *, max_bytes: int = MAX_BYTES) -> bytes:
    """Return all bytes of a regular file.

    It never waits for a pipe, and never reads more than allowed.

    Raises:
        OSError: The file cannot be read.
        Malformed: It is larger than ``max_bytes``, or a pipe, a socket or a device.
    """
    with opened(path, what) as stream:
        _check_size(os.fstat(stream.fileno()).st_size, what, max_bytes)
        content = stream.read(max_bytes + 1)  # it may have grown since; that of /proc says 0
    _check_size(len(content), what, max_bytes)
    return content


@contextmanager
def opened(path: Path, what: str = "the file") -> Iterator[BinaryIO]:
    """Open a regular file, or one that a link leads to, for reading.

    Raises:
        OSError: The file cannot be opened.
        Malformed: It is a pipe, a socket or a device.
    """
    _check_kind(path.stat().st_mode, path, what)  # to open some devices is to do something
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with open(descriptor, "rb") as stream:  # noqa: PTH123  # a descriptor has no path
        _check_kind(os.fstat(descriptor).st_mode, path, what)
        yield stream


def read_npz(
    source: Path | bytes,
    what: str = "the file",
    *,
    names: Collection[str] | None = None,
    max_bytes: int = MAX_ARRAY_BYTES,
    finite: bool = False,
) -> dict[str, "NDArray[Any]"]:
    """Return the arrays of an .npz file, each of plain numbers, truth values or strings.

    Args:
        source: A path, or the content.
        what: A noun with its article for the message, such as "the head's file".
        names: Arrays to read, all of which have to be there; others are not even inflated. None
            for all that are there.
        max_bytes: Most bytes that the arrays may take together.
        finite: Whether a float that is NaN or infinite is refused.

    Raises:
        OSError: The file cannot be read.
        Missing: It lacks one of ``names``.
        Malformed: It is no such file or a damaged one, holds objects, or is larger than allowed
            or than it says.
    """
    with opened_zip(source, what) as archive:
        members = _members(archive, what)
        wanted = list(members) if names is None else list(names)
        missing = [name for name in wanted if name not in members]
        if missing:
            held = ", ".join(list(members)[:5]) or "nothing"
            raise Missing(f"{what} holds {held}, but no {missing[0]}")
        arrays: dict[str, NDArray[Any]] = {}
        left = max_bytes
        for name in wanted:
            with archive.open(members[name]) as stream:
                arrays[name] = _array(stream, f"{name!r} of {what}", left, max_bytes, finite)
                _check_length(stream.tell(), members[name], what)
            left -= arrays[name].nbytes
    return arrays


def read_npy(
    source: Path | bytes,
    what: str = "the file",
    *,
    max_bytes: int = MAX_ARRAY_BYTES,
    finite: bool = False,
) -> "NDArray[Any]":
    """Return the array of an .npy file; arguments and errors as ``read_npz``."""
    if isinstance(source, bytes):
        return _array(io.BytesIO(source), what, max_bytes, max_bytes, finite)
    with opened(source, what) as stream:
        return _array(stream, what, max_bytes, max_bytes, finite)


@contextmanager
def opened_zip(source: Path | bytes, what: str = "the file") -> Iterator["zipfile.ZipFile"]:
    """Open a zip archive; whatever is raised over its bytes within the block is ``Malformed``.

    Raises:
        OSError: The file cannot be read.
        Malformed: It is no archive, or a damaged one, or lists too much.
    """
    import struct
    import zipfile  # few bundles need it, and it takes time to import
    import zlib

    with _stream(source, what) as file:
        metered = _Metered(file, what)
        try:
            with zipfile.ZipFile(metered) as archive:
                metered.left = None
                yield archive
        except Malformed:
            raise
        except (
            ArithmeticError,
            EOFError,
            LookupError,
            RuntimeError,  # encrypted; NotImplementedError: a method of compression
            ValueError,
            struct.error,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise Malformed(f"{what} is no whole archive: {_short(error)}") from error
        except OSError as error:
            if error.errno != errno.EINVAL:  # an offset before the start of the file
                raise
            raise Malformed(f"{what} is no whole archive: {error.strerror}") from error


def read_member(
    archive: "zipfile.ZipFile", name: str, what: str = "the file", *, max_bytes: int = MAX_BYTES
) -> bytes:
    """Return the content of one file of an archive, inflated no further than it may.

    ``ZipFile.read`` inflates everything at once, whatever the list of members says, and cuts then.

    Raises:
        Malformed: There is none, it is larger than allowed, or of another length than is said.
    """
    if name not in archive.namelist():
        raise Malformed(f"{what} holds no {name}")
    info = archive.getinfo(name)
    _check_method(info, what)
    _check_size(info.file_size, f"{name} in {what}", max_bytes)
    content = bytearray()
    with archive.open(info) as stream:
        while part := stream.read(min(PART, info.file_size + 1 - len(content))):
            content += part
    _check_length(len(content), info, what)
    return bytes(content)


# Text


def decoded(content: bytes | str, what: str, max_bytes: int) -> str:
    """Return the text of bytes that were read already; see ``read_text``."""
    if isinstance(content, str):
        _check_size(len(content), what, max_bytes)
        try:
            content = content.encode()
        except UnicodeEncodeError as error:
            raise Malformed(f"{what} holds half of a surrogate pair") from error
    _check_size(len(content), what, max_bytes)
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise Malformed(f"{what} is UTF-16 or UTF-32; only UTF-8 is read")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Malformed(f"{what} is not UTF-8: {error.reason} at byte {error.start}") from error


def _check_size(size: int, what: str, max_bytes: int) -> None:
    if size > max_bytes:
        raise Malformed(f"{what} has {size:,} bytes or more; at most {max_bytes:,} are read")


def _check_kind(mode: int, path: Path, what: str) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    kind = next((kind for is_kind, kind in _KINDS if is_kind(mode)), None)
    if kind:
        raise Malformed(f"{what} is {kind}; only a regular file is read")


def _check_depth(raw: bytes, what: str, max_depth: int) -> None:
    """Count the brackets outside strings, since the parser recurses for each in C."""
    if raw.count(b"[") + raw.count(b"{") <= max_depth:
        return
    brackets = _STRINGS.sub(b"", raw).translate(None, _NO_BRACKETS)
    if max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > max_depth:
        raise Malformed(_too_deep(what, max_depth))


def _too_deep(what: str, max_depth: int) -> str:
    return f"{what} is nested more than {max_depth} levels deep"


def _finite(value: float, what: str) -> float:
    if not isfinite(value):
        raise Malformed(f"{what} holds a number that is not finite")
    return value


def _integer(digits: str, what: str, text: str) -> int:
    value = int(digits) if len(digits) < 21 else None  # int() refuses 4300 digits, and is slow
    if value is None or not -(1 << 63) <= value < 1 << 63:
        lines = text[: text.index(digits)].split("\n")
        where = f"line {len(lines)} column {len(lines[-1]) + 1}"
        raise Malformed(
            f"{what} holds an integer of {len(digits)} digits at {where}; it may have 64 bits"
        )
    return value


def _check_values(value: Any, what: str, max_depth: int, *, finite: bool = True) -> None:
    """Look at every value, level by level: nothing here recurses."""
    level, depth = [value], 0
    while level:
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += item
                below += item.values()
            elif isinstance(item, list):
                below += item
            elif isinstance(item, str):
                _check_string(item, what)
            elif isinstance(item, float) and finite:
                _finite(item, what)
            elif isinstance(item, int) and not -(1 << 63) <= item < 1 << 63:
                raise Malformed(f"{what} holds an integer of more than 64 bits")
        level, depth = below, depth + 1
        if depth > max_depth and any(isinstance(item, dict | list) for item in level):
            raise Malformed(_too_deep(what, max_depth))


def _check_string(value: str, what: str) -> None:
    if "\0" in value:
        raise Malformed(f"{what} holds a string with a zero character")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Malformed(f"{what} holds a string with half of a surrogate pair") from error


def shown(value: Any) -> str:
    """Return a value as a message shows it, which is no longer than a line."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def _short(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:200]


# Arrays


class _Metered(io.BufferedIOBase):
    """A file that gives no more than so many bytes until its list of members has been read."""

    def __init__(self, stream: BinaryIO, what: str) -> None:
        self._stream = stream
        self._what = what
        self.left: int | None = MAX_DIRECTORY

    def read(self, size: int | None = -1) -> bytes:
        if self.left is not None:
            end = self._stream.seek(0, os.SEEK_CUR), self._stream.seek(0, os.SEEK_END)
            self._stream.seek(end[0])
            asked = end[1] - end[0] if size is None or size < 0 else min(size, end[1] - end[0])
            self.left -= max(asked, 0)
            if self.left < 0:
                raise Malformed(f"the list of members of {self._what} is too long")
        return self._stream.read(-1 if size is None else size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


@contextmanager
def _stream(source: Path | bytes, what: str) -> Iterator[BinaryIO]:
    if isinstance(source, bytes):
        yield io.BytesIO(source)
    else:
        with opened(source, what) as file:
            yield file


def _check_method(info: "zipfile.ZipInfo", what: str) -> None:
    if info.compress_type not in (0, 8):  # stored, deflated
        raise Malformed(f"{what} is compressed by a method other than deflate")


def _check_length(length: int, info: "zipfile.ZipInfo", what: str) -> None:
    if length != info.file_size:
        raise Malformed(f"{info.filename[:60]!r} of {what} is not as long as the archive says")


def _members(archive: "zipfile.ZipFile", what: str) -> dict[str, "zipfile.ZipInfo"]:
    """Return the members by the name of their array."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name == info.filename or not name.isprintable() or len(name) > 255:
            raise Malformed(f"{what} holds {info.filename[:60]!r}, which is no array")
        if name in members:
            raise Malformed(f"{what} has two arrays of the name {name[:60]!r}")
        _check_method(info, what)
        members[name] = info
        if len(members) > MAX_ARRAYS:
            raise Malformed(f"{what} holds more than {MAX_ARRAYS} arrays")
    return members


def _array(stream: Any, what: str, left: int, max_bytes: int, finite: bool) -> "NDArray[Any]":
    """Return the array that a stream of the .npy format holds, and that nothing follows.

    Args:
        stream: Gives the bytes; memory grows with what it gives, not with what its header says.
        what: A noun for the message.
        left: Most bytes that this array may have.
        max_bytes: The whole bound, for the message.
        finite: Whether a float that is NaN or infinite is refused.
    """
    import numpy as np

    descr, fortran, shape = _header(stream, what)
    dtype = np.dtype(descr)
    if prod(max(1, size) for size in shape) * dtype.itemsize > left:
        raise Malformed(
            f"{what} says that it has the shape {shape}; {max_bytes:,} bytes are allowed"
        )
    size = prod(shape) * dtype.itemsize
    content = bytearray()
    while len(content) <= size and (part := stream.read(min(PART, size + 1 - len(content)))):
        content += part
    if len(content) != size:
        raise Malformed(f"{what} has not the {size:,} bytes that its shape {shape} needs")
    array = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
    if finite and dtype.kind in "fc" and not np.isfinite(array).all():
        raise Malformed(f"{what} holds a number that is not finite")
    if dtype.kind == "U":
        _check_characters(array, what)
    return array


def _header(stream: Any, what: str) -> tuple[str, bool, tuple[int, ...]]:
    """Return the type, whether columns come first, and the shape of an .npy stream."""
    from ast import literal_eval

    start = stream.read(8)
    if len(start) != 8 or start[:6] != b"\x93NUMPY" or start[6] not in (1, 2, 3):
        raise Malformed(f"{what} is no array of numpy")
    length = int.from_bytes(stream.read(2 if start[6] == 1 else 4), "little")
    if length > MAX_HEADER:
        raise Malformed(f"{what} has a header of {length:,} bytes; {MAX_HEADER:,} are read")
    try:
        header = literal_eval(stream.read(length).decode("latin-1").strip())
        descr, fortran, shape = header["descr"], header["fortran_order"], header["shape"]
    except (SyntaxError, ValueError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise Malformed(f"{what} has a damaged header") from error
    if not isinstance(descr, str) or not _PLAIN.fullmatch(descr):
        raise Malformed(
            f"{what} has the type {str(descr)[:60]!r}; only plain numbers and strings are read"
        )
    whole = isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)
    if type(fortran) is not bool or not whole or len(shape) > MAX_DIMENSIONS:
        raise Malformed(f"{what} has a shape that no array has: {str(shape)[:60]}")
    return descr, fortran, shape


def _check_characters(array: "NDArray[Any]", what: str) -> None:
    """Refuse strings of numbers that are no characters: Python raises when it reads them.

    Halves of surrogate pairs stay: a file name that is not UTF-8 has them in Python.
    """
    import numpy as np

    codes = np.ascontiguousarray(array).reshape(-1).view(array.dtype.byteorder + "u4")
    if (codes > 0x10FFFF).any():
        raise Malformed(f"{what} holds a string of numbers that are no characters")
