"""Which kernel of an ONNX model ran where, and for how long.

ONNX Runtime writes its profile as a list of events in Chrome's trace format, with times in
microseconds. An event of category ``Node`` is one run of one kernel; one of category ``Session``
called ``model_run`` is one inference.

Where the operators ran has two sources, since neither is whole: the assignments that ONNX Runtime
records when it divides the graph list what a compiled part consists of, but lack the operators
whose layout was changed for a GPU (seen with WebGPU, 1.27); the kernels of one profiled inference
list these, but show a compiled part as one node.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from benchmarks.accelerators.base import Coverage, OperatorTime
from edge.errors import InferenceError, cause_of
from edge.runtime import checked

MAX_PROFILE: Final = 256 << 20  # bytes; an operator of a run takes about 500
MICROSECOND: Final = 1e-6
SUFFIX: Final = "_kernel_time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """One run of one kernel.

    Attributes:
        name: The name of the node.
        type: The type of the operator, or the compiler's name of a compiled part of the graph.
        provider: The execution provider, such as ``CPUExecutionProvider``.
        seconds: How long it took.
    """

    name: str
    type: str
    provider: str
    seconds: float

    @property
    def compiled(self) -> bool:
        """Return whether it stands for a part of the graph that its provider compiled.

        ONNX Runtime's graph partitioner names the node of such a part after the provider.
        """
        return self.name.startswith(f"{self.provider}_")

    @property
    def copies(self) -> bool:
        """Return whether it only moves a tensor between memories; no operator of the model."""
        return self.type.startswith("Memcpy")


def inferences(path: Path) -> tuple[tuple[Kernel, ...], ...]:
    """Return the kernels of each inference, in the order in which they began.

    Args:
        path: The profile.

    Raises:
        InferenceError: The file is no profile of ONNX Runtime.
    """
    try:
        events: Sequence[Mapping[str, Any]] = checked.read_json(path, max_bytes=MAX_PROFILE)
        runs = [(event["ts"], event["dur"]) for event in events if event["name"] == "model_run"]
        nodes = [(event["ts"], _kernel(event)) for event in events if _is_kernel(event)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InferenceError(f"ONNX Runtime's profile cannot be read: {cause_of(error)}") from error
    if not runs:
        raise InferenceError("ONNX Runtime's profile cannot be read: it lists no inference")
    nodes.sort(key=lambda item: item[0])
    return tuple(
        tuple(kernel for begun, kernel in nodes if start <= begun <= start + length)
        for start, length in sorted(runs)
    )


def operator_times(runs: Sequence[Sequence[Kernel]]) -> tuple[OperatorTime, ...]:
    """Return the mean time of each node, in the order of the first inference.

    A node in a loop counts as a whole.
    """
    total: dict[tuple[str, str, str], float] = {}
    for kernels in runs:
        for kernel in kernels:
            key = (kernel.name, kernel.type, kernel.provider)
            total[key] = total.get(key, 0.0) + kernel.seconds
    return tuple(
        OperatorTime(name=name, type=type_, seconds=seconds / len(runs), where=provider)
        for (name, type_, provider), seconds in total.items()
    )


def _is_kernel(event: Mapping[str, Any]) -> bool:
    return bool(event["cat"] == "Node" and event["name"].endswith(SUFFIX))


def _kernel(event: Mapping[str, Any]) -> Kernel:
    return Kernel(
        name=str(event["name"]).removesuffix(SUFFIX),
        type=str(event["args"]["op_name"]),
        provider=str(event["args"]["provider"]),
        seconds=float(event["dur"]) * MICROSECOND,
    )


Assignments = Sequence[tuple[str, int]]
"""The provider and the number of operators of each part into which the graph was divided."""


def assignments(session: Any) -> Assignments | None:
    """Return the parts of a session that was told to record them, as (provider, operators).

    It is None from a version of ONNX Runtime that does not record them: 1.23 and older.
    """
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    return [
        (str(part.ep_name), len(part.get_nodes()))
        for part in session.get_provider_graph_assignment_info()
    ]


def coverage(
    parts: Assignments | None, kernels: Sequence[Kernel], providers: Collection[str]
) -> Coverage | None:
    """Return what ran on these providers, and by type what did not.

    Args:
        parts: The assignments of the session; None if it has none.
        kernels: The kernels of one inference, in the order of execution.
        providers: The providers that stand for the accelerator.

    Returns:
        None where nothing tells what a compiled part consists of.
    """
    once = {(kernel.name, kernel.type): kernel for kernel in kernels}.values()  # despite loops
    ran = [kernel for kernel in once if not kernel.copies]
    compiling = {kernel.provider for kernel in ran if kernel.compiled}
    if compiling and parts is None:
        return None
    on_kernels = [kernel for kernel in ran if not kernel.compiled]
    inside = sum(count for name, count in parts or () if name in providers and name in compiling)
    own = inside + sum(kernel.provider in providers for kernel in on_kernels)
    left = Counter(kernel.type for kernel in on_kernels if kernel.provider not in providers)
    return Coverage(
        operators=own + left.total(),
        accelerated=own,
        partitions=_partitions(ran, providers),
        left=dict(left.most_common()),
        reasons=_reasons(list(once), providers),
    )


def _partitions(ran: Sequence[Kernel], providers: Collection[str]) -> int:
    """Count compiled parts, and stretches of kernels without one of another processor between."""
    compiled = sum(kernel.compiled and kernel.provider in providers for kernel in ran)
    stretches = groupby(ran, key=lambda kernel: (kernel.provider in providers, kernel.compiled))
    return compiled + sum(key == (True, False) for key, _ in stretches)


def _reasons(kernels: Sequence[Kernel], providers: Collection[str]) -> tuple[str, ...]:
    elsewhere = Counter(
        kernel.provider
        for kernel in kernels
        if kernel.provider not in providers and not kernel.copies
    )
    copies = sum(kernel.copies for kernel in kernels)
    said = [f"{count} ran on {name}" for name, count in elsewhere.most_common()]
    if elsewhere and copies:
        said.append(f"they cost {copies} copies between the memories")
    return tuple(said)
