"""A model graph in the terms that both formats share, and the counts over it."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Final

from numpy.typing import NDArray

CONVERSIONS: Final = frozenset(
    {"QUANTIZE", "DEQUANTIZE", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}
)
"""Operators that only convert between integers and real numbers."""


class UnknownShapeError(Exception):
    """The file does not tell a shape that a formula needs; the operator becomes a note."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One tensor of the graph.

    Attributes:
        key: The key of the tensor, which no other tensor of the model has.
        shape: The extents with open ones as 1; None if the file does not tell.
        dtype: The numpy name of the elements.
        stored: The name of a constant's stored data, equal for tensors that share them; None for
            an activation.
        quantized: Whether it is an integer tensor that stands for real numbers.
    """

    key: str
    shape: tuple[int, ...] | None
    dtype: str
    stored: str | None = None
    quantized: bool = False

    @property
    def real(self) -> bool:
        """Whether it stands for real numbers (quantized ones included)."""
        return self.quantized or self.dtype.startswith(("float", "bfloat"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """One tensor whose values are stored in the file.

    Attributes:
        name: The name of the tensor, which no other constant of the file has.
        dtype: The numpy name of its elements, or the format's where numpy has none.
        elements: How many elements there are.
        read: Gives the values: in their shape from ONNX, flat from TFLite. It raises ValueError
            where they are not in the file.
        opaque: Whether numpy has no type for the elements, so that ``read`` gives raw bytes.
    """

    name: str
    dtype: str
    elements: int
    read: Callable[[], NDArray[Any]]
    opaque: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One operator; an input that is left out is None.

    Attributes:
        operator: The name of the operator, in the format's words.
        inputs: The inputs by position.
        outputs: The outputs by position.
        attributes: The integers that a formula needs.
        custom: Whether the format does not define it.
    """

    operator: str
    inputs: tuple[Value | None, ...]
    outputs: tuple[Value, ...]
    attributes: Mapping[str, int] = field(default_factory=dict)
    custom: bool = False

    def input_shape(self, position: int, *, rank: int | None = None) -> tuple[int, ...]:
        """Return the shape of an input.

        Raises:
            UnknownShapeError: The input is left out, its shape is unknown, or it has another rank.
        """
        value = self.inputs[position] if position < len(self.inputs) else None
        return _known_shape(value, rank)

    def output_shape(self, *, rank: int | None = None) -> tuple[int, ...]:
        """Return the shape of the first output.

        Raises:
            UnknownShapeError: There is none, its shape is unknown, or it has another rank.
        """
        return _known_shape(self.outputs[0] if self.outputs else None, rank)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What the counts must know about a format's operators.

    Attributes:
        formulas: What gives the multiply-adds of one node, by operator.
        trained_inputs: The positions that hold weights, biases or statistics, by operator.
        elementwise: Operators whose real constants of more than one element are trained.
        tables: Operators whose input 0 is trained if it is a real constant (embeddings).
        transparent: Operators that pass their input 0 on, re-arranged or converted.
        uncounted: Operators that multiply and add but have no formula here.
    """

    formulas: Mapping[str, Callable[[Node], int]]
    trained_inputs: Mapping[str, Sequence[int]]
    elementwise: frozenset[str]
    tables: frozenset[str]
    transparent: frozenset[str]
    uncounted: frozenset[str]


def _known_shape(value: Value | None, rank: int | None) -> tuple[int, ...]:
    if value is None or value.shape is None or rank not in (None, len(value.shape)):
        raise UnknownShapeError
    return value.shape


def count_operators(nodes: Iterable[Node]) -> tuple[tuple[str, int], ...]:
    """Return (operator, count), most frequent first, ties by name."""
    counts = Counter(node.operator for node in nodes)
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def count_parameters(nodes: Sequence[Node], dialect: Dialect) -> int:
    """Count the elements of the trained constants, as ``ModelReport.parameters`` states."""
    producers = producers_of(nodes)
    sizes: dict[str, int] = {}
    for node in nodes:
        for position, value in enumerate(node.inputs):
            origin = stored_origin(value, producers, dialect)
            if value is None or origin is None or origin.shape is None or origin.stored is None:
                continue
            if _is_trained(node, position, value, prod(origin.shape), dialect):
                sizes[origin.stored] = prod(origin.shape)
    return sum(sizes.values())


def _is_trained(node: Node, position: int, value: Value, size: int, dialect: Dialect) -> bool:
    if position in dialect.trained_inputs.get(node.operator, ()):
        return True
    if node.operator in dialect.elementwise:
        return value.real and size > 1
    return node.operator in dialect.tables and position == 0 and value.real


def producers_of(nodes: Iterable[Node]) -> dict[str, Node]:
    """Return the node that computes a value, by the value's key."""
    return {value.key: node for node in nodes for value in node.outputs}


def stored_origin(
    value: Value | None, producers: Mapping[str, Node], dialect: Dialect
) -> Value | None:
    """Return the constant that a value is, or is made of by transparent operators, or None."""
    seen = set()
    while value is not None and value.stored is None:
        node = producers.get(value.key)
        if node is None or node.operator not in dialect.transparent or value.key in seen:
            return None
        seen.add(value.key)
        value = node.inputs[0] if node.inputs else None
    return value


def count_mult_adds(nodes: Iterable[Node], dialect: Dialect) -> tuple[int, tuple[str, ...]]:
    """Count the multiply-adds of all nodes with a formula; notes name the nodes left out."""
    total = 0
    left_out: Counter[tuple[str, str]] = Counter()
    for node in nodes:
        formula = dialect.formulas.get(node.operator)
        if formula is not None:
            try:
                total += formula(node)
            except UnknownShapeError:
                left_out[node.operator, "shapes not in the file"] += 1
        elif node.custom:
            left_out[node.operator, "custom operator"] += 1
        elif node.operator in dialect.uncounted:
            left_out[node.operator, "no formula here"] += 1
    return total, tuple(
        f"mult-adds leave out {count} x {name}: {reason}"
        for (name, reason), count in sorted(left_out.items())
    )


def batch_extent(inputs: Sequence[Value]) -> int:
    """Return the batch that a count covers: of the first image input (rank 4), else 1.

    Only a rank-4 tensor is taken to lead with the batch; a graph without one is counted for one
    run.
    """
    for value in inputs:
        if value.shape is not None and len(value.shape) == 4:
            return max(value.shape[0], 1)
    return 1
