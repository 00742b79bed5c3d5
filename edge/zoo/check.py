"""What was counted, against what is published: equal, or how it differs and why."""

from dataclasses import dataclass
from typing import Final

from edge.zoo.result import Entry

# Sizes are published as those of the weights file, which holds names and, of some networks, more
# than the weights: 0.1 to 5 % here; EfficientNetB0's is stated as 29 MB, its parameters are 20.3.
SIZE_TOLERANCE: Final = 0.10
MIB: Final = 2**20
# Mult-adds of one image as papers state them, millions, and how near a count should come: papers
# round, and leave out the fully connected layers or not.
PAPERS: Final = {
    "MobileNet": (569, "Howard et al. 2017, table 4"),
    "VGG16": (15300, "Howard et al. 2017, table 8"),
}
PAPER_TOLERANCE: Final = 0.015


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure that is not as published.

    Attributes:
        network: Which one.
        figure: ``parameters``, ``depth``, ``size`` or ``mult-adds``.
        counted: Here.
        published: There.
        reason: As far as known, one sentence; empty if it is not.
    """

    network: str
    figure: str
    counted: str
    published: str
    reason: str


def differences(entry: Entry) -> tuple[Difference, ...]:
    """Every figure of a network that differs from the published one; empty if none does."""
    facts, known = entry.facts, entry.published
    if facts is None or known is None:
        return ()
    found: list[tuple[str, str, str, str]] = []
    exact, rounded = known.params, f"{known.params_m:.1f} M"
    if exact is not None and exact != facts.parameters:
        found.append(("parameters", f"{facts.parameters:,}", f"{exact:,}", ""))
    elif exact is None and f"{facts.parameters / 1e6:.1f} M" != rounded:
        found.append(("parameters", f"{facts.parameters / 1e6:.1f} M", rounded, ""))
    if known.depth is not None and known.depth != facts.depth:
        found.append(("depth", str(facts.depth), str(known.depth), ""))
    size = facts.size_bytes / MIB
    if abs(size - known.size_mb) > 0.5:
        reason = "the published one is of the weights file, with what HDF5 adds to the numbers"
        if abs(size / known.size_mb - 1) > SIZE_TOLERANCE:
            reason = "more than what HDF5 adds: 4 bytes a parameter do not give the published size"
        found.append(("size", f"{size:.1f} MiB", f"{known.size_mb:g} MiB", reason))
    if entry.network in PAPERS and entry.mult_adds is not None:
        stated, source = PAPERS[entry.network]
        counted = entry.mult_adds / 1e6
        if abs(counted / stated - 1) > PAPER_TOLERANCE:
            found.append(("mult-adds", f"{counted:,.0f} M", f"{stated:,} M", source))
    return tuple(Difference(entry.network, *item) for item in found)
