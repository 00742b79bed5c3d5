"""Which operators of a TFLite graph a delegate took, read off the interpreter's nodes.

A delegate leaves the nodes that it took in the list and adds one node of type ``DELEGATE`` per
partition, with the partition's inputs and outputs. So a partition is what lies between the two.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.accelerators.base import Coverage

DELEGATE: Final = "DELEGATE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """An operator of the graph: its type, and the indices of its tensors."""

    type: str
    inputs: frozenset[int]
    outputs: tuple[int, ...]


def nodes(details: Iterable[Mapping[str, Any]]) -> tuple[Node, ...]:
    """The nodes that ``Interpreter._get_ops_details`` states; -1, no tensor, is left out."""
    return tuple(
        Node(
            type=str(detail["op_name"]),
            inputs=frozenset(int(index) for index in detail["inputs"] if index >= 0),
            outputs=tuple(int(index) for index in detail["outputs"] if index >= 0),
        )
        for detail in details
    )


def partition(delegated: Node, operators: Sequence[Node]) -> set[int]:
    """Indices of the operators that a ``DELEGATE`` node stands for: back from its outputs."""
    producer = {output: index for index, node in enumerate(operators) for output in node.outputs}
    found: set[int] = set()
    open_ = list(delegated.outputs)
    while open_:
        tensor = open_.pop()
        index = producer.get(tensor)
        if index is None or index in found or tensor in delegated.inputs:
            continue
        found.add(index)
        open_.extend(operators[index].inputs)
    return found


def coverage(graph: Sequence[Node], reasons: tuple[str, ...] = ()) -> Coverage:
    """What lies in partitions, and by type what does not.

    Args:
        graph: All nodes, those of type ``DELEGATE`` included.
        reasons: For what does not.
    """
    operators = [node for node in graph if node.type != DELEGATE]
    delegated = [node for node in graph if node.type == DELEGATE]
    taken: set[int] = set()
    for node in delegated:
        taken |= partition(node, operators)
    left = Counter(node.type for index, node in enumerate(operators) if index not in taken)
    return Coverage(
        operators=len(operators),
        accelerated=len(taken),
        partitions=len(delegated),
        left=dict(left.most_common()),
        reasons=reasons if left else (),
    )
