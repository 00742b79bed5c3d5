"""Which operators of an integer file stay in floats, because no fast integer kernel takes them.

An interpreter has integer kernels for what most networks consist of. What they lack, such as
TFLite's int8 HARD_SWISH in XNNPACK, runs in a reference kernel, and cuts the graph of the fast ones
in two. Converted to floats and back, the same operator takes a fraction of the time, and its error
goes. The operators around it that work element by element then join it where that saves
conversions: a layer normalization stays in floats as a whole.

Which kinds those are was measured, one operator between two convolutions: see
docs/quantization.md, and ``tests/integration/test_kernels.py``, which measures the delegate again.
"""

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operator as this choice sees it.

    Attributes:
        slow: Whether its integer kernel is slow, or missing.
        light: Whether it works element by element or takes a mean, so that it can join.
        reads: The tensors that it reads and that depend on the picture.
        writes: The tensors that it writes.
    """

    slow: bool
    light: bool
    reads: frozenset[Hashable]
    writes: frozenset[Hashable]


def better_in_floats(
    operations: Sequence[Operation], outputs: Collection[Hashable]
) -> frozenset[int]:
    """Return the positions of the operators that stay in floats.

    Those are the slow ones; and, of the light ones, those that read nothing but what floats write
    or read already, and those that only floats read. No operator that writes an output is among
    them: the file answers in integers as without them.

    Args:
        operations: The operators in the order of execution.
        outputs: The outputs of the graph.
    """
    free = [not item.writes.intersection(outputs) for item in operations]
    chosen = {i for i, item in enumerate(operations) if item.slow and free[i]}
    while True:
        written = {name for i in chosen for name in operations[i].writes}
        known = written.union(*(operations[i].reads for i in chosen))
        elsewhere = {
            name for i, item in enumerate(operations) if i not in chosen for name in item.reads
        }
        joining = {
            i
            for i, item in enumerate(operations)
            if item.light and free[i] and i not in chosen
            if (item.reads <= known and item.reads & written)
            or (item.writes & known and not item.writes & elsewhere)
        }
        if not joining:
            return frozenset(chosen)
        chosen |= joining
