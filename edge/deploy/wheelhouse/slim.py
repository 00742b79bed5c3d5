"""What of a wheel a device needs: the rest is left out, by rules that keep imports working.

A rule drops what the interpreter, numpy and the five image formats of ``edge.runtime.image`` never
import. Libraries that a wheel brings along (``numpy.libs``, ``pillow.libs``) stay when something
that stays asks for them, which their ELF headers tell. Licences always stay.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final

from edge.deploy.wheelhouse.elf import needed

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
    """The files of a wheel that go to the device.

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
    """Bundled libraries that something else needs, and those that these need."""
    by_name = {path.rpartition("/")[2]: path for path in bundled}
    found: set[str] = set()
    waiting = [path for path in contents if path not in bundled]
    while waiting:
        asked = {by_name[name] for name in needed(contents[waiting.pop()]) if name in by_name}
        waiting += asked - found
        found |= asked
    return found
