"""Inspect a model file of any format that the pipeline writes."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from edge.errors import ModelLoadError, UsageError
from edge.inspection.flatbuffer import IDENTIFIER
from edge.inspection.onnx_graph import inspect_onnx
from edge.inspection.report import ModelReport
from edge.inspection.tflite import inspect_tflite
from edge.runtime.session import check_size
from edge.runtime.supervisor import NativeCall

_HEAD_BYTES: Final = 512
# A ModelProto starts with its lowest field: ir_version (field 1, a varint), which every writer
# sets; an ONNX file has no other identifier.
_ONNX_FIRST_BYTE: Final = b"\x08"
_OTHER_FORMATS: Final = (
    (b"PK\x03\x04", "a zip archive (.keras, .pt and .mlpackage files are such)"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras weights)"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"GGUF", "a GGUF model"),
    (b"\x7fELF", "an executable"),
    (b"version https://git-lfs", "a Git LFS pointer; the model itself was not fetched"),
)


def inspect_model(path: Path, shapes: Mapping[str, tuple[int, ...]] | None = None) -> ModelReport:
    """Read what a model file holds; the format is told by the content, not by the name.

    Args:
        path: The file.
        shapes: Of inputs that it leaves open, by name, to count mult-adds; see
            ``benchmarks.input_shape``.

    Raises:
        UsageError: There is no such file, it cannot be read, or a shape does not fit.
        ModelLoadError: Neither TFLite nor ONNX, or truncated or corrupt.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise UsageError(f"{path}: {found}; a .tflite or .onnx file is needed")
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
        inspect = inspect_tflite if head[4:8] == IDENTIFIER else None
        inspect = inspect_onnx if head.startswith(_ONNX_FIRST_BYTE) else inspect
        if inspect is not None:
            check_size(path)
            with NativeCall(path, opens=True):
                return _named(inspect(path, shapes))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    raise ModelLoadError(
        f"{path} is {_describe(head)}; allowed are TFLite (bytes 4 to 7 are 'TFL3') and ONNX",
        hint="Convert the model first, or name the .tflite or .onnx file itself.",
    )


def _named(report: ModelReport) -> ModelReport:
    """The report, with a note where the file's name promises more than it holds."""
    note = report.float_note(Path(report.path).stem)
    return replace(report, notes=(note, *report.notes)) if note else report


def _describe(head: bytes) -> str:
    if not head:
        return "empty"
    for magic, name in _OTHER_FORMATS:
        if head.startswith(magic):
            return name
    if head.isascii() and b"\0" not in head:
        return "text"
    return f"no known format (it starts with {head[:8].hex(' ')})"
