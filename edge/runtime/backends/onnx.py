"""ONNX files, by ONNX Runtime; on the CPU unless another execution provider is named.

An interpreter writes out each call of a file's functions as it opens the file: 27 functions that
each call the next one twice take 2 KB and never end. So the nodes are counted before.
"""

import mmap
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from edge.errors import InferenceError, ModelLoadError
from edge.runtime.refusal import fields
from edge.runtime.session import first_line
from edge.runtime.spec import TensorSpec
from edge.runtime.supervisor import NativeCall

DTYPES: Final[dict[str, str]] = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


class OnnxSession:
    """An ONNX Runtime session.

    Attributes:
        session: ONNX Runtime's own.
    """

    def __init__(
        self,
        module: Any,
        path: Path,
        *,
        threads: int,
        engine: str,
        held: Path | None = None,
        providers: Sequence[Any] | None = ("CPUExecutionProvider",),
        configure: Callable[[Any], None] | None = None,
    ) -> None:
        """Load the file. ONNX Runtime's own errors come through as they are.

        Args:
            module: ONNX Runtime's.
            path: A .onnx file.
            threads: CPU threads of one inference.
            engine: Interpreter and version.
            held: A copy of the file that was checked; it may go once this is made.
            providers: Execution providers, preferred first, by name or as (name, options); None
                where ``configure`` adds them.
            configure: Changes the session's options before the file is loaded.

        Raises:
            ModelLoadError: Its functions call one another too often.
        """
        self.engine = engine
        options = module.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors; they reach the caller as exceptions as well
        if configure is not None:
            configure(options)
        self._running = NativeCall(path, opens=False)
        with NativeCall(path, opens=True):
            check_functions(path, held)
            # By default a provider that fails is replaced by the CPU, with a line on stdout.
            self.session = module.InferenceSession(
                str(held or path),
                options,
                providers=None if providers is None else list(providers),
                enable_fallback=0,
            )
        self.inputs = tuple(_spec(item) for item in self.session.get_inputs())
        self.outputs = tuple(_spec(item) for item in self.session.get_outputs())
        self._names = [spec.name for spec in self.inputs]

    def run(self, *tensors: NDArray[Any]) -> list[NDArray[Any]]:
        """Run once; see ``Session``."""
        try:
            feeds = dict(zip(self._names, tensors, strict=True))
            with self._running:
                results: list[NDArray[Any]] = self.session.run(None, feeds)
            return results
        except Exception as error:  # its exception classes share no public base
            raise InferenceError(f"{self.engine} failed: {first_line(error)}") from error


def _spec(item: Any) -> TensorSpec:
    return TensorSpec(
        name=str(item.name),
        shape=tuple(extent if isinstance(extent, int) else -1 for extent in item.shape),
        dtype=DTYPES.get(item.type, str(item.type)),
    )


MOST_NODES: Final = 200_000  # the largest language models have a tenth
MOST_CALLS: Final = 100  # functions, one within the other

# Numbers of fields, of onnx.proto.
_GRAPH, _FUNCTIONS = 7, 25  # fields of ModelProto
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
        path: The path of the file, for errors.
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
    """Return the operators of a graph's or a function's nodes, and of the graphs within these."""
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
    """Return an operator's name; both names of the standard domain are one."""
    names = {
        number: content[begin:stop]
        for number, begin, stop in fields(content, start, end)
        if number in places and stop >= 0
    }
    domain, *more = (bytes(names.get(place, b"")) for place in places)
    return (b"" if domain == b"ai.onnx" else domain, *more)
