"""``edge deploy --inventory``."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edge.runtime.streams import say

if TYPE_CHECKING:
    from edge.deploy.fleet import Result
    from edge.deploy.plan import Options


def to_many(
    bundle: Path,
    inventory: Path,
    options: "Options",
    *,
    ssh_config: Path | None,
    accept_new_host_key: bool,
    group: str | None,
    parallel: int,
    canary: int,
    wave: int | None,
    max_failures: int,
    dry_run: bool,
    json: bool,
    quiet: bool,
) -> None:
    """Deploy to the devices of an inventory; exit code 1 if one of them does not serve."""
    from dataclasses import replace

    from edge.cli.output import print_json
    from edge.cli.terminal import shown_progress
    from edge.deploy.deploy import deploy
    from edge.deploy.fleet import Member, read_inventory, roll_out
    from edge.deploy.plan import checked_bundle, make_plan
    from edge.deploy.ssh import Address, Remote
    from edge.progress import Silent

    members = [
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
    checked = checked_bundle(bundle, options.key)

    def one(member: Member) -> tuple[str, bool]:
        with Remote(member.address) as remote:
            plan = make_plan(checked, remote, member.options(options), Silent())
            if dry_run:
                return plan.release.id, True
            outcome = deploy(remote, plan, Silent())
            return outcome.release, outcome.changed

    results = roll_out(
        members,
        one,
        shown_progress(quiet=quiet),
        parallel=parallel,
        canary=canary,
        wave=wave,
        max_failures=max_failures,
    )
    if json:
        print_json({"schema_version": 1, "devices": [item.to_json() for item in results]})
    else:
        _print(results, dry_run=dry_run)
    if any(item.result in ("failed", "not tried") for item in results):
        raise typer.Exit(1)


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
