"""Makes hostile files out of whole ones: bytes, JSON, TOML, zip archives, npz, pictures.

Everything is drawn from one ``random.Random``, so that a case can be made again from its number.
"""

import io
import json
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from random import Random
from typing import Any, Final

from tests.unit.conftest import png_chunk

Mutate = Callable[[Random, Sequence[bytes]], bytes]

EDGES: Final = (
    0,
    1,
    2,
    127,
    128,
    255,
    256,
    32767,
    32768,
    65535,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
)
WIDE: Final = (*EDGES, 2**40, 2**48, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
PLACE: Final = "@hostile@"
BOMB_BYTES: Final = 600_000_000
DEEP: Final = (200, 995, 1900, 5000, 150_000)


def mutated_bytes(random: Random, seeds: Sequence[bytes]) -> bytes:
    """Flips, cuts, splices and numbers that lie, one to four of them on top of one another."""
    content = bytearray(random.choice(seeds))
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 4))):
        content = random.choice(_STEPS)(random, content, seeds)
    return bytes(content)


def _flip(random: Random, content: bytearray, _: Sequence[bytes]) -> bytearray:
    if content:
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    return content


def _set(random: Random, content: bytearray, _: Sequence[bytes]) -> bytearray:
    if content:
        content[random.randrange(len(content))] = random.choice(
            (0, 1, 0x7F, 0x80, 0xFF, 0x1B, 0x0A)
        )
    return content


def _number(random: Random, content: bytearray, _: Sequence[bytes]) -> bytearray:
    """An integer of 1 to 8 bytes, of either order: lengths, offsets and counts are such."""
    size = random.choice((1, 2, 4, 4, 4, 8))
    value = random.choice(WIDE) % (1 << 8 * size)
    # Headers, where the lengths stand, are at the front more often than not.
    end = max(1, len(content) - size)
    at = random.randrange(min(end, 256) if random.random() < 0.5 else end)
    content[at : at + size] = value.to_bytes(size, random.choice(("little", "big")))
    return content


def _cut(random: Random, content: bytearray, _: Sequence[bytes]) -> bytearray:
    return content[: random.randrange(len(content) + 1)]


def _drop(random: Random, content: bytearray, _: Sequence[bytes]) -> bytearray:
    at = random.randrange(len(content) + 1)
    del content[at : at + random.choice((1, 2, 4, 16, 64))]
    return content


def _again(random: Random, content: bytearray, _: Sequence[bytes]) -> bytearray:
    at = random.randrange(len(content) + 1)
    part = content[at : at + random.choice((1, 4, 16, 256, 4096))]
    to = random.randrange(len(content) + 1)
    content[to:to] = part * random.choice((1, 2, 64))
    return content


def _noise(random: Random, content: bytearray, _: Sequence[bytes]) -> bytearray:
    at = random.randrange(len(content) + 1)
    count = random.choice((1, 4, 16, 64))
    content[at : at + count] = random.randbytes(count)
    return content


def _splice(random: Random, content: bytearray, seeds: Sequence[bytes]) -> bytearray:
    other = random.choice(seeds)
    return content[: random.randrange(len(content) + 1)] + other[random.randrange(len(other) + 1) :]


_STEPS: Final = (_flip, _flip, _set, _number, _number, _cut, _drop, _again, _noise, _splice)


def hostile_json(random: Random) -> str:
    """A JSON text that no writer of edge would write."""
    deep = random.choice(DEEP)
    return random.choice(
        (
            lambda: "[" * deep + "]" * deep,
            lambda: '{"a":' * deep + "1" + "}" * deep,
            lambda: "9" * random.choice((19, 25, 400, 5000)),
            lambda: "-" + "9" * random.choice((19, 400)),
            lambda: random.choice(("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e-999")),
            lambda: random.choice(("-1", "0", "-0.0", "0.5", "2147483648", "9223372036854775808")),
            lambda: random.choice(("null", "true", "false", "[]", "{}", '""', "[[]]", "[null]")),
            lambda: json.dumps(random.choice(_TEXTS)),
            lambda: json.dumps("x" * random.choice((300, 70_000, 1_000_000))),
            lambda: random.choice(('"\\ud800"', '"\\u0000"', '"\\u001b[31m\\u0007"', '"\\u202e"')),
            lambda: json.dumps(dict.fromkeys(_TEXTS, 1)),
            lambda: "[" + ",".join(["0"] * random.choice((3, 1000, 100_000))) + "]",
        )
    )()


_TEXTS: Final = (
    "/etc/passwd",
    "../../../etc/passwd",
    "models",
    ".",
    "\x1b]0;owned\x07\x1b[2J",
    "\x9b31m",
    "a\nb",
    "=1+1",
    "<script>alert(1)</script>",
    "$(touch owned)",
    "-oProxyCommand=touch owned",
    "%s%n{0}",
    "\u2028",
    "long/" * 100,
    "e\u0301",
)


def mutated_json(random: Random, seeds: Sequence[bytes]) -> bytes:
    """One or two values replaced, doubled, renamed or gone; or the bytes themselves damaged."""
    if random.random() < 0.2:
        return mutated_bytes(random, seeds)
    text = random.choice(seeds).decode()
    if random.random() < 0.08:
        return random.choice(
            (
                lambda: b"\xef\xbb\xbf" + text.encode(),
                lambda: text.encode("utf-16"),
                lambda: hostile_json(random).encode(),
                lambda: text.encode() * 2,
                lambda: b"",
            )
        )()
    value = json.loads(text)
    for _ in range(random.choice((1, 1, 2))):
        value = _replaced(random, value)
    # The first few places only: a place may have been repeated 5,000 times, and a value be large.
    first, *parts = json.dumps(value).split(json.dumps(PLACE))
    for number, part in enumerate(parts):
        first += (hostile_json(random) if number < 3 else "0") + part
    return first.encode(errors="replace")


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key or index) of a JSON value."""
    found: list[tuple[Any, Any]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        found.append((value, key))
        if isinstance(item, dict | list):
            found += _places(item)
    return found


def _replaced(random: Random, value: Any) -> Any:
    places = _places(value) if isinstance(value, dict | list) else []
    if not places or random.random() < 0.02:
        return PLACE
    container, key = random.choice(places)
    kind = random.random()
    if kind < 0.65:
        container[key] = PLACE
    elif kind < 0.75:
        del container[key]
    elif kind < 0.85:
        other, name = random.choice(places)
        if name in other if isinstance(other, dict) else name < len(other):
            container[key] = json.loads(json.dumps(other[name]))  # of a wrong type, perhaps
    elif isinstance(container, dict):
        container[random.choice(("", "x", "a" * 5000, "\x1b[31m", "__class__"))] = container.pop(
            key
        )
    else:
        container.extend([container[key]] * random.choice((1, 50, 5000)))
    return value


def hostile_toml(random: Random) -> str:
    """A TOML value that no writer of edge would write."""
    deep = random.choice(DEEP)
    return random.choice(
        (
            lambda: "[" * deep + "]" * deep,
            lambda: "{a=" * deep + "1" + "}" * deep,
            lambda: ".".join(["a"] * deep) + " = 1",
            lambda: random.choice(("nan", "inf", "-inf", "1e999", "-1", "0", "9" * 5000, "1.5")),
            lambda: random.choice(("true", "[]", "{}", '""', "1979-05-27", "07:32:00", "[1, 'a']")),
            lambda: json.dumps(random.choice(_TEXTS)),
            lambda: json.dumps("x" * random.choice((300, 70_000, 1_000_000))),
            lambda: "0x" + "f" * 6000,
        )
    )()


def mutated_toml(random: Random, seeds: Sequence[bytes]) -> bytes:
    """A line's value replaced, a line gone or twice; or the bytes damaged."""
    if random.random() < 0.2:
        return mutated_bytes(random, seeds)
    lines = random.choice(seeds).decode().splitlines()
    for _ in range(random.choice((1, 1, 2))):
        at = random.randrange(len(lines))
        kind = random.random()
        if kind < 0.7:
            settable = [place for place, line in enumerate(lines) if "=" in line] or [at]
            at = random.choice(settable)
            lines[at] = lines[at].partition("=")[0] + "= " + hostile_toml(random)
        elif kind < 0.8:
            del lines[at]
        elif kind < 0.9:
            lines.insert(random.randrange(len(lines) + 1), lines[at])
        else:
            lines[at] = random.choice(("[a", "[[rule]]", "[" + "a." * 3000 + "a]", "=", "\x1b[31m"))
        lines = lines or [""]
    return "\n".join(lines).encode()


def mutated_lines(random: Random, seeds: Sequence[bytes]) -> bytes:
    """For text formats: a word or a line replaced by something else; or the bytes damaged."""
    if random.random() < 0.4:
        return mutated_bytes(random, seeds)
    lines = random.choice(seeds).split(b"\n")
    at = random.randrange(len(lines))
    words = lines[at].split(b" ")
    words[random.randrange(len(words))] = random.choice(
        (
            b"nan",
            b"1e999",
            b"-inf",
            b"9" * 5000,
            b"",
            b"\xff\xfe",
            b"\x1b]0;x\x07",
            b"\0",
            b"x" * 1_000_000,
            "\u202e\u2028".encode(),
            b"1_0",
            b"0x10",
        )
    )
    lines[at] = b" ".join(words)
    if random.random() < 0.2:
        lines[at:at] = [lines[at]] * random.choice((1, 1000))
    return random.choice((b"\n", b"\n", b"\r\n", b"\r", b"\0")).join(lines)


@cache
def zeros() -> bytes:
    """A bomb: BOMB_BYTES of zeros, deflated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = bytes(10_000_000)
    parts = [packer.compress(block) for _ in range(BOMB_BYTES // len(block))]
    return b"".join(parts) + packer.flush()


def gzip_bomb() -> bytes:
    """BOMB_BYTES of zeros as a gzip file; the checksum at its end does not fit."""
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + zeros() + bytes(8)


def mutated_zip(member: Callable[[Random, str, bytes], bytes]) -> Mutate:
    """For archives.

    Args:
        member: Makes one member hostile, by its name and content.
    """

    def mutate(random: Random, seeds: Sequence[bytes]) -> bytes:
        kind = random.random()
        if kind < 0.3:
            return mutated_bytes(random, seeds)
        with zipfile.ZipFile(io.BytesIO(random.choice(seeds))) as archive:
            members = [(item.filename, archive.read(item)) for item in archive.infolist()]
        at = random.randrange(len(members))
        name, content = members[at]
        if kind < 0.7:
            members[at] = (name, member(random, name, content))
        elif kind < 0.78:
            del members[at]
        elif kind < 0.86:
            members.append((random.choice((name, "../../owned", "/owned", "x" * 300)), content))
        return _packed(random, members, lying=kind >= 0.86)

    return mutate


def _packed(random: Random, members: Sequence[tuple[str, bytes]], *, lying: bool) -> bytes:
    """An archive; a lying one states sizes, methods or flags that are not so, or holds a bomb."""
    stream = io.BytesIO()
    how = random.choice(("size", "method", "encrypted", "bomb", "crc")) if lying else ""
    victim = random.randrange(len(members)) if members else -1
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # a name twice is one of the faults that are planted
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
        if how == "bomb" and members:
            return _bombed(members, members[victim][0])
    packed = bytearray(stream.getvalue())
    at = _entries(packed)[victim] if members else -1
    if how == "size":
        packed[at + 24 : at + 28] = struct.pack("<I", random.choice((0, 1, 2**31, 2**32 - 1)))
    elif how == "method":
        packed[at + 10 : at + 12] = struct.pack("<H", random.choice((1, 9, 12, 14, 93, 99)))
    elif how == "encrypted":
        packed[at + 8] |= 1
    elif how == "crc":
        packed[at + 16 : at + 20] = random.randbytes(4)
    return bytes(packed)


def _entries(packed: bytes) -> list[int]:
    """Where the entries of the central directory are."""
    found, at = [], packed.find(b"PK\x01\x02")
    while at >= 0:
        found.append(at)
        at = packed.find(b"PK\x01\x02", at + 4)
    return found


def _bombed(members: Sequence[tuple[str, bytes]], victim: str) -> bytes:
    """The archive with zeros in the place of one member, deflated beforehand."""
    local, central = bytearray(), bytearray()
    for name, content in members:
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        raw = packer.compress(content) + packer.flush()
        size, crc = len(content), zlib.crc32(content)
        if name == victim:
            # An array of zeros has to begin as an array does; the checksum is not reached.
            raw, size, crc = zeros(), BOMB_BYTES, 0
        entry = name.encode()
        fields = struct.pack("<HHHHIII", 0, 8, 0, 33, crc, len(raw), size)
        central += b"PK\x01\x02" + struct.pack("<HH", 20, 20) + fields
        central += struct.pack("<HHHHHII", len(entry), 0, 0, 0, 0, 0, len(local)) + entry
        local += b"PK\x03\x04" + struct.pack("<H", 20) + fields
        local += struct.pack("<HH", len(entry), 0) + entry + raw
    count = len(members)
    end = struct.pack("<HHHHIIH", 0, 0, count, count, len(central), len(local), 0)
    return bytes(local + central + b"PK\x05\x06" + end)


def hostile_npy(random: Random, content: bytes) -> bytes:
    """A .npy file whose header promises something else than follows."""
    if random.random() < 0.3:
        return mutated_bytes(random, [content])
    length = struct.unpack("<H", content[8:10])[0]
    data = content[10 + length :]
    shape = random.choice(
        (
            "(3,)",
            "(1099511627776,)",
            "(4294967296, 4294967296)",
            "(-1,)",
            "(0, 5)",
            "()",
            "(1.5,)",
            "('a',)",
            "(True,)",
            "(2147483648, 2)",
            "(" + "(" * 150 + ")" * 150 + ",)",
            "(" + "9" * 5000 + ",)",
            "(" + "1," * 200 + ")",
        )
    )
    kind = random.choice(
        ("<f4", "<f8", ">f4", "|O", "O", "<U1000000000", "|V8", "<c16", "|b1", "<M8[s]", "<i8", "",
         "|S0", "<U0", "f" * 5000)
    )  # fmt: skip
    order = random.choice(("False", "True", "2", "None"))
    descr = repr(kind) if random.random() < 0.8 else "[('a', '<f4'), ('a', 'O')]"
    header = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"
    if random.random() < 0.15:
        header = random.choice(
            ("{" * 200, "__import__('os').system('touch owned')", "[" * 9000, "")
        )
    raw = header.encode() + b" " * (63 - len(header) % 64) + b"\n"
    if len(raw) > 65535 or random.random() < 0.1:
        return (
            b"\x93NUMPY\x02\x00" + struct.pack("<I", random.choice((len(raw), 2**31))) + raw + data
        )
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(raw)) + raw + data


def hostile_member(random: Random, name: str, content: bytes) -> bytes:
    """A member of an archive, made hostile by what it is."""
    if content.startswith(b"\x93NUMPY"):
        return hostile_npy(random, content)
    if name.endswith(".json"):
        return mutated_json(random, [content])
    return mutated_bytes(random, [content])


def mutated_picture(random: Random, seeds: Sequence[bytes]) -> bytes:
    """Bytes, or chunks and segments with sizes and repetitions that are in order and too much."""
    content = random.choice(seeds)
    if random.random() < 0.3:
        if content.startswith(b"\x89PNG"):
            return _mutated_png(random, content)
        if content.startswith(b"\xff\xd8"):
            return _mutated_jpeg(random, content)
    return mutated_bytes(random, [content, *seeds])


def _mutated_png(random: Random, content: bytes) -> bytes:
    """A chunk changed, doubled or new, each with a checksum that holds."""
    chunks, at = [], 8
    while at + 8 <= len(content):
        length = int.from_bytes(content[at : at + 4])
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    kind = random.random()
    number = random.randrange(len(chunks))
    name, data = chunks[number]
    if kind < 0.3:
        name, data = chunks[0]
        size = struct.pack(">II", random.choice(EDGES), random.choice(EDGES))
        form = bytes((random.choice((1, 2, 4, 8, 16, 3)), random.choice((0, 2, 3, 4, 6, 9))))
        chunks[0] = (name, size + form + data[10:])
    elif kind < 0.6:
        chunks[number] = (name, mutated_bytes(random, [data or b"\0"]))
    elif kind < 0.8:
        chunks[number:number] = [chunks[number]] * random.choice((1, 2000))
    else:
        new = random.choice((b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"tRNS", b"acTL", b"IDAT"))
        payload = b"key\0\0" + zlib.compress(bytes(random.choice((10, 50_000_000))))
        chunks.insert(random.randrange(1, len(chunks)), (new, payload))
    return content[:8] + b"".join(png_chunk(name, data) for name, data in chunks)


def _mutated_jpeg(random: Random, content: bytes) -> bytes:
    """Another size, or scans and segments over and over."""
    frame = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))
    scans = [at for at in range(len(content) - 1) if content[at : at + 2] == b"\xff\xda"]
    kind = random.random()
    if kind < 0.5 and frame > 0:
        size = random.choice(EDGES) % 65536, random.choice(EDGES) % 65536
        return content[: frame + 5] + struct.pack(">HH", *size) + content[frame + 9 :]
    if kind < 0.9 and scans:
        at = random.choice(scans)
        scan = (
            content[at : content.find(b"\xff\xda", at + 2)] if at != scans[-1] else content[at:-2]
        )
        return content[:at] + scan * random.choice((2, 50, 3000)) + content[at:]
    marker = bytes((0xFF, random.choice((0xE1, 0xE2, 0xFE, 0xDD, 0xC4, 0xDB))))
    return (
        content[:2] + (marker + b"\xff\xff" + bytes(65533)) * random.choice((1, 20)) + content[2:]
    )
