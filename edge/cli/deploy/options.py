"""Options of the commands that talk to devices."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edge.deploy.ssh import Address

Host = Annotated[
    str,
    typer.Argument(
        metavar="[USER@]HOST",
        help="The device, as ssh takes it: a name, an address, or an alias of your configuration.",
        show_default=False,
    ),
]
Port = Annotated[
    int | None,
    typer.Option(help="Of ssh.  \\[default: your configuration's]", min=1, max=65535),
]
SshConfig = Annotated[
    Path | None,
    typer.Option(
        help="Configuration of ssh to use instead of your own.", show_default=False, metavar="FILE"
    ),
]
AcceptNewHostKey = Annotated[
    bool,
    typer.Option(
        "--accept-new-host-key",
        help="Trust a device that was never seen before. A changed key is always refused.",
    ),
]
App = Annotated[
    str | None,
    typer.Option(
        help="Application on the device.  \\[default: the only one there]", show_default=False
    ),
]
Watch = Annotated[float, typer.Option(help="Seconds of health to see before the commit.", min=0)]
SelftestTimeout = Annotated[
    float, typer.Option(help="Seconds until a self-test counts as hanging.", min=1)
]
Offline = Annotated[bool, typer.Option("--offline", help="Take wheels from the cache only.")]


Key = Annotated[
    Path | None,
    typer.Option(
        "--key", help="Private key.  \\[default: ~/.config/edge/keys/edge]", show_default=False
    ),
]


def address(
    host: str, port: int | None, ssh_config: Path | None, accept_new_host_key: bool
) -> "Address":
    """Where the device is; see ``Address.parse``."""
    from edge.deploy.ssh import Address

    return Address.parse(
        host, port=port, ssh_config=ssh_config, accept_new_host_key=accept_new_host_key
    )
