"""``edge devices``."""

from typing import TYPE_CHECKING, Annotated

import typer

from edge.cli import options as shared

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
    width = max(len(item.id) for item in known)
    for item in known:
        use = (
            f"estimate only ({item.estimate_only})"
            if item.estimate_only
            else f"{item.machine}, {item.engine} {item.variant}, {item.threads} threads"
        )
        typer.echo(f"{item.id:<{width}}  {item.name}: {use}")


def _show(item: "Profile") -> None:
    typer.echo(f"{item.id}: {item.name}")
    typer.echo(f"  CPU          {item.cpu} ({item.machine})")
    if item.estimate_only:
        typer.echo(f"  estimate     {item.estimate_only}: no deploy, no measurement")
    else:
        typer.echo(f"  memory       {item.memory_bytes / 2**20:.0f} MiB (smallest model)")
        typer.echo(f"  runs         {item.variant} by {item.engine}, {item.threads} threads")
    if item.budget:
        limits = item.budget
        typer.echo(f"  latency      <= {1000 * limits.latency_seconds:.0f} ms (self-test)")
        typer.echo(f"  memory       <= {limits.memory_bytes / 1e6:.0f} MB (self-test)")
    for system in item.systems:
        typer.echo(f"  system       {system.name}: Python {system.python}, glibc {system.glibc}")
        if system.note:
            typer.echo(f"               {system.note}")
    for name, reason in item.avoid.items():
        typer.echo(f"  avoid        {name}: {reason}")
    for part in item.accelerators:
        typer.echo(f"  accelerator  {part.name} ({part.kind.upper()})")
        typer.echo(f"               {part.note}")
    typer.echo(f"  verified     {item.verified}")
    for source in item.sources:
        typer.echo(f"  source       {', '.join(source.facts)}: {source.url}")
