"""Reads the profile that ONNX Runtime writes: which kernel ran where, and for how long.

A list of events in Chrome's trace format, times in microseconds. An event of category ``Node`` is
one run of one kernel; one of category ``Session`` called ``model_run`` is one inference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.accelerators.base import OperatorTime
from edge.errors import InferenceError
from edge.runtime import checked

MAX_PROFILE: Final = 256 << 20  # bytes; an operator of a run takes about 500
MICROSECOND: Final = 1e-6
SUFFIX: Final = "_kernel_time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """One run of one kernel.

    Attributes:
        name: Of the node.
        type: Of the operator; of a compiled part of the graph, the compiler's name for it.
        provider: Execution provider, such as ``CPUExecutionProvider``.
        seconds: How long it took.
    """

    name: str
    type: str
    provider: str
    seconds: float

    @property
    def compiled(self) -> bool:
        """Whether it stands for a part of the graph that its provider compiled.

        ONNX Runtime's graph partitioner names the node of such a part after the provider.
        """
        return self.name.startswith(f"{self.provider}_")

    @property
    def copies(self) -> bool:
        """Whether it only moves a tensor between memories; no operator of the model."""
        return self.type.startswith("Memcpy")


def inferences(path: Path) -> tuple[tuple[Kernel, ...], ...]:
    """The kernels of each inference, in the order in which they began.

    Args:
        path: The profile.

    Raises:
        InferenceError: Not a profile of ONNX Runtime.
    """
    try:
        events: Sequence[Mapping[str, Any]] = checked.read_json(path, max_bytes=MAX_PROFILE)
        runs = [(event["ts"], event["dur"]) for event in events if event["name"] == "model_run"]
        nodes = [(event["ts"], _kernel(event)) for event in events if _is_kernel(event)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InferenceError(f"ONNX Runtime's profile cannot be read: {error}") from error
    if not runs:
        raise InferenceError("ONNX Runtime's profile cannot be read: it lists no inference")
    nodes.sort(key=lambda item: item[0])
    return tuple(
        tuple(kernel for begun, kernel in nodes if start <= begun <= start + length)
        for start, length in sorted(runs)
    )


def operator_times(runs: Sequence[Sequence[Kernel]]) -> tuple[OperatorTime, ...]:
    """Mean per node, in the order of the first inference; a node in a loop counts as a whole."""
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
