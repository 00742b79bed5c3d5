"""What of a wheel a device needs: the rest is left out, by rules that keep imports working.

A rule drops what the interpreter, numpy and the five image formats of ``edge.runtime.image`` never
import. Libraries that a wheel brings along (``numpy.libs``, ``pillow.libs``) stay when something
that stays asks for them, which their ELF headers tell. Licences always stay.
"""

import struct
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Final

# Pattern of the path inside the wheel (* also matches /) -> why it is not needed.
EVERY: Final[Mapping[str, str]] = {
    "*/tests/*": "tests",
    "*.pyi": "for type checkers",
    "*/py.typed": "for type checkers",
    "*.pxd": "for building extensions",
    "*.pyx": "for building extensions",
    "*.h": "for building extensions",
    "*.a": "for building extensions",
    "*.dist-info/RECORD": "for uninstalling",
    "*.dist-info/entry_points.txt": "for commands, which are not installed",
}
PACKAGE: Final[Mapping[str, Mapping[str, str]]] = {
    "ai-edge-litert": {
        "ai_edge_litert/libLiteRt*.so": "of CompiledModel and GPUs; Interpreter has its own",
        "ai_edge_litert/_pywrap_litert_c*.so": "of CompiledModel and the converter",
        "ai_edge_litert/aot/*": "compilers for NPUs",
        "ai_edge_litert/vendors/*": "compilers for NPUs",
        "ai_edge_litert/tools/*": "tools for files",
        "ai_edge_litert/tflite/*": "of the converter",
        "ai_edge_litert/*_pb2.py": "need protobuf, which only tools use",
        "ai_edge_litert/schema_py_generated.py": "needs flatbuffers, which only tools use",
    },
    "numpy": {
        "numpy/f2py/*": "compiles Fortran",
        "numpy/distutils/*": "builds extensions",
        "numpy/_core/_*_tests.*.so": "tests",
        "numpy/_core/_simd.*.so": "tests",
    },
    "onnxruntime": {
        "onnxruntime/transformers/*": "rewrites models",
        "onnxruntime/quantization/*": "rewrites models",
        "onnxruntime/tools/*": "tools for files",
        "onnxruntime/datasets/*": "example models",
        "onnxruntime/capi/libonnxruntime.so.*": "for programs in C; the Python module has its own",
    },
    "pillow": {
        "PIL/_avif.*": "edge reads no AVIF",
        "PIL/_imagingft.*": "draws text",
        "PIL/_imagingcms.*": "converts colour profiles",
        "PIL/_imagingtk.*": "shows windows",
        "PIL/ImageTk.py": "shows windows",
    },
    "tflite-runtime": {},
}
_LICENCES: Final = ("*licen[cs]e*", "*copying*", "*notice*")


def kept(package: str, contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files of a wheel that go to the device.

    Args:
        package: Its normalized name.
        contents: Bytes of every file by its path in ``site-packages``.
    """
    patterns = (*EVERY, *PACKAGE.get(package, {}))
    staying = {
        path: content
        for path, content in contents.items()
        if _is_licence(path) or not any(fnmatchcase(path, pattern) for pattern in patterns)
    }
    bundled = {path for path in staying if path.partition("/")[0].endswith(".libs")}
    idle = bundled - _asked_for(staying, bundled)
    return {path: content for path, content in staying.items() if path not in idle}


def _is_licence(path: str) -> bool:
    return any(fnmatchcase(path.lower(), pattern) for pattern in _LICENCES)


def _asked_for(contents: Mapping[str, bytes], bundled: set[str]) -> set[str]:
    """Return the bundled libraries that something else needs, and those that these need."""
    by_name = {path.rpartition("/")[2]: path for path in bundled}
    needed_paths: set[str] = set()
    waiting = [path for path in contents if path not in bundled]
    while waiting:
        asked = {by_name[name] for name in needed(contents[waiting.pop()]) if name in by_name}
        waiting += asked - needed_paths
        needed_paths |= asked
    return needed_paths


MAGIC: Final = b"\x7fELF\x02\x01"  # 64-bit, little-endian
LOAD: Final = 1
DYNAMIC: Final = 2
NEEDED: Final = 1
STRING_TABLE: Final = 5


def needed(content: bytes) -> tuple[str, ...]:
    """Return the names of DT_NEEDED, in their order.

    None for anything but a dynamic 64-bit ELF file.
    """
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
    """Return the type, offset, address and size in the file of every program header."""
    (table,) = struct.unpack_from("<Q", content, 32)
    entry_size, count = struct.unpack_from("<HH", content, 54)
    for number in range(count):
        at = table + number * entry_size
        kind, _, offset, address, _, size = struct.unpack_from("<IIQQQQ", content, at)
        yield kind, offset, address, size
