"""Whether a model computes with integers inside, which widens what right answers differ by."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

# Names of operators, which an .onnx file spells out (onnx/docs/Operators.md, ONNX Runtime's
# ContribOperators.md): QuantizeLinear, DynamicQuantizeLinear, QLinearConv, ConvInteger...
_ONNX: Final = (b"QuantizeLinear", b"QLinear", b"ConvInteger", b"MatMulInteger", b"MatMulNBits")
# TensorType of tflite/schema/schema.fbs: UINT8, INT16, INT8, INT4.
_TFLITE: Final = (3, 7, 9, 17)
_SUBGRAPHS, _TENSORS, _TYPE, _QUANTIZATION, _SCALE = 2, 0, 1, 4, 2  # fields of its tables


def integers_inside(model: Path) -> bool:
    """Whether weights or activations are quantized; False for a file that is not understood."""
    content = model.read_bytes()
    if model.suffix.lower() == ".onnx":
        return any(name in content for name in _ONNX)
    if model.suffix.lower() == ".tflite":
        try:
            return any(_quantized(tensor) for tensor in _tensors(content))
        except (struct.error, IndexError, TypeError, ValueError):  # the engine will refuse it
            return False
    return False


def _tensors(content: bytes) -> Iterator[Any]:
    from flatbuffers import encode, packer
    from flatbuffers.table import Table

    root = Table(content, encode.Get(packer.uoffset, content, 0))
    for graph in _items(root, _SUBGRAPHS):
        yield from _items(graph, _TENSORS)


def _items(table: Any, field: int) -> Iterator[Any]:
    """The tables of a vector."""
    offset = _offset(table, field)
    if offset:
        start = table.Vector(offset)
        for number in range(table.VectorLen(offset)):
            yield type(table)(table.Bytes, table.Indirect(start + 4 * number))


def _quantized(tensor: Any) -> bool:
    from flatbuffers import number_types

    kind = _offset(tensor, _TYPE)
    if not kind or tensor.Get(number_types.Int8Flags, tensor.Pos + kind) not in _TFLITE:
        return False
    offset = _offset(tensor, _QUANTIZATION)
    if not offset:
        return False
    details = type(tensor)(tensor.Bytes, tensor.Indirect(tensor.Pos + offset))
    scales = _offset(details, _SCALE)
    return bool(scales) and details.VectorLen(scales) > 0


def _offset(table: Any, field: int) -> int:
    """Where a field stands within its table; 0 where it does not."""
    return int(table.Offset(4 + 2 * field))
