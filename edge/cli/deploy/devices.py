"""``edge devices`` and ``edge doctor``: what edge knows of a board, and finds on one."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge.cli import options as shared
from edge.cli.deploy import options as hosts
from edge.cli.help import example
from edge.errors import UsageError
from edge.runtime.streams import say

if TYPE_CHECKING:
    from devices.profile import Profile
    from edge.deploy.facts import Facts
    from edge.deploy.findings import Finding


@example("edge devices raspberry-pi-5")
def devices(
    board: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]",
            help="Name of a board, or a file of your own, BOARD.toml.",
            show_default=False,
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


@example("edge doctor pi@raspberrypi.local --device raspberry-pi-5")
def doctor(
    host: Annotated[
        str | None,
        typer.Argument(
            metavar="[[USER@]HOST]",
            help="The device, as ssh takes it.  \\[default: this machine]",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="Name of the board; edge devices lists them.  \\[default: what the device says]",
            show_default=False,
        ),
    ] = None,
    port: hosts.Port = None,
    ssh_config: hosts.SshConfig = None,
    accept_new_host_key: hosts.AcceptNewHostKey = False,
    json: shared.Json = False,
) -> None:
    """Say whether bundles can be deployed to a device, and what to do about what is in the way.

    The exit code is 1 if a deploy would fail. Nothing is changed on the device.
    """
    from devices.profile import profile
    from edge.cli.output import print_json
    from edge.deploy.findings import Severity, findings, guess_profile, refusals

    board = profile(device) if device else None
    facts = _facts(host, port, ssh_config, accept_new_host_key)
    board = board or guess_profile(facts)
    found = (*findings(facts, board), *refusals(facts))
    fails = any(finding.level is Severity.ERROR for finding in found)
    if json:
        print_json(
            {
                "host": host,
                "device": board.id,
                "deployable": not fails,
                "findings": [finding.to_json() for finding in found],
                "facts": facts.to_json(),
            }
        )
    else:
        _print_findings(host or "this machine", found, fails)
    raise typer.Exit(1 if fails else 0)


def _facts(
    host: str | None,
    port: int | None,
    ssh_config: Path | None,
    accept_new_host_key: bool,
) -> "Facts":
    from edge.deploy.facts import gather, gather_here
    from edge.deploy.ssh import Remote

    if host is None:
        if port is not None or ssh_config is not None or accept_new_host_key:
            raise UsageError(
                "--port, --ssh-config and --accept-new-host-key are of ssh, and no device is named",
                hint="Name the device as [USER@]HOST, or leave them out to look at this machine.",
            )
        return gather_here()
    with Remote(hosts.address(host, port, ssh_config, accept_new_host_key)) as connection:
        return gather(connection)


def _print_findings(name: str, found: "Sequence[Finding]", fails: bool) -> None:
    """Print one line for each finding, and one more with the way out."""
    from edge.cli.output import print_beside
    from edge.runtime.printable import one_line  # what a device says may hold anything

    width = max(len(finding.about) for finding in found)
    for finding in found:
        left = width + 11
        print_beside(f"{finding.level.value:<7}  {finding.about}", one_line(finding.found), left)
        if finding.hint:
            print_beside("", f"-> {one_line(finding.hint)}", left)
    say("")
    say(f"{name}: a deploy {'would fail' if fails else 'can go ahead'}")
