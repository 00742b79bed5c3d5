"""TFLite files: the one module that opens, reads, unpacks and packs them.

The Python accessors that are generated from TFLite's schema follow whatever offset stands in the
file and check nothing. So every table, vector and string is paid for, in bytes, from a budget that
follows from the size of the file: a sound file cannot hold more of them than fit into it, and a
vector of four billion tables ends at once instead of after hours.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from math import isfinite, prod
from typing import Any, Final

import flatbuffers
import numpy as np

from edge.errors import ConversionError, PackageMissing
from edge.modelfile.corruption import READ_ERRORS, damage
from edge.modelfile.graph import Constant, Node, Value
from edge.runtime.spec import QuantizationParams, TensorSpec

IDENTIFIER: Final = b"TFL3"  # bytes 4 to 7 of every file
_TABLE_BYTES: Final = 8  # the least that a table takes: its offset, and its offset to the vtable
_SHARING: Final = 4  # writers may store equal tables, vectors and strings once
_MOST_ELEMENTS_PER_BYTE: Final = 8  # 4 with INT2; sparse tensors store less and are not checked
_LONGEST_TEXT_BYTES: Final = 65536
_BUFFER_ALIGNMENT: Final = 16  # bytes; force_align of Buffer.data in schema.fbs
_NUMPY_DTYPES: Final = frozenset(
    {"float32", "float16", "float64", "int8", "uint8", "int16", "int32", "int64"}
)


def load_schema() -> Any:
    """Return the module of accessors and classes that is generated from TFLite's schema.

    Raises:
        PackageMissing: Neither ai-edge-litert nor TensorFlow is installed.
    """
    try:
        from ai_edge_litert import schema_py_generated as schema  # it costs less to import
    except ImportError:
        try:
            from tensorflow.lite.python import schema_py_generated as schema
        except ImportError as error:
            raise PackageMissing(
                "TFLite files cannot be read: neither ai-edge-litert nor tensorflow is installed",
                hint="Install one: pip install ai-edge-litert",
            ) from error
    return schema


def starts_as_tflite(head: bytes) -> bool:
    """Whether a file that starts with these bytes states to be TFLite."""
    return head[4:8] == IDENTIFIER


class ReadBudget:
    """Reads of a flatbuffer that are paid for from one budget.

    Args:
        size_bytes: The size of the file.
    """

    def __init__(self, size_bytes: int) -> None:
        self._left = _SHARING * size_bytes

    def spend(self, size_bytes: int) -> None:
        """Pay for that many bytes.

        Raises:
            ValueError: More was read than a sound file of this size holds.
        """
        self._left -= size_bytes
        if self._left < 0:
            raise ValueError("more tables, vectors and strings than fit into the file")

    def tables(self, length: int, get: Callable[[int], Any]) -> list[Any]:
        """Return all tables of a vector, by its ``Length()`` and its accessor."""
        self.spend(length * _TABLE_BYTES)
        return [get(index) for index in range(length)]

    def integers(self, view: Any) -> tuple[int, ...]:
        """Return a vector of integers, from an ``AsNumpy()`` accessor, which gives 0 for none."""
        if isinstance(view, int):
            return ()
        self.spend(view.nbytes)
        return tuple(view.tolist())

    def reals(self, view: Any) -> tuple[float, ...]:
        """Return a vector of floats, from an ``AsNumpy()`` accessor, which gives 0 for none."""
        return tuple(float(item) for item in self.integers(view))

    def text(self, raw: bytes | None) -> str:
        """Return a string; it is empty where the file has none."""
        if raw is None:
            return ""
        self.spend(len(raw))
        return raw.decode("utf-8", errors="replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class TfliteGraph:
    """All subgraphs of a file; the first one is the model, the others are bodies.

    Attributes:
        nodes: The operators of every subgraph, in the order of execution.
        inputs: The inputs of the model.
        outputs: The outputs of the model.
        input_values: The tensors behind ``inputs``, open extents as 1.
        output_values: The tensors behind ``outputs``, open extents as 1.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    input_values: tuple[Value, ...]
    output_values: tuple[Value, ...]


class TfliteFile:
    """A TFLite file that may be corrupt; every error of an accessor is left to the caller.

    Callers guard the reads, and the opening too, by ``corruption``.

    Args:
        content: The whole file.

    Raises:
        ValueError: The file does not start as a TFLite file does.
    """

    def __init__(self, content: bytes) -> None:
        if not starts_as_tflite(content):
            raise ValueError(f"bytes 4 to 7 are {content[4:8]!r}, not {IDENTIFIER!r}")
        self._schema = load_schema()
        self._content = content
        self._budget = ReadBudget(len(content))
        self._model = self._schema.Model.GetRootAs(content, 0)
        self._types = _names_by_code(self._schema.TensorType)

    def graph(self) -> TfliteGraph:
        """Read the graph.

        Raises:
            ValueError: An index or code in the file has no meaning, or there is no subgraph.
        """
        operators = self._operator_names()
        stored = self._stored_bytes()
        nodes: list[Node] = []
        tensors: list[list[Any]] = []
        values: list[list[Value]] = []
        for number, subgraph in enumerate(self._subgraphs()):
            tables = self._tables(subgraph, "Tensors")
            tensors.append(tables)
            values.append([self._value(f"{number}:{i}", t, stored) for i, t in enumerate(tables)])
            for operator in self._tables(subgraph, "Operators"):
                nodes.append(self._node(operator, operators, values[-1]))
        main = self._model.Subgraphs(0)
        inputs = _checked(self._budget.integers(main.InputsAsNumpy()), len(tensors[0]))
        outputs = _checked(self._budget.integers(main.OutputsAsNumpy()), len(tensors[0]))
        return TfliteGraph(
            nodes=tuple(nodes),
            inputs=tuple(self._spec(tensors[0][index]) for index in inputs),
            outputs=tuple(self._spec(tensors[0][index]) for index in outputs),
            input_values=tuple(values[0][index] for index in inputs),
            output_values=tuple(values[0][index] for index in outputs),
        )

    def constants(self) -> Iterator[Constant]:
        """Read the constants of the model; a name is the index of the tensor and its own name."""
        for index, tensor in enumerate(self._tables(self._subgraphs()[0], "Tensors")):
            data = self._model.Buffers(tensor.Buffer()).DataAsNumpy()
            if isinstance(data, int):  # the accessor gives 0 where there are no data
                continue
            dtype = self._dtype(tensor)
            opaque = dtype not in _NUMPY_DTYPES
            values = data if opaque else data.view(dtype)
            yield Constant(
                name=f"{index} {self._budget.text(tensor.Name())}",
                dtype=dtype,
                elements=values.size,
                read=partial(np.asarray, values),
                opaque=opaque,
            )

    def statements(self) -> dict[str, str | list[str]]:
        """Read what the file says about itself: version, description, signatures, metadata."""
        model, budget = self._model, self._budget
        result: dict[str, str | list[str]] = {"schema_version": str(model.Version())}
        description = budget.text(model.Description())
        if description:
            result["description"] = description
        signatures = self._tables(model, "SignatureDefs")
        if signatures:
            result["signatures"] = [budget.text(table.SignatureKey()) for table in signatures]
        for entry in self._tables(model, "Metadata"):
            data = self._metadata_view(entry)
            raw = data[: _LONGEST_TEXT_BYTES + 1].tobytes()
            budget.spend(len(raw))
            result[budget.text(entry.Name())] = _text_or_size(raw, data.nbytes)
        return result

    def metadata(self, name: str) -> bytes | None:
        """Read the metadata buffer of that name; None where the file has none."""
        for entry in self._tables(self._model, "Metadata"):
            if self._budget.text(entry.Name()) == name:
                return bytes(self._metadata_view(entry))
        return None

    def _metadata_view(self, entry: Any) -> Any:
        """The bytes of a metadata entry, as a numpy view."""
        if entry.Buffer() >= self._model.BuffersLength():
            raise ValueError(f"metadata buffer {entry.Buffer()} of {self._model.BuffersLength()}")
        data = self._model.Buffers(entry.Buffer()).DataAsNumpy()
        return np.empty(0, np.uint8) if isinstance(data, int) else data

    def _tables(self, table: Any, vector: str) -> list[Any]:
        """All tables of a vector of a table, such as ``Operators``."""
        length = getattr(table, f"{vector}Length")()
        return self._budget.tables(length, getattr(table, vector))

    def _subgraphs(self) -> list[Any]:
        subgraphs = self._tables(self._model, "Subgraphs")
        if not subgraphs:
            raise ValueError("no subgraph")
        return subgraphs

    def _operator_names(self) -> list[tuple[str, bool]]:
        """(name, whether it is custom) by operator code."""
        names = _names_by_code(self._schema.BuiltinOperator)
        result = []
        for code in self._tables(self._model, "OperatorCodes"):
            # Codes above 127 stand in the newer field only (schema.fbs, OperatorCode).
            number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
            if number == self._schema.BuiltinOperator.CUSTOM:
                result.append((self._budget.text(code.CustomCode()) or "CUSTOM", True))
            else:
                result.append((names.get(number, f"BUILTIN_{number}"), number not in names))
        return result

    def _stored_bytes(self) -> list[int]:
        """How many bytes each buffer stores, inside the flatbuffer or behind it (above 2 GiB)."""
        sizes = []
        for buffer in self._tables(self._model, "Buffers"):
            outside = int(buffer.Size()) if hasattr(buffer, "Size") else 0
            if outside and buffer.Offset() + outside > len(self._content):
                raise ValueError("a buffer ends behind the end of the file")
            inside = buffer.DataAsNumpy()  # a view; numpy refuses one behind the end of the file
            sizes.append(outside or (0 if isinstance(inside, int) else int(inside.nbytes)))
        return sizes

    def _dtype(self, tensor: Any) -> str:
        name = self._types.get(tensor.Type())
        if name is None:
            raise ValueError(f"tensor type {tensor.Type()} has no meaning")
        return "object" if name == "STRING" else name.lower()

    def _value(self, key: str, tensor: Any, stored_bytes: Sequence[int]) -> Value:
        shape = tuple(
            1 if extent < 0 else extent for extent in self._budget.integers(tensor.ShapeAsNumpy())
        )
        buffer = tensor.Buffer()
        stored = stored_bytes[buffer] if buffer else 0
        sparse = tensor.Sparsity() is not None
        if stored and not sparse and prod(shape) > _MOST_ELEMENTS_PER_BYTE * stored:
            raise ValueError(f"a constant of shape {list(shape)} in {stored} bytes")
        quantization = tensor.Quantization()
        dtype = self._dtype(tensor)
        return Value(
            key=key,
            shape=shape,
            dtype=dtype,
            stored=str(buffer) if stored else None,
            quantized=dtype.startswith(("int", "uint"))
            and quantization is not None
            and quantization.ScaleLength() > 0,
        )

    def _node(
        self, operator: Any, operators: Sequence[tuple[str, bool]], values: Sequence[Value]
    ) -> Node:
        inputs = self._budget.integers(operator.InputsAsNumpy())
        outputs = self._budget.integers(operator.OutputsAsNumpy())
        name, custom = operators[operator.OpcodeIndex()]
        _checked([index for index in inputs if index != -1], len(values))
        return Node(
            operator=name,
            inputs=tuple(None if index == -1 else values[index] for index in inputs),
            outputs=tuple(values[index] for index in _checked(outputs, len(values))),
            attributes=self._attributes(name, operator),
            custom=custom,
        )

    def _attributes(self, name: str, operator: Any) -> dict[str, int]:
        table = operator.BuiltinOptions()
        if name != "BATCH_MATMUL" or table is None:
            return {}
        options = self._schema.BatchMatMulOptions()
        options.Init(table.Bytes, table.Pos)
        return {"adj_x": int(options.AdjX())}

    def _spec(self, tensor: Any) -> TensorSpec:
        """An input or output, with the open extents of its signature as -1."""
        shape = self._budget.integers(tensor.ShapeAsNumpy())
        signature = self._budget.integers(tensor.ShapeSignatureAsNumpy())
        return TensorSpec(
            name=self._budget.text(tensor.Name()),
            shape=signature if len(signature) == len(shape) else shape,
            dtype=self._dtype(tensor),
            quantization=self._quantization(tensor.Quantization()),
        )

    def _quantization(self, table: Any) -> QuantizationParams | None:
        if table is None or table.ScaleLength() == 0:
            return None
        scales = self._budget.reals(table.ScaleAsNumpy())
        if not all(isfinite(scale) for scale in scales):
            raise ValueError("a quantization scale is not finite")
        zero_points = self._budget.integers(table.ZeroPointAsNumpy())
        if len(zero_points) not in (0, len(scales)):
            raise ValueError(f"{len(scales)} scales but {len(zero_points)} zero points")
        return QuantizationParams(
            scales=scales,
            zero_points=zero_points or (0,) * len(scales),
            quantized_dimension=table.QuantizedDimension(),
        )


def unpacked(content: bytes) -> Any:
    """Return a file as ``ModelT``, to be changed; constants are numpy views, not copies.

    Raises:
        ConversionError: The file is not TFLite, cannot be read, or is one over 2 GB, which keeps
            constants behind the flatbuffer at absolute offsets that packing would break.
    """
    if not starts_as_tflite(content):
        raise ConversionError(f"not a TFLite model: identifier {content[4:8]!r} is not b'TFL3'")
    try:
        model = load_schema().ModelT.InitFromPackedBuf(content)
    except READ_ERRORS as error:
        raise ConversionError(f"the TFLite model cannot be read: {damage(error)}") from error
    # schema.fbs: offset 0 is unset and 1 a place holder; the other field is of custom operators.
    outside = any(buffer.offset > 1 for buffer in model.buffers or ()) or any(
        operator.largeCustomOptionsOffset > 1
        for subgraph in model.subgraphs or ()
        for operator in subgraph.operators or ()
    )
    if outside:
        raise ConversionError("the TFLite model keeps data outside its flatbuffer (over 2 GB)")
    return model


def packed(model: Any) -> bytes:
    """Return the bytes of a file from its ``ModelT``.

    Each constant starts at a multiple of 16 bytes, as the schema demands (``force_align``). The
    generated ``Pack`` drops that, and ``ai_edge_litert.tools.flatbuffer_utils`` with it.
    """
    data = sum(len(buffer.data) for buffer in model.buffers or () if buffer.data is not None)
    builder = _AlignedBuilder(data + 65536)  # room at once, instead of doubling and copying
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def cut(content: bytes, indices: Sequence[int]) -> bytes:
    """Return a file that is cut at these tensors of its main graph.

    What made each of them writes a tensor of its own instead, and those are the outputs; what reads
    it reads an input, behind the inputs that there were. So each part runs on what it is given.
    """
    model = unpacked(content)
    graph = model.subgraphs[0]
    made = {}
    for index in indices:
        made[index] = len(graph.tensors)
        tensor = copy(graph.tensors[index])
        tensor.name = bytes(tensor.name or b"") + b"#made"
        graph.tensors.append(tensor)
    for operator in graph.operators:
        operator.outputs = [made.get(int(index), int(index)) for index in operator.outputs]
    graph.inputs = [*map(int, graph.inputs), *indices]
    graph.outputs = list(made.values())
    model.signatureDefs = None
    return packed(model)


class _AlignedBuilder(flatbuffers.Builder):  # type: ignore[misc]  # flatbuffers has no types
    """A builder that aligns the vectors of bytes, which hold the constants."""

    def CreateNumpyVector(self, x: Any) -> Any:  # noqa: N802  # the name that Pack calls
        if x.dtype == np.uint8:
            self.Prep(_BUFFER_ALIGNMENT, x.size)
        return super().CreateNumpyVector(x)


def _text_or_size(raw: bytes, size_bytes: int) -> str:
    """UTF-8 text as it is (padding zeros cut off); anything else as its size."""
    try:
        text = raw.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        text = "\0"
    readable = all(character.isprintable() or character.isspace() for character in text)
    return text if readable and size_bytes <= _LONGEST_TEXT_BYTES else f"{size_bytes} bytes"


def _names_by_code(enumeration: Any) -> dict[int, str]:
    return {code: name for name, code in vars(enumeration).items() if isinstance(code, int)}


def _checked(indices: Sequence[int], length: int) -> Sequence[int]:
    for index in indices:
        if not 0 <= index < length:
            raise ValueError(f"tensor index {index} of {length}")
    return indices
