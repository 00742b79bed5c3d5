"""Where the operators of an ONNX model ran.

Two sources, since neither is whole: the assignments that ONNX Runtime records when it divides the
graph list what a compiled part consists of, but lack the operators whose layout was changed for a
GPU (seen with WebGPU, 1.27); the kernels of one profiled inference list these, but show a compiled
part as one node.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import groupby
from typing import Any

from benchmarks.accelerators.base import Coverage
from benchmarks.accelerators.onnx_profile import Kernel

Assignments = Sequence[tuple[str, int]]
"""Provider, and operators, of each part into which the graph was divided."""


def assignments(session: Any) -> Assignments | None:
    """The parts of a session that was told to record them, as (provider, operators).

    None from a version of ONNX Runtime that does not record them: 1.23 and older.
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
    """What ran on these providers, and by type what did not.

    Args:
        parts: Assignments of the session; None if it has none.
        kernels: Of one inference, in the order of execution.
        providers: Those that stand for the accelerator.

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
    """Compiled parts, and stretches of single kernels without one of another processor between."""
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
