"""``edge logs``."""

from typing import Annotated

import typer

from edge.cli import host_options as hosts
from edge.cli import options as shared
from edge.runtime.streams import say

EPILOG = "Example: edge logs pi@raspberrypi.local --lines 50"


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
