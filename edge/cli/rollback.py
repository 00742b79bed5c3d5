"""``edge rollback``."""

from typing import Annotated

import typer

from edge.cli import host_options as hosts
from edge.cli import options as shared
from edge.runtime.streams import say

EPILOG = 'Example: edge rollback pi@raspberrypi.local --reason "confuses foxes with dogs"'


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
    from edge.cli.progress import shown_progress
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
