"""The three readers that everything from outside goes through."""

import io
import json
import os
import random
import struct
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.runtime import checked
from edge.runtime.checked import Malformed

MB = 1 << 20


def bounded(limit: int, seconds: float, call: Callable[[], Any]) -> Any:
    """What the call gives, which may take so many bytes and seconds of a processor."""
    tracemalloc.start()
    start = time.process_time()
    try:
        return call()
    finally:
        taken, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < limit
        assert taken < seconds


def npz(arrays: dict[str, Any], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in arrays.items():
            archive.writestr(f"{name}.npy", content)
    return stream.getvalue()


def npy(header: str, content: bytes = b"", version: int = 1) -> bytes:
    raw = header.encode("latin-1")
    length = struct.pack("<H" if version == 1 else "<I", len(raw))
    return b"\x93NUMPY" + bytes([version, 0]) + length + raw + content


def saved(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"a": [1, -2.5, True, None, "x\ty", "\u00e9\u4e2d\U0001f600"], "b": {"[": "]]]{{{"}},
        [1e308, -(1 << 63), (1 << 63) - 1, 5e-324],
        "[" * 1000,
        'quotes \\" and \\\\ and [[',
    ],
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_json_gives_what_was_written(value: Any, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert checked.parse_json(text) == value
    assert checked.parse_json(text.encode()) == value
    assert checked.parse_json(b"\xef\xbb\xbf" + text.encode()) == value


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[1] [2]",
        b"NaN",
        b"[Infinity]",
        b"[-Infinity]",
        b"1e999",
        b"-1e0309",
        b"1" + b"0" * 249 + b"e99",
        b"1" * 5000,
        b"-" + b"9" * 19,
        str(1 << 63).encode(),
        b"1" * 400 + b".0",
        b'"\\ud800"',
        b'{"\\uDFFF": 1}',
        b'"a\\u0000b"',
        b'"a\0b"',
        b"[1]\0",
        b'"\xff"',
        b"\xed\xa0\x80",
        '{"a": 1}'.encode("utf-16"),
        '{"a": 1}'.encode("utf-16-le"),
        '{"a": 1}'.encode("utf-32"),
        b'{"a": 1, "b": 2, "a": 3}',
        b'[{"a": 1, "\\u0061": 3}]',
        b"[" * 33 + b"]" * 33,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'["\\"[",' * 40,
        '"\ud800"',
        b" " * (MB + 1),
    ],
    ids=lambda text: repr(text[:12]),
)
def test_json_that_is_refused(text: bytes | str) -> None:
    with pytest.raises(Malformed, match=r"^the letter ") as caught:
        bounded(48 * MB, 2, lambda: checked.parse_json(text, "the letter"))
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


def test_json_may_be_as_deep_as_is_said() -> None:
    text = "[" * 40 + "]" * 40
    assert checked.parse_json(text, max_depth=40)
    with pytest.raises(Malformed):
        checked.parse_json(text, max_depth=39)


def test_the_depth_of_a_long_text_is_found_in_linear_time() -> None:
    for text in ('"\\"' * 300_000, '["' + '\\"[' * 300_000, "[]," * 300_000):
        with pytest.raises(Malformed):
            bounded(64 * MB, 5, lambda text=text: checked.parse_json(text, max_bytes=4 * MB))


def test_many_members_of_one_name_take_linear_time() -> None:
    names = [*range(100_000), 99_999]
    text = "{" + ",".join(f'"{name}":0' for name in names) + "}"
    with pytest.raises(Malformed, match="'99999'"):
        bounded(128 * MB, 5, lambda: checked.parse_json(text, max_bytes=4 * MB))


def test_toml_gives_what_was_written() -> None:
    text = 'a = [1, 2.5]\n"b.c".d = "x"  # [[[[\n[e.f]\ng = """[[[\n[[["""\n'
    value = checked.parse_toml(text)
    assert value == {"a": [1, 2.5], "b.c": {"d": "x"}, "e": {"f": {"g": "[[[\n[[["}}}
    assert checked.parse_toml(b"\xef\xbb\xbf" + text.encode()) == value


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "a = ",
        "a = nan",
        "a = -inf",
        "a = 1e999",
        "a = " + "1" * 5000,
        "a = 0x" + "f" * 5000,
        f"a = {1 << 63}",
        'a = "\\u0000"',
        'a = "\\ud800"',
        'a = "\0"',
        "a = 1\na = 2",
        "a = 2000-13-45",
        "a = " + "[" * 25_000 + "]" * 25_000,
        "a = " + "[" * 40 + "]" * 40,
        "a = " + "{b=" * 25_000,
        "a." * 25_000 + "a = 1",
        "[" + "a." * 25_000 + "a]",
        "'a' . " * 8_000 + "a = 1",
        '"\\"a".' * 8_000 + "a = 1",
        "x" * (MB + 1),
    ],
    ids=lambda text: repr(text[:12]),
)
def test_toml_that_is_refused(text: str) -> None:
    with pytest.raises(Malformed, match=r"^the letter ") as caught:
        bounded(32 * MB, 3, lambda: checked.parse_toml(text, "the letter"))
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("read", [checked.read_json, checked.read_toml, checked.read_text])
def test_only_a_regular_file_is_read(tmp_path: Path, read: Callable[..., Any]) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / "link", Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(Malformed):
            bounded(8 * MB, 2, lambda path=path: read(path))
    with pytest.raises(IsADirectoryError):
        read(tmp_path)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none")


def test_a_file_is_bounded_by_what_it_gives(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with file.open("wb") as stream:
        stream.truncate(10 << 30)
    with pytest.raises(Malformed, match="10,737,418,240 bytes"):
        bounded(8 * MB, 2, lambda: checked.read_json(file))
    assert len(checked.read_bytes(Path("/proc/self/maps"))) > 0  # says that it has 0 bytes
    with pytest.raises(Malformed):
        checked.read_bytes(Path("/proc/self/maps"), max_bytes=10)


ARRAYS = {
    "floats": np.arange(12, dtype=np.float32).reshape(3, 4),
    "columns": np.asfortranarray(np.arange(12, dtype=np.float64).reshape(3, 4)),
    "big": np.arange(5, dtype=">i2"),
    "bools": np.array([True, False]),
    "words": np.array(["a", "\u4e2d\u6587", "\U0001f600"]),
    "bytes": np.array([b"ab", b"c"]),
    "scalar": np.array(7, dtype=np.uint8),
    "none": np.empty((0, 9), np.float32),
    "unnamed": np.array([""]),
    "no utf-8": np.array(["a\udcff.jpg"]),  # a file name
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_gives_what_was_written(tmp_path: Path, save: Callable[..., None]) -> None:
    save(tmp_path / "a.npz", **ARRAYS)
    for source in (tmp_path / "a.npz", (tmp_path / "a.npz").read_bytes()):
        found = checked.read_npz(source, finite=True)
        assert list(found) == list(ARRAYS)
        for name, array in ARRAYS.items():
            assert found[name].dtype == array.dtype
            assert found[name].flags.f_contiguous == array.flags.f_contiguous
            assert found[name].flags.writeable
            np.testing.assert_array_equal(found[name], array)
    assert list(checked.read_npz(tmp_path / "a.npz", names=["words"])) == ["words"]
    with pytest.raises(Malformed, match="no labels"):
        checked.read_npz(tmp_path / "a.npz", names=["words", "labels"])


def header(descr: str = "'<f4'", shape: str = "(2,)", fortran: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n"


def hostile_arrays() -> dict[str, bytes]:
    eight = bytes(8)
    headers = {
        "tuple of a tuple": header(shape="((2,),)"),
        "no tuple": header(shape="2"),
        "negative": header(shape="(-2, -1)"),
        "truth": header(shape="(True, 2)"),
        "float": header(shape="(2.0,)"),
        "huge": header(shape=f"({1 << 62}, 8)"),
        "huge and nothing": header(shape=f"({1 << 62}, {1 << 62}, 0)"),
        "digits": header(shape=f"({'9' * 900},)"),
        "dimensions": header(shape="(" + "1, " * 65 + ")"),
        "objects": header(descr="'|O'"),
        "fields": header(descr="[('a', '<f4')]"),
        "dates": header(descr="'<M8[s]'"),
        "empty strings": header(descr="'<U0'", shape=f"({1 << 40},)"),
        "long strings": header(descr="'<U999999999'"),
        "no characters": header(descr="'<U1'"),
        "unknown": header(descr="'<f3'"),
        "no type": header(descr="None"),
        "no order": header(fortran="2"),
        "deep": "(" * 1000,
        "minus": "-" * 1000 + "1",
        "cut": "{'descr': '<f4'",
        "no dictionary": "[1]",
        "call": "__import__('os')",
        "zero": header() + "\0",
        "short": header(shape="(3,)"),
        "long": header(shape="(1,)"),
    }
    arrays = {name: npy(text, eight) for name, text in headers.items()}
    arrays["no characters"] = npy(headers["no characters"].replace("2", "1"), b"\xff" * 4)
    arrays["pickle"] = saved(np.array([{"a": 1}], dtype=object))
    arrays["version"] = npy(header(), eight, version=9)
    arrays["endless header"] = npy(header() + " " * 60_000, eight)
    arrays["header of 4 GB"] = b"\x93NUMPY\x02\x00\xff\xff\xff\xff"
    arrays["nothing"] = b""
    arrays["infinite"] = saved(np.array([1, np.inf], np.float32))
    arrays["none"] = saved(np.array([1, np.nan]))
    return arrays


@pytest.mark.parametrize("name", hostile_arrays())
def test_arrays_that_are_refused(name: str) -> None:
    content = hostile_arrays()[name]
    for read, source in ((checked.read_npy, content), (checked.read_npz, npz({"a": content}))):
        with pytest.raises(Malformed) as caught:
            bounded(4 * MB, 2, lambda read=read, source=source: read(source, finite=True))
        assert len(str(caught.value)) < 1500


def test_a_bomb_is_inflated_no_further_than_its_bound(tmp_path: Path) -> None:
    file = tmp_path / "bomb.npz"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("a.npy", "w", force_zip64=True) as stream:
            stream.write(npy(header(shape=f"({32 << 20},)")))
            for _ in range(128):
                stream.write(bytes(MB))
        archive.writestr("b.npy", saved(np.arange(3)))
    with pytest.raises(Malformed, match="bytes are allowed"):
        bounded(8 * MB, 2, lambda: checked.read_npz(file, max_bytes=16 * MB))
    found = bounded(8 * MB, 2, lambda: checked.read_npz(file, names=["b"], max_bytes=16 * MB))
    assert found["b"].tolist() == [0, 1, 2]  # what nobody asked for is not inflated


def test_arrays_share_one_bound() -> None:
    content = npz({name: saved(np.zeros(1000)) for name in "abc"})
    assert len(checked.read_npz(content, max_bytes=24_000)) == 3
    with pytest.raises(Malformed):
        checked.read_npz(content, max_bytes=23_999)


def lying_archives() -> dict[str, bytes]:
    """Archives that say something else than they hold."""
    good = npz({"a": saved(np.zeros(3))})
    directory = good.index(b"PK\x01\x02")

    def changed(offset: int, content: bytes) -> bytes:
        return good[:offset] + content + good[offset + len(content) :]

    twice = io.BytesIO()
    with zipfile.ZipFile(twice, "w") as archive, pytest.warns(UserWarning):
        archive.writestr("a.npy", saved(np.zeros(3)))
        archive.writestr("a.npy", saved(np.ones(3)))
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("a.txt", b"")
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as archive:
        for index in range(10_000):
            archive.writestr(f"{index}.npy", b"")
    return {
        "twice": twice.getvalue(),
        "other": other.getvalue(),
        "many": many.getvalue(),
        "lzma": npz({"a": saved(np.zeros(3))}, zipfile.ZIP_LZMA),
        "bzip2": npz({"a": saved(np.zeros(3))}, zipfile.ZIP_BZIP2),
        "method": changed(directory + 10, b"\x63\x00"),
        "encrypted": changed(directory + 8, b"\x01\x00"),
        "sum": changed(directory + 16, b"\0\0\0\0"),
        "short": changed(directory + 24, struct.pack("<I", 100)),
        "long": changed(directory + 24, struct.pack("<I", 1 << 31)),
        "offset": changed(len(good) - 6, struct.pack("<I", 1 << 31)),
        "cut": good[:-1],
        "half": good[: len(good) // 2],
        "text": b"hello",
        "array": saved(np.zeros(3)),
        "deflated": changed(60, b"\xff" * 20),
    }


@pytest.mark.parametrize("name", lying_archives())
def test_archives_that_are_refused(name: str, tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    file.write_bytes(lying_archives()[name])
    for source in (file, file.read_bytes()):
        with pytest.raises(Malformed, match="the head"):
            bounded(8 * MB, 2, lambda source=source: checked.read_npz(source, "the head"))


def mutated(seed: bytes, rng: random.Random) -> bytes:
    """A text or an archive of which some bytes were changed, cut, doubled or put elsewhere."""
    content = bytearray(seed)
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(len(content) + 1), rng.choice((1, 1, 2, 4, 30))
        kind = rng.randrange(5)
        if kind == 0:
            content[at : at + length] = rng.randbytes(length)
        elif kind == 1:
            del content[at : at + length]
        elif kind == 2:
            content[at:at] = content[at : at + length] * rng.choice((1, 3, 200))
        elif kind == 3:
            content[at : at + 1] = rng.choice(
                (b"\0", b"\xff", b'"', b"[", b"{", b"-", b"9e999", b"\\ud800", b"nan", b".", b"=")
            )
        else:
            content[at : at + 4] = struct.pack("<I", rng.choice((0, 1 << 31, 0xFFFFFFFF, 65)))
    return bytes(content)


SEEDS = {
    "json": json.dumps({"a": [1, 2.5e10, "\u00e9\\n"], "b": {"c": [True, None]}}).encode(),
    "toml": b'a = [1, 2.5]\n[b."c d"]\ne = """x"""\nf = 2020-01-01T00:00:00Z\n'
    b"[[g]]\nh = {i = 0x1}\n",
    "npz": npz({"a": saved(np.arange(6.0).reshape(2, 3)), "b": saved(np.array(["x", "yz"]))}),
    "stored": npz({"a": saved(np.arange(6, dtype=np.int8))}, zipfile.ZIP_STORED),
    "npy": saved(np.asfortranarray(np.ones((2, 3), np.float32))),
}
READERS: dict[str, Callable[[bytes], Any]] = {
    "json": checked.parse_json,
    "toml": checked.parse_toml,
    "npz": lambda content: checked.read_npz(content, max_bytes=MB, finite=True),
    "stored": lambda content: checked.read_npz(content, max_bytes=MB, finite=True),
    "npy": lambda content: checked.read_npy(content, max_bytes=MB, finite=True),
}


@pytest.mark.parametrize("kind", SEEDS)
def test_any_bytes_give_a_value_or_are_malformed(kind: str) -> None:
    rng = random.Random(f"checked {kind}")
    cases = [mutated(SEEDS[kind], rng) for _ in range(1500)]
    refused = 0

    def read_all() -> None:
        nonlocal refused
        for content in cases:
            try:
                READERS[kind](content)
            except Malformed:
                refused += 1

    bounded(16 * MB, 20, read_all)
    assert 100 < refused < len(cases)  # both ways were gone


def test_a_sum_is_checked_to_the_last_byte() -> None:
    content = bytearray(npz({"a": saved(np.zeros(50_000))}, zipfile.ZIP_STORED))
    content[200_000] ^= 1
    assert zlib.crc32(content) != 0
    with pytest.raises(Malformed, match="CRC"):
        checked.read_npz(bytes(content))
