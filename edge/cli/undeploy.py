"""``edge undeploy``."""

from typing import Annotated

import typer

from edge.cli import host_options as hosts
from edge.cli import options as shared
from edge.runtime.streams import say

EPILOG = "Example: edge undeploy pi@raspberrypi.local"


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
