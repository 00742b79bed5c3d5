"""Which shared libraries an ELF file asks for.

Layout: System V ABI, chapters 4 and 5 (gabi.xinuos.com); 64-bit little-endian, as aarch64 and
x86-64 Linux are.
"""

import struct
from collections.abc import Iterator
from typing import Final

MAGIC: Final = b"\x7fELF\x02\x01"  # 64-bit, little-endian
LOAD: Final = 1
DYNAMIC: Final = 2
NEEDED: Final = 1
STRING_TABLE: Final = 5


def needed(content: bytes) -> tuple[str, ...]:
    """Names of DT_NEEDED, in their order; none for anything but a dynamic 64-bit ELF file."""
    if not content.startswith(MAGIC):
        return ()
    segments = list(_segments(content))
    entries = [
        struct.unpack_from("<qQ", content, at)
        for kind, offset, _, size in segments
        if kind == DYNAMIC
        for at in range(offset, offset + size, 16)
    ]
    tables = [value for tag, value in entries if tag == STRING_TABLE]
    if not tables:
        return ()
    # The table is named by its address in memory; the segment that holds it knows the file's.
    (start,) = (
        offset + tables[0] - address
        for kind, offset, address, size in segments
        if kind == LOAD and address <= tables[0] < address + size
    )
    names = (start + value for tag, value in entries if tag == NEEDED)
    return tuple(content[at : content.index(b"\0", at)].decode() for at in names)


def _segments(content: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Type, offset, address and size in the file of every program header."""
    (table,) = struct.unpack_from("<Q", content, 32)
    entry_size, count = struct.unpack_from("<HH", content, 54)
    for number in range(count):
        at = table + number * entry_size
        kind, _, offset, address, _, size = struct.unpack_from("<IIQQQQ", content, at)
        yield kind, offset, address, size
