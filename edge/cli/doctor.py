"""``edge doctor``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge.cli import host_options as remote
from edge.cli import options as shared
from edge.runtime.streams import say

if TYPE_CHECKING:
    from edge.deploy.facts import Facts
    from edge.deploy.findings import Finding

EPILOG = "Example: edge doctor pi@raspberrypi.local --device raspberry-pi-5"


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
            help="Board; edge devices lists them.  \\[default: by what the device says]",
            show_default=False,
        ),
    ] = None,
    port: remote.Port = None,
    ssh_config: remote.SshConfig = None,
    accept_new_host_key: remote.AcceptNewHostKey = False,
    json: shared.Json = False,
) -> None:
    """Say whether a bundle can be deployed to a device, and what to do about what is in the way.

    Exit code 1 if a deploy would fail. Nothing is changed on the device.
    """
    from devices.profile import profile
    from edge.cli.output import print_json
    from edge.deploy.findings import Level, findings, guess_profile, refusals

    board = profile(device) if device else None
    facts = _facts(host, port, ssh_config, accept_new_host_key)
    board = board or guess_profile(facts)
    found = (*findings(facts, board), *refusals(facts))
    fails = any(finding.level is Level.ERROR for finding in found)
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
        _print(host or "this machine", found, fails)
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
        return gather_here()
    with Remote(remote.address(host, port, ssh_config, accept_new_host_key)) as connection:
        return gather(connection)


def _print(name: str, found: "Sequence[Finding]", fails: bool) -> None:
    """One line per finding, one more with the way out."""
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
