"""``edge fleet``: many devices at once."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge.cli.deploy import options as hosts
from edge.cli.help import Application, example, spread
from edge.runtime.streams import say

if TYPE_CHECKING:
    from edge.deploy.fleet import Member, Result

fleet = Application(help="Deploy to many devices.", no_args_is_help=True)


@fleet.callback()
def root() -> None:
    """Deploy a bundle to the devices of an inventory."""


@fleet.command()
@example("edge fleet deploy bundle fleet.toml --group shop --canary 2")
@spread
def deploy(
    bundle: hosts.Bundle,
    inventory: Annotated[
        Path,
        typer.Argument(
            help="TOML file that names the devices, such as fleet.toml.", show_default=False
        ),
    ],
    *,
    group: Annotated[
        str | None,
        typer.Option(help="Deploy only to this group of the inventory.", show_default=False),
    ] = None,
    parallel: Annotated[int, typer.Option(help="Number of devices at a time.", min=1)] = 4,
    canary: Annotated[int, typer.Option(help="Number of devices that go first.", min=0)] = 1,
    wave: Annotated[
        int | None,
        typer.Option(
            help="Number of devices in each wave after the canaries.  \\[default: all that are "
            "left]",
            min=1,
            show_default=False,
        ),
    ] = None,
    max_failures: Annotated[
        int, typer.Option(help="Number of failures that do not end the rollout.", min=0)
    ] = 0,
    flags: hosts.DeployFlags,
) -> None:
    """Deploy to the devices of an inventory: canaries first, then in waves.

    What the inventory says of a device counts before the options. The exit code is 1 if one of
    the devices does not serve the bundle.
    """
    from edge.cli.output import print_json
    from edge.cli.terminal import shown_progress
    from edge.deploy.deploy import deploy as deploy_to
    from edge.deploy.fleet import roll_out, settled
    from edge.deploy.plan import checked_bundle
    from edge.deploy.remote_benchmark import planned
    from edge.deploy.ssh import Remote
    from edge.progress import Silent

    options = flags.options(bundle)
    members = _members(inventory, group, flags.ssh_config, flags.accept_new_host_key)
    own = settled(members, options)
    checked = checked_bundle(bundle, options.key)

    def one(member: "Member") -> tuple[str, bool]:
        with Remote(member.address) as remote:
            asked = own[member.name]
            plan = planned(checked, remote, asked, Silent(), dry_run=flags.dry_run)
            if flags.dry_run:
                return plan.release.id, True
            outcome = deploy_to(remote, plan, Silent())
            return outcome.release, outcome.changed

    results = roll_out(
        members,
        one,
        shown_progress(quiet=flags.quiet),
        parallel=parallel,
        canary=canary,
        wave=wave,
        max_failures=max_failures,
    )
    if flags.json:
        print_json({"schema_version": 1, "devices": [item.to_json() for item in results]})
    else:
        _print(results, dry_run=flags.dry_run)
    if any(item.result in ("failed", "not tried") for item in results):
        raise typer.Exit(1)


def _members(
    inventory: Path, group: str | None, ssh_config: Path | None, accept_new_host_key: bool
) -> "list[Member]":
    """Read the devices of an inventory, with the options of ssh that hold for all of them."""
    from dataclasses import replace

    from edge.deploy.fleet import read_inventory
    from edge.deploy.ssh import Address

    return [
        replace(
            member,
            address=Address.parse(
                member.address.host,
                port=member.address.port,
                ssh_config=ssh_config,
                accept_new_host_key=accept_new_host_key,
            ),
        )
        for member in read_inventory(inventory, group=group)
    ]


def _print(results: "list[Result]", *, dry_run: bool) -> None:
    from edge.cli.output import print_table

    rows = [
        (
            item.name,
            "would be deployed" if dry_run and item.result == "deployed" else item.result,
            item.release or "-",
            f"{item.seconds:.1f} s",
        )
        for item in results
    ]
    print_table("fleet", ("device", "result", "release", "time"), rows, least=("time",))
    left = sum(item.result in ("failed", "not tried") for item in results)
    if left:
        say(f"{left} of {len(results)} devices are left; run the same command again to go on.")
