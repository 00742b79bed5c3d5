"""Which operators of a TFLite graph a delegate took, read off the interpreter's nodes.

A delegate leaves the nodes that it took in the list and adds one node of type ``DELEGATE`` per
partition, with the partition's inputs and outputs. So a partition is what lies between the two.

Standard library only: a benchmark's worker runs in any Python environment.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

DELEGATE: Final = "DELEGATE"


@dataclass(frozen=True, slots=True, kw_only=True)
class InterpreterNode:
    """An operator as an interpreter states it.

    Attributes:
        type: The operator's type, such as ``CONV_2D``.
        inputs: The indices of its input tensors.
        outputs: The indices of its output tensors.
    """

    type: str
    inputs: frozenset[int]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegation:
    """How a graph is divided between delegates and the built-in kernels.

    Attributes:
        operators: How many operators the graph has.
        delegated: How many of them lie in partitions.
        partitions: How many partitions there are.
        left: How many operators of which type lie in none, the most frequent type first.
        splitting: How many of these stand between partitions: they get what one of them made, and
            another one gets what they make.
    """

    operators: int
    delegated: int
    partitions: int
    left: Mapping[str, int]
    splitting: Mapping[str, int]


def nodes_of(interpreter: Any) -> tuple[InterpreterNode, ...]:
    """Return the nodes of an interpreter's main graph, in order, those of partitions included."""
    return nodes(interpreter._get_ops_details())


def nodes(details: Iterable[Mapping[str, Any]]) -> tuple[InterpreterNode, ...]:
    """Return the nodes that ``_get_ops_details`` states; -1, which is no tensor, is left out."""
    return tuple(
        InterpreterNode(
            type=str(detail["op_name"]),
            inputs=frozenset(int(index) for index in detail["inputs"] if index >= 0),
            outputs=tuple(int(index) for index in detail["outputs"] if index >= 0),
        )
        for detail in details
    )


def delegation(graph: Sequence[InterpreterNode]) -> Delegation:
    """Return what lies in partitions, and by type what does not.

    Args:
        graph: All nodes, those of type ``DELEGATE`` included.
    """
    operators = [node for node in graph if node.type != DELEGATE]
    delegated = [node for node in graph if node.type == DELEGATE]
    taken: set[int] = set()
    for node in delegated:
        taken |= _partition(node, operators)
    left = Counter(node.type for index, node in enumerate(operators) if index not in taken)
    splitting = Counter(operators[index].type for index in _between(operators, taken))
    return Delegation(
        operators=len(operators),
        delegated=len(taken),
        partitions=len(delegated),
        left=dict(left.most_common()),
        splitting=dict(splitting.most_common()),
    )


def _between(operators: Sequence[InterpreterNode], taken: Collection[int]) -> list[int]:
    """Indices of the operators that depend on a delegated one and that another depends on."""
    behind: set[int] = set()  # tensors that a delegated operator had a part in
    for index, node in enumerate(operators):
        if index in taken or not behind.isdisjoint(node.inputs):
            behind.update(node.outputs)
    ahead: set[int] = set()  # tensors that a delegated operator is yet to have a part in
    found = []
    for index in reversed(range(len(operators))):
        node = operators[index]
        needed = not ahead.isdisjoint(node.outputs)
        if index in taken or needed:
            ahead.update(node.inputs)
        if index not in taken and needed and not behind.isdisjoint(node.inputs):
            found.append(index)
    return found[::-1]


def _partition(delegated: InterpreterNode, operators: Sequence[InterpreterNode]) -> set[int]:
    """Indices of the operators that a ``DELEGATE`` node stands for: back from its outputs."""
    producer = {output: index for index, node in enumerate(operators) for output in node.outputs}
    partition: set[int] = set()
    waiting = list(delegated.outputs)
    while waiting:
        tensor = waiting.pop()
        index = producer.get(tensor)
        if index is None or index in partition or tensor in delegated.inputs:
            continue
        partition.add(index)
        waiting.extend(operators[index].inputs)
    return partition
