"""How many nodes an ONNX file has with each call of its functions written out.

An interpreter writes them out as it opens the file: 27 functions that each call the next one twice
take 2 KB and never end. Standard library only: the device runs this too.
"""

import mmap
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from edge.errors import ModelLoadError
from edge.runtime.refusal import fields

MOST_NODES: Final = 200_000  # the largest language models have a tenth
MOST_CALLS: Final = 100  # of functions, one within the other

# Numbers of fields, of onnx.proto.
_GRAPH, _FUNCTIONS = 7, 25  # of ModelProto
_GRAPH_NODE = 1
_FUNCTION_NODE = 7
_FUNCTION_KEY: Final = (10, 1, 13)  # domain, name, overload
_NODE_KEY: Final = (7, 4, 8)  # domain, op_type, overload
_NODE_ATTRIBUTE = 5
_ATTRIBUTE_GRAPHS: Final = (6, 11)

Operator = tuple[bytes, ...]
"""Domain, name and overload."""


def check_functions(path: Path, held: Path | None = None) -> None:
    """Count the nodes of a file that has functions of its own; of another one it reads no node.

    Args:
        path: The file.
        held: A copy of it, which is read in its place.

    Raises:
        ModelLoadError: As ``check_nodes``.
    """
    try:
        with (
            (held or path).open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            if any(number == _FUNCTIONS for number, _, _ in fields(content, 0, len(content))):
                check_nodes(path, content)
    except (OSError, ValueError, IndexError):
        return  # the interpreter says what is wrong with it


def check_nodes(path: Path, content: Any) -> None:
    """Count the nodes as if each call of a function were written out.

    Args:
        path: Of the file, for errors.
        content: Bytes of a ModelProto, or a map of them.

    Raises:
        ModelLoadError: They are too many, or functions call one another without an end.
        ValueError, IndexError: It is no protobuf.
    """
    main: Counter[Operator] = Counter()
    bodies: dict[Operator, Counter[Operator]] = {}
    for number, start, end in fields(content, 0, len(content)):
        if number == _GRAPH and end >= 0:
            main.update(_called(content, start, end, _GRAPH_NODE))
        elif number == _FUNCTIONS and end >= 0:
            body = bodies.setdefault(_key(content, start, end, _FUNCTION_KEY), Counter())
            body.update(_called(content, start, end, _FUNCTION_NODE))
    total = _total(path, main, bodies)
    if total > MOST_NODES:
        raise ModelLoadError(
            f"{path} has {total:,} nodes, its functions written out; edge reads at most "
            f"{MOST_NODES:,}",
            hint="Export the model again, with larger operators or without functions.",
        )


def _total(
    path: Path, main: Mapping[Operator, int], bodies: Mapping[Operator, Mapping[Operator, int]]
) -> int:
    counts: dict[Operator, int] = {}

    def count(operator: Operator, within: int = 0) -> int:
        if operator not in bodies:
            return 1
        if within > MOST_CALLS:
            raise ModelLoadError(
                f"{path} has functions that call one another in a circle, or more than "
                f"{MOST_CALLS} within one another: {operator[1][:80].decode(errors='replace')}",
                hint="Export the model again, without functions of its own.",
            )
        if operator not in counts:
            counts[operator] = sum(
                times * count(called, within + 1) for called, times in bodies[operator].items()
            )
        return counts[operator]

    return sum(times * count(operator) for operator, times in main.items())


def _called(content: Any, start: int, end: int, nodes: int) -> Iterator[Operator]:
    """Operators of a graph's or a function's nodes, and of the graphs within these."""
    left = [(start, end, nodes)]
    while left:
        start, end, nodes = left.pop()
        for number, begin, stop in fields(content, start, end):
            if number != nodes or stop < 0:
                continue
            yield _key(content, begin, stop, _NODE_KEY)
            for part, at, to in fields(content, begin, stop):
                if part == _NODE_ATTRIBUTE and to >= 0:
                    left += [
                        (first, last, _GRAPH_NODE)
                        for item, first, last in fields(content, at, to)
                        if item in _ATTRIBUTE_GRAPHS and last >= 0
                    ]


def _key(content: Any, start: int, end: int, places: tuple[int, ...]) -> Operator:
    """An operator's name; both names of the standard domain are one."""
    found = {
        number: content[begin:stop]
        for number, begin, stop in fields(content, start, end)
        if number in places and stop >= 0
    }
    domain, *more = (bytes(found.get(place, b"")) for place in places)
    return (b"" if domain == b"ai.onnx" else domain, *more)
