"""``edge status``, ``edge logs``, ``edge rollback`` and ``edge undeploy``."""

from typing import Annotated

import typer

from edge.cli import options as shared
from edge.cli.deploy import options as hosts
from edge.cli.help import example
from edge.runtime.streams import say


@example("edge status pi@raspberrypi.local --json")
def status(
    host: hosts.Host,
    app: hosts.App = None,
    port: hosts.Port = None,
    ssh_config: hosts.SshConfig = None,
    accept_new_host_key: hosts.AcceptNewHostKey = False,
    json: shared.Json = False,
) -> None:
    """Say which release serves on a device, whether it is healthy, and what failed last.

    Exit code 1 if one of them is not healthy, or if there is none.
    """
    from edge.cli.output import print_json
    from edge.deploy.deploy import states

    found = states(hosts.address(host, port, ssh_config, accept_new_host_key), app)
    if json:
        print_json({"schema_version": 1, "host": host, **found})
    else:
        for item in found["apps"]:
            _print_state(item)
        if not found["apps"]:
            say(f"{host}: no application of edge is there")
    if not found["apps"] or not all(item["healthy"] for item in found["apps"]):
        raise typer.Exit(1)


def _print_state(item: dict[str, object]) -> None:
    verdict = "healthy" if item["healthy"] else f"not healthy: {item['problem']}"
    if item["on_trial"]:
        verdict += ", on trial"
    say(f"{item['app']}: release {item['release']} is {verdict}")
    bundle, health = item.get("bundle"), item.get("health")
    if isinstance(bundle, dict):
        say(f"  {bundle['variant']}, {bundle['engine']}, CPU threads: {bundle['threads']}")
    if isinstance(health, dict):
        say(
            f"  one inference {health['seconds'] * 1e3:.1f} ms; {health['answered']} pictures "
            f"answered, {health['failed']} failed"
        )
    if item.get("damage"):
        say(f"  {item['damage']}")
    if item["last_good"] != item["release"]:
        say(f"  last good release: {item['last_good']}")
    if item["reason"]:
        say(f"  last failure, of {item['failed_release']}: {item['reason']}")


@example("edge logs pi@raspberrypi.local --lines 50")
def logs(
    host: hosts.Host,
    app: hosts.App = None,
    lines: Annotated[int, typer.Option(help="Of each, the last ones.", min=1)] = 20,
    port: hosts.Port = None,
    ssh_config: hosts.SshConfig = None,
    accept_new_host_key: hosts.AcceptNewHostKey = False,
    json: shared.Json = False,
) -> None:
    """Show what happened to the releases of a device and why, and what its service said."""
    from datetime import UTC, datetime

    from edge.cli.output import print_json
    from edge.deploy.deploy import logs as run

    found = run(hosts.address(host, port, ssh_config, accept_new_host_key), app, lines)
    if json:
        print_json({"schema_version": 1, "host": host, **found})
        return
    for event in found["events"]:
        at = datetime.fromtimestamp(event["at"], UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        reason = f": {event['reason']}" if event["reason"] else ""
        say(f"{at}  {event['event']} {event['release']}{reason}")
    if found["service"]:
        say("service:")
        print(found["service"], end="")


@example('edge rollback pi@raspberrypi.local --reason "confuses foxes with dogs"')
def rollback(
    host: hosts.Host,
    app: hosts.App = None,
    reason: Annotated[str, typer.Option(help="Written down on the device.")] = "asked for by hand",
    watch: hosts.Watch = 10.0,
    selftest_timeout: hosts.SelftestTimeout = 120.0,
    port: hosts.Port = None,
    ssh_config: hosts.SshConfig = None,
    accept_new_host_key: hosts.AcceptNewHostKey = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Go back to the release that was good before; it proves itself again first."""
    from edge.cli.output import print_json
    from edge.cli.terminal import shown_progress
    from edge.deploy.deploy import roll_back

    done = roll_back(
        hosts.address(host, port, ssh_config, accept_new_host_key),
        app,
        reason=reason,
        watch_seconds=watch,
        selftest_seconds=selftest_timeout,
        progress=shown_progress(quiet=quiet),
    )
    if json:
        print_json({"schema_version": 1, "host": host, **done})
    else:
        say(f"{host}: {done['app']} {done['release']} serves again, in place of {done['from']}")


@example("edge undeploy pi@raspberrypi.local")
def undeploy(
    host: hosts.Host,
    app: hosts.App = None,
    delete_inbox: Annotated[
        bool, typer.Option("--delete-inbox", help="Also what the inbox holds; refused without it.")
    ] = False,
    port: hosts.Port = None,
    ssh_config: hosts.SshConfig = None,
    accept_new_host_key: hosts.AcceptNewHostKey = False,
    json: shared.Json = False,
) -> None:
    """Take an application off a device: service, releases, and wheels that nothing else needs.

    The highest version stays, so that no older bundle comes back unasked.
    """
    from edge.cli.output import print_json
    from edge.deploy.deploy import take_off

    done = take_off(
        hosts.address(host, port, ssh_config, accept_new_host_key), app, delete_inbox=delete_inbox
    )
    if json:
        print_json({"schema_version": 1, "host": host, **done})
    else:
        say(f"{host}: {done['app']} is gone")
