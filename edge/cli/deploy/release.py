"""``edge status``, ``edge logs``, ``edge rollback`` and ``edge undeploy``."""

from typing import TYPE_CHECKING, Annotated

import typer

from edge.cli import options as shared
from edge.cli.deploy import options as hosts
from edge.cli.help import example
from edge.runtime.streams import say

if TYPE_CHECKING:
    from edge.device.messages import AppState


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

    The exit code is 1 if an application is not healthy, or if there is none.
    """
    from edge.cli.output import print_json
    from edge.deploy.deploy import states

    where = hosts.address(host, port, ssh_config, accept_new_host_key)
    reply = states(where, app)
    if json:
        print_json({"schema_version": 1, "host": host, **reply.to_json()})
    else:
        for state in reply.apps:
            _print_state(state, where.words)
        if not reply.apps:
            say(f"{host}: no application of edge is there")
    if not reply.apps or not all(state.healthy for state in reply.apps):
        raise typer.Exit(1)


def _print_state(state: "AppState", words: str) -> None:
    verdict = "healthy" if state.healthy else f"not healthy: {state.problem}"
    if state.on_trial:
        verdict += ", on trial"
    say(f"{state.app}: release {state.release} is {verdict}")
    bundle, health = state.bundle, state.health
    if bundle is not None:
        say(f"  {bundle.variant}, {bundle.engine}, CPU threads: {bundle.threads}")
        if bundle.live is not None:
            say(f"  {hosts.page_of(bundle.live)}; open it with: edge live {words}")
    if health is not None and health.seconds is not None:
        say(
            f"  one inference {health.seconds * 1e3:.1f} ms; {health.answered} pictures "
            f"answered, {health.failed} failed"
        )
    if state.damage:
        say(f"  {state.damage}")
    if state.last_good != state.release:
        say(f"  last good release: {state.last_good}")
    if state.reason:
        say(f"  last failure, of {state.failed_release}: {state.reason}")


@example("edge logs pi@raspberrypi.local --lines 50")
def logs(
    host: hosts.Host,
    app: hosts.App = None,
    lines: Annotated[
        int, typer.Option(help="Number of the last lines to show of each log.", min=1)
    ] = 20,
    port: hosts.Port = None,
    ssh_config: hosts.SshConfig = None,
    accept_new_host_key: hosts.AcceptNewHostKey = False,
    json: shared.Json = False,
) -> None:
    """Show what happened to the releases of a device and why, and what its service said."""
    from dataclasses import asdict
    from datetime import UTC, datetime

    from edge.cli.output import print_json
    from edge.deploy.deploy import logs as run

    name, told = run(hosts.address(host, port, ssh_config, accept_new_host_key), app, lines)
    if json:
        print_json({"schema_version": 1, "host": host, "app": name, **asdict(told)})
        return
    for event in told.events:
        at = datetime.fromtimestamp(event.at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        reason = f": {event.reason}" if event.reason else ""
        say(f"{at}  {event.event} {event.release}{reason}")
    if told.service:
        say("service:")
        print(told.service, end="")


@example('edge rollback pi@raspberrypi.local --reason "confuses foxes with dogs"')
def rollback(
    host: hosts.Host,
    app: hosts.App = None,
    reason: Annotated[
        str, typer.Option(help="Reason that is written down on the device.")
    ] = "asked for by hand",
    watch: hosts.Watch = hosts.WATCH_SECONDS,
    selftest_timeout: hosts.SelftestTimeout = hosts.SELFTEST_SECONDS,
    port: hosts.Port = None,
    ssh_config: hosts.SshConfig = None,
    accept_new_host_key: hosts.AcceptNewHostKey = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Go back to the release that was good before, after it has proved itself again."""
    from edge.cli.output import print_json
    from edge.cli.terminal import shown_progress
    from edge.deploy.deploy import roll_back

    name, done = roll_back(
        hosts.address(host, port, ssh_config, accept_new_host_key),
        app,
        reason=reason,
        watch_seconds=watch,
        selftest_seconds=selftest_timeout,
        progress=shown_progress(quiet=quiet),
    )
    if json:
        print_json(
            {
                "schema_version": 1,
                "host": host,
                "app": name,
                "release": done.release,
                "from": done.replaced,
                "health": done.health.to_json(),
            }
        )
    else:
        say(f"{host}: {name} {done.release} serves again, in place of {done.replaced}")


@example("edge undeploy pi@raspberrypi.local")
def undeploy(
    host: hosts.Host,
    app: hosts.App = None,
    delete_inbox: Annotated[
        bool,
        typer.Option(
            "--delete-inbox",
            help="Delete the pictures in the inbox too; without it they are a reason to refuse.",
        ),
    ] = False,
    port: hosts.Port = None,
    ssh_config: hosts.SshConfig = None,
    accept_new_host_key: hosts.AcceptNewHostKey = False,
    json: shared.Json = False,
) -> None:
    """Take an application off a device: its service, its releases and its wheels.

    Wheels that another application needs stay. So does the number of the highest version, so that
    no older bundle comes back unasked.
    """
    from edge.cli.output import print_json
    from edge.deploy.deploy import take_off

    name, environments = take_off(
        hosts.address(host, port, ssh_config, accept_new_host_key), app, delete_inbox=delete_inbox
    )
    if json:
        print_json({"schema_version": 1, "host": host, "app": name, "environments": environments})
    else:
        say(f"{host}: {name} is gone")
