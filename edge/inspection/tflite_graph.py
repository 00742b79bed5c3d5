"""From the tables of a TFLite flatbuffer to the graph that the counts understand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite, prod
from pathlib import Path
from typing import Any

from edge.errors import EngineUnavailable
from edge.inspection.flatbuffer import Reads
from edge.inspection.graph import Node, Value
from edge.runtime.refusal import refusal
from edge.runtime.spec import QuantizationParams, TensorSpec

_MOST_ELEMENTS_PER_BYTE = 8  # 4 with INT2; sparse tensors store less and are not checked


@dataclass(frozen=True, slots=True, kw_only=True)
class TfliteGraph:
    """All subgraphs of a file; the first one is the model, the others are bodies.

    Attributes:
        nodes: Operators of every subgraph, in execution order.
        inputs: Of the first subgraph.
        outputs: Of the first subgraph.
        input_values: Of the first subgraph, open extents as 1.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    input_values: tuple[Value, ...]


class TfliteGraphReader:
    """Reads subgraphs; every accessor error is left to the caller.

    Args:
        schema: The generated accessors.
        model: Root table.
        reads: Budget.
        size_bytes: Of the file.
    """

    def __init__(self, schema: Any, model: Any, reads: Reads, size_bytes: int) -> None:
        self._schema = schema
        self._model = model
        self._reads = reads
        self._size_bytes = size_bytes
        self._types = _names_by_code(schema.TensorType)
        self._operators = self._operator_names()
        buffers = reads.tables(model.BuffersLength(), model.Buffers)
        self._stored_bytes = [self._buffer_bytes(buffer) for buffer in buffers]

    def read(self) -> TfliteGraph:
        """The graph.

        Raises:
            ValueError: An index or code in the file has no meaning, or there is no subgraph.
        """
        subgraphs = self._reads.tables(self._model.SubgraphsLength(), self._model.Subgraphs)
        if not subgraphs:
            raise ValueError("no subgraph")
        nodes: list[Node] = []
        tensors: list[list[Any]] = []
        values: list[list[Value]] = []
        for number, subgraph in enumerate(subgraphs):
            tables = self._reads.tables(subgraph.TensorsLength(), subgraph.Tensors)
            tensors.append(tables)
            values.append([self._value(f"{number}:{i}", t) for i, t in enumerate(tables)])
            operators = self._reads.tables(subgraph.OperatorsLength(), subgraph.Operators)
            nodes += [self._node(operator, values[-1]) for operator in operators]
        main = subgraphs[0]
        inputs = _checked(self._reads.integers(main.InputsAsNumpy()), len(tensors[0]))
        outputs = _checked(self._reads.integers(main.OutputsAsNumpy()), len(tensors[0]))
        return TfliteGraph(
            nodes=tuple(nodes),
            inputs=tuple(self._spec(tensors[0][index]) for index in inputs),
            outputs=tuple(self._spec(tensors[0][index]) for index in outputs),
            input_values=tuple(values[0][index] for index in inputs),
        )

    def _operator_names(self) -> list[tuple[str, bool]]:
        """(name, whether it is custom) by operator code."""
        names = _names_by_code(self._schema.BuiltinOperator)
        result = []
        for code in self._reads.tables(
            self._model.OperatorCodesLength(), self._model.OperatorCodes
        ):
            # Codes above 127 stand in the newer field only (schema.fbs, OperatorCode).
            number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
            if number == self._schema.BuiltinOperator.CUSTOM:
                result.append((self._reads.text(code.CustomCode()) or "CUSTOM", True))
            else:
                result.append((names.get(number, f"BUILTIN_{number}"), number not in names))
        return result

    def _buffer_bytes(self, buffer: Any) -> int:
        """Bytes that a buffer stores, inside the flatbuffer or behind it (above 2 GiB)."""
        outside = int(buffer.Size()) if hasattr(buffer, "Size") else 0
        if outside and buffer.Offset() + outside > self._size_bytes:
            raise ValueError("a buffer ends behind the end of the file")
        inside = buffer.DataAsNumpy()  # a view; numpy refuses one behind the end of the file
        return outside or (0 if isinstance(inside, int) else int(inside.nbytes))

    def _dtype(self, tensor: Any) -> str:
        name = self._types.get(tensor.Type())
        if name is None:
            raise ValueError(f"tensor type {tensor.Type()} has no meaning")
        return "object" if name == "STRING" else name.lower()

    def _value(self, key: str, tensor: Any) -> Value:
        shape = tuple(
            1 if extent < 0 else extent for extent in self._reads.integers(tensor.ShapeAsNumpy())
        )
        buffer = tensor.Buffer()
        stored = self._stored_bytes[buffer] if buffer else 0
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

    def _node(self, operator: Any, values: Sequence[Value]) -> Node:
        inputs = self._reads.integers(operator.InputsAsNumpy())
        outputs = self._reads.integers(operator.OutputsAsNumpy())
        name, custom = self._operators[operator.OpcodeIndex()]
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
        shape = self._reads.integers(tensor.ShapeAsNumpy())
        signature = self._reads.integers(tensor.ShapeSignatureAsNumpy())
        return TensorSpec(
            name=self._reads.text(tensor.Name()),
            shape=signature if len(signature) == len(shape) else shape,
            dtype=self._dtype(tensor),
            quantization=self._quantization(tensor.Quantization()),
        )

    def _quantization(self, table: Any) -> QuantizationParams | None:
        if table is None or table.ScaleLength() == 0:
            return None
        scales = self._reads.reals(table.ScaleAsNumpy())
        if not all(isfinite(scale) for scale in scales):
            raise ValueError("a quantization scale is not finite")
        zero_points = self._reads.integers(table.ZeroPointAsNumpy())
        if len(zero_points) not in (0, len(scales)):
            raise ValueError(f"{len(scales)} scales but {len(zero_points)} zero points")
        return QuantizationParams(
            scales=scales,
            zero_points=zero_points or (0,) * len(scales),
            quantized_dimension=table.QuantizedDimension(),
        )


def resized_tensors(path: Path, shapes: Sequence[tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Shapes of the main graph's tensors, by key, for inputs of these shapes.

    Only the kernels know how a shape goes through the graph: the interpreter is asked.

    Raises:
        EngineUnavailable: ai-edge-litert is not installed.
        ModelLoadError: The model does not take inputs of these shapes.
    """
    try:
        from ai_edge_litert import interpreter as module
    except ImportError as error:
        raise EngineUnavailable(
            "mult-adds for other shapes need an interpreter: ai-edge-litert is not installed",
            hint="Install it: pip install ai-edge-litert",
        ) from error
    try:
        loaded = module.Interpreter(
            model_path=str(path),
            experimental_op_resolver_type=module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        for detail, shape in zip(loaded.get_input_details(), shapes, strict=True):
            loaded.resize_tensor_input(detail["index"], shape)
        loaded.allocate_tensors()
        details = loaded.get_tensor_details()
    except (RuntimeError, ValueError, TypeError) as error:
        raise refusal(
            path, "ai-edge-litert with that --input-shape", error, otherwise="Name another shape."
        ) from error
    return {f"0:{item['index']}": tuple(int(n) for n in item["shape"]) for item in details}


def resized(graph: TfliteGraph, shapes: Mapping[str, tuple[int, ...]]) -> TfliteGraph:
    """The graph with those shapes in place of the file's, by the tensors' keys."""

    def value(item: Value) -> Value:
        known = item.stored is None and item.key in shapes
        return replace(item, shape=shapes[item.key]) if known else item

    return replace(
        graph,
        nodes=tuple(
            replace(
                node,
                inputs=tuple(item and value(item) for item in node.inputs),
                outputs=tuple(map(value, node.outputs)),
            )
            for node in graph.nodes
        ),
        input_values=tuple(map(value, graph.input_values)),
    )


def _names_by_code(enumeration: Any) -> dict[int, str]:
    return {code: name for name, code in vars(enumeration).items() if isinstance(code, int)}


def _checked(indices: Sequence[int], length: int) -> Sequence[int]:
    for index in indices:
        if not 0 <= index < length:
            raise ValueError(f"tensor index {index} of {length}")
    return indices
