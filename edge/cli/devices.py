"""``edge devices``."""

from typing import TYPE_CHECKING, Annotated

import typer

from edge.cli import options as shared
from edge.runtime.streams import say

if TYPE_CHECKING:
    from devices.profile import Profile

EPILOG = "Example: edge devices raspberry-pi-5"


def devices(
    board: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]", help="A board, or a file of your own, BOARD.toml.", show_default=False
        ),
    ] = None,
    json: shared.Json = False,
) -> None:
    """List the boards that edge knows, or show what it knows of one."""
    from devices.profile import profile, profiles
    from edge.cli.output import print_json

    if board is None:
        known = profiles()
        if json:
            print_json({"devices": [item.to_json() for item in known]})
        else:
            _list(known)
    else:
        found = profile(board)
        if json:
            print_json(found.to_json())
        else:
            _show(found)


def _list(known: "tuple[Profile, ...]") -> None:
    from edge.cli.output import print_beside

    width = max(len(item.id) for item in known)
    for item in known:
        use = (
            f"estimate only ({item.estimate_only})"
            if item.estimate_only
            else f"{item.machine}, {item.engine} {item.variant}, {item.threads} threads"
        )
        print_beside(item.id, f"{item.name}: {use}", width + 2)


def _show(item: "Profile") -> None:
    from edge.cli.output import print_beside

    say(f"{item.id}: {item.name}")
    print_beside("  CPU", f"{item.cpu} ({item.machine})", 15)
    if item.estimate_only:
        print_beside("  estimate", f"{item.estimate_only}: no deploy, no measurement", 15)
    else:
        print_beside("  memory", f"{item.memory_bytes / 2**20:.0f} MiB (smallest model)", 15)
        print_beside("  runs", f"{item.variant} by {item.engine}, {item.threads} threads", 15)
    if item.budget:
        limits = item.budget
        print_beside("  latency", f"<= {1000 * limits.latency_seconds:.0f} ms (self-test)", 15)
        print_beside("  memory", f"<= {limits.memory_bytes / 1e6:.0f} MB (self-test)", 15)
    for system in item.systems:
        print_beside("  system", f"{system.name}: Python {system.python}, glibc {system.glibc}", 15)
        if system.note:
            print_beside("", system.note, 15)
    for name, reason in item.avoid.items():
        print_beside("  avoid", f"{name}: {reason}", 15)
    for part in item.accelerators:
        print_beside("  accelerator", f"{part.name} ({part.kind.upper()})", 15)
        print_beside("", part.note, 15)
    print_beside("  verified", item.verified, 15)
    for source in item.sources:
        print_beside("  source", f"{', '.join(source.facts)}: {source.url}", 15)
