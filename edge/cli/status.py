"""``edge status``."""

import typer

from edge.cli import host_options as hosts
from edge.cli import options as shared
from edge.runtime.streams import say

EPILOG = "Example: edge status pi@raspberrypi.local --json"


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
            _print(item)
        if not found["apps"]:
            say(f"{host}: no application of edge is there")
    if not found["apps"] or not all(item["healthy"] for item in found["apps"]):
        raise typer.Exit(1)


def _print(item: dict[str, object]) -> None:
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
