"""Why an interpreter refuses a model file, and the way out: the one place for host and device.

Interpreters say it each in words of their own, and not at all for a type that a kernel does not
take; then the file itself is asked. Standard library only: the device runs this too.
"""

import mmap
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge.errors import ModelLoadError

LONGEST: Final = 300  # characters of an interpreter's own words
FLOAT16: Final = "float16"
DOUBLE: Final = "float64 (double)"
ONNX_TYPES: Final = {10: FLOAT16, 11: DOUBLE, 16: "bfloat16"}  # onnx.proto, DataType
TFLITE_DOUBLE: Final = 10  # schema.fbs, TensorType


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """What stands in the way of a model file.

    Attributes:
        says: The rest of a sentence that begins with the file, such as ``holds ...``.
        hint: The way out, one or two sentences.
    """

    says: str
    hint: str


def custom_operator(name: str) -> Cause:
    """Look for an operator that the format does not define."""
    return Cause(
        says=f"holds the custom operator {name}, which only the program that the file was made "
        "for can compute",
        hint="Export the model without that operator, for example cut off in front of it, or run "
        "it with that program.",
    )


def flex_operator(name: str) -> Cause:
    """Look for an operator of TensorFlow within a TFLite file."""
    return Cause(
        says=f"holds {name}, an operator of TensorFlow itself (Select TF ops), which needs the "
        "Flex delegate, and no interpreter of edge has that",
        hint="Replace the operator in the model, and convert it with TFLite's own operators "
        "alone: supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS].",
    )


def missing_kernel(operator: str, dtype: str) -> Cause:
    """Look for a type that the interpreter has no kernel for."""
    return Cause(
        says=f"computes in {dtype}, for which the interpreter lacks {operator}",
        hint="Export the model in float32: in PyTorch, model.float() before torch.onnx.export; in "
        "Keras and TensorFlow, build it with dtype float32.",
    )


def lost_data(name: str) -> Cause:
    """Look for weights in a file that is not there."""
    return Cause(
        says=f"has its weights in another file, {name}, which does not lie beside it",
        hint=f"Copy {name} into the folder of the model, or write the model with its weights "
        "inside: onnx.save(onnx.load(FILE), NEW).",
    )


def newer(what: str, limit: str, format_: str) -> Cause:
    """Look for a newer version of the file's format than the interpreter knows."""
    way = {
        "onnx": "install a newer onnxruntime, or export the model with an older opset, such as "
        "torch.onnx.export(..., opset_version=17)",
        "tflite": "install a newer ai-edge-litert, or convert the model with an older TensorFlow",
    }[format_]
    return Cause(
        says=f"is newer than the interpreter: it has {what}{limit}", hint=f"{_upper(way)}."
    )


def refusal(
    path: Path, engine: str, error: BaseException, *, otherwise: str = ""
) -> ModelLoadError:
    """Return the error for a file that an interpreter does not load.

    Args:
        path: The model file.
        engine: Interpreter and version.
        error: What it raised.
        otherwise: The way out where the cause is none that is known here.
    """
    cause = known_cause(path, error)
    if cause is not None:
        return ModelLoadError(f"{path} does not load in {engine}: it {cause.says}", hint=cause.hint)
    return ModelLoadError(
        f"{path} does not load in {engine}: {stated(error)}",
        hint=otherwise or f"edge inspect {path.name} says what the file holds; export it again.",
    )


def known_cause(path: Path, error: BaseException) -> Cause | None:
    """Return what the interpreter's words and the file say together.

    It is None where that is nothing known.
    """
    text = _text(error)
    for pattern, explain in CAUSES:
        match = pattern.search(text)
        cause = explain(match, path) if match else None
        if cause is not None:
            return cause
    return None


def stated(error: BaseException) -> str:
    """Return the interpreter's own words, without places in its source: one line, printable."""
    text = _text(error)
    for noise in NOISE:
        text = noise.sub("", text)
    # TFLite runs its two sentences into one another.
    text = re.sub(r"(?<=\S)(?=Node number|Restored original)", "; ", text).strip()
    line = text.splitlines()[0] if text else type(error).__name__
    return "".join(item if item.isprintable() else "\ufffd" for item in line)[:LONGEST]


def _text(error: BaseException) -> str:
    """Return all that an error says.

    Bytes that are no UTF-8 are those of a name within the file.
    """
    if isinstance(error, UnicodeDecodeError):
        return error.object.decode("utf-8", "replace")
    return str(error).strip() or type(error).__name__


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _name(text: str) -> str:
    """Return a name of a foreign file, fit for a screen and no longer than a name is."""
    shown = "".join(item if item.isprintable() else "\ufffd" for item in text.strip())
    return shown if len(shown) <= 80 else f"{shown[:79]}…"


Explain = Callable[[re.Match[str], Path], Cause | None]


def _custom(found: re.Match[str], _: Path) -> Cause:
    name = _name(found["op"])
    return flex_operator(name) if name.startswith("Flex") else custom_operator(name)


def _unregistered(found: re.Match[str], _: Path) -> Cause:
    """Look for an operator that the standard set of its version lacks."""
    return Cause(
        says=f"holds the operator {_name(found['op'])}, which the standard operators of opset "
        f"{found['opset']} do not have",
        hint="Export the model again with a newer opset, if that has the operator, or without it.",
    )


def _kernel(found: re.Match[str], path: Path) -> Cause:
    dtype = element_type(path)
    if dtype:
        return missing_kernel(_name(found["op"]), dtype)
    return Cause(
        says=f"needs {_name(found['op'])} for a data type that the interpreter has no kernel for",
        hint="Export the model in float32, or with another opset.",
    )


def _unprepared(found: re.Match[str], path: Path) -> Cause | None:
    dtype = element_type(path)
    return missing_kernel(_name(found["op"]), dtype) if dtype else None


def _external(found: re.Match[str], path: Path) -> Cause:
    name = Path(found["file"]).name
    if "\0" not in name and (path.parent / name).is_file():
        return CUT_OFF
    return lost_data(_name(name))


DAMAGED: Final = "Copy or export it again, and compare its size and sha256 with the original's."
CUT_OFF: Final = Cause(says="has weights in another file, which is cut off", hint=DAMAGED)
OUTSIDE: Final = Cause(
    says="names a file outside of its own folder for its weights",
    hint="Write the model with its weights inside: onnx.save(onnx.load(FILE), NEW).",
)
CAUSES: Final[tuple[tuple[re.Pattern[str], Explain], ...]] = tuple(
    (re.compile(pattern, re.S), explain)
    for pattern, explain in (
        # TFLite
        (r"Select TensorFlow op.*Node number \d+ \((?P<op>.+?)\) failed", _custom),
        (r"Select TensorFlow op(?P<op>)", lambda *_: flex_operator("operators")),
        (r"unresolved custom op: (?P<op>.+?)\.?(?:\n|See instr|$)", _custom),
        (
            r"Didn't find op for builtin opcode '(?P<op>\w+)' version '(?P<version>\d+)'",
            lambda found, _: newer(f"version {found['version']} of {found['op']}", "", "tflite"),
        ),
        (
            r"builtin_code out of range: (?P<code>\d+)",
            lambda found, _: newer(f"an operator of number {found['code']}", "", "tflite"),
        ),
        (
            r"schema version (?P<version>\d+) not equal to supported version (?P<known>\d+)",
            lambda found, _: newer(
                f"schema version {found['version']}",
                f", of which {found['known']} is known",
                "tflite",
            ),
        ),
        (r"Node number \d+ \((?P<op>\w+)\) failed to prepare", _unprepared),
        # ONNX Runtime
        (
            r"(?P<op>com\.microsoft\S*?:\w+)\(-?\d+\) is not a registered",
            lambda found, _: newer(f"{found['op']}, which this release lacks", "", "onnx"),
        ),
        (r"Fatal error: (?P<op>.+?)\(-?\d+\) is not a registered function/op", _custom),
        (r'In Node, \("[^"]*", (?P<op>\w+), "(?P<domain>[^"]+)".*No opset import', _custom),
        (r"No Op registered for (?P<op>\S+) with domain_version of (?P<opset>\d+)", _unregistered),
        (
            r"Opset (?P<opset>\d+) is under development.*?till opset (?P<known>\d+)",
            lambda found, _: newer(
                f"opset {found['opset']}", f", and {found['known']} is the last known", "onnx"
            ),
        ),
        (
            r"Unsupported model IR version: (?P<ir>\d+), max supported IR version: (?P<known>\d+)",
            lambda found, _: newer(
                f"IR version {found['ir']}", f", and {found['known']} is the last known", "onnx"
            ),
        ),
        (r'External data path does not exist: "?(?P<file>[^"\n]+)', _external),
        (r"[Ee]xternal data.*?(?P<file>[^/\"\s]+)\"? (?:failed|fail).*?[Nn]o such file", _external),
        (r"External data path escapes|Absolute path not allowed", lambda *_: OUTSIDE),
        (
            r"External initializer.*out of bounds or can not be read in full",
            lambda *_: CUT_OFF,
        ),
        (r"Could not find an implementation for (?P<op>\w+)\(\d+\)", _kernel),
        # OpenVINO
        (r"externally stored data in file \((?P<file>[^,)]+)", _external),
        (r"does not support the following ONNX operations: (?P<op>[\w.:-]+)", _custom),
        (r"No (?:conversion rule|translator) found for (?:operations: )?(?P<op>[\w.:-]+)", _custom),
        # Keras
        (
            r"Could not locate (?:class|function) '(?P<op>\w+)'",
            lambda found, _: Cause(
                says=f"holds {found['op']}, a layer or function that is none of Keras's own",
                hint="Convert the model where that is defined, and take the .tflite or .onnx file.",
            ),
        ),
        # Bytes that are none
        (
            r"Protobuf parsing failed|INVALID_PROTOBUF",
            lambda *_: Cause(says="is cut off, or is no ONNX file", hint=DAMAGED),
        ),
        (
            r"not a valid Flatbuffer|has model identifier",
            lambda *_: Cause(says="is cut off, or is no TFLite file", hint=DAMAGED),
        ),
    )
)
NOISE: Final = tuple(
    re.compile(pattern)
    for pattern in (
        r"^\[ONNXRuntimeError\] : \d+ : \w+ : ",
        r"Load model from .+? failed:",
        r"(?m)^/\S+\.(?:cc|h):\d+ .+?\) (?=[A-Z])",
        r"^.*? was false\. ",
    )
)


def element_type(path: Path) -> str:
    """Return the type in which a model computes that few kernels take.

    It is empty for float32 and integers.

    Args:
        path: A .onnx or .tflite file, perhaps damaged.
    """
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as m:
            if m[4:8] == b"TFL3":
                return DOUBLE if TFLITE_DOUBLE in set(_tflite_types(m)) else ""
            types = set(_onnx_types(m))
    except (OSError, ValueError, IndexError, struct.error):
        return ""
    return next((name for code, name in reversed(ONNX_TYPES.items()) if code in types), "")


def _tflite_types(content: Any) -> Iterator[int]:
    """Return the types of all tensors.

    They stand in Model.subgraphs (field 2), SubGraph.tensors (0), Tensor.type (1).
    """

    def integer(place: int, form: str = "<I") -> int:
        return int(struct.unpack_from(form, content, place)[0])

    def field(table: int, number: int) -> int:
        """Return where a table's field stands; 0 where it is left out."""
        names = table - integer(table, "<i")
        at = 4 + 2 * number
        return (
            table + integer(names + at, "<H")
            if at < integer(names, "<H") and integer(names + at, "<H")
            else 0
        )

    def tables(table: int, number: int) -> Iterator[int]:
        if not (place := field(table, number)):
            return
        start = place + integer(place)
        for index in range(min(integer(start), len(content) // 4)):
            item = start + 4 + 4 * index
            yield item + integer(item)

    for graph in tables(integer(0), 2):
        for tensor in tables(graph, 0):
            place = field(tensor, 1)
            yield content[place] if place else 0


def _onnx_types(content: Any) -> Iterator[int]:
    """Return the types of the graph's constants and inputs.

    They stand in ModelProto.graph (field 7) and below it.
    """
    for number, start, end in fields(content, 0, len(content)):
        if number != 7:
            continue
        for part, begin, stop in fields(content, start, end):
            if part == 5:  # GraphProto.initializer: TensorProto.data_type is field 2
                yield from (at for n, at, to in fields(content, begin, stop) if n == 2 and to < 0)
            elif part in (11, 13):  # input, value_info: type (2), tensor_type (1), elem_type (1)
                yield from _onnx_numbers(content, begin, stop, (2, 1, 1))
            elif part == 1:  # NodeProto.attribute (5): t (5) with its data_type (2), or Cast's to
                yield from _onnx_numbers(content, begin, stop, (5, 5, 2))
                types = [content[at:to] for n, at, to in fields(content, begin, stop) if n == 4]
                if types == [b"Cast"]:
                    yield from _onnx_numbers(content, begin, stop, (5, 3))


def _onnx_numbers(content: Any, start: int, end: int, place: tuple[int, ...]) -> Iterator[int]:
    """Return the integers that stand below these fields, one within the other."""
    for number, begin, stop in fields(content, start, end):
        if number == place[0]:
            if len(place) > 1 and stop >= 0:
                yield from _onnx_numbers(content, begin, stop, place[1:])
            elif len(place) == 1 and stop < 0:
                yield begin


def fields(content: Any, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Return the fields of a protobuf message.

    A field is (number, begin, end), or (number, value, -1) of a varint.

    Groups, which ONNX never had, are left out, as its readers do.

    Raises:
        ValueError, IndexError: It is no protobuf.
    """
    groups = 0  # that are open
    while start < end:
        key, start = _varint(content, start)
        kind = key & 7
        if kind == 0:
            value, start = _varint(content, start)
            if not groups:
                yield key >> 3, value, -1
        elif kind == 2:
            length, start = _varint(content, start)
            if not groups:
                yield key >> 3, start, min(start + length, end)
            start += length
        elif kind in (1, 5):
            start += 8 if kind == 1 else 4
        elif kind in (3, 4):
            groups += 1 if kind == 3 else -1
        else:
            raise ValueError(f"wire type {kind}")


def _varint(content: Any, start: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[start]
        value |= (byte & 0x7F) << shift
        start, shift = start + 1, shift + 7
        if byte < 0x80:
            return value, start
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
