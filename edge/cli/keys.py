"""``edge keys``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge.cli import options as shared
from edge.cli.help import Application
from edge.runtime.streams import say

if TYPE_CHECKING:
    from edge.deploy.keys import PublicKey

app = Application(help="Keys that sign bundles.", no_args_is_help=True)

Key = Annotated[
    Path | None,
    typer.Option(
        "--key", help="Private key.  \\[default: ~/.config/edge/keys/edge]", show_default=False
    ),
]


@app.callback()
def root() -> None:
    """Make and show the keys that sign bundles: OpenSSH's, ed25519."""


@app.command(epilog="Example: edge keys new --passphrase")
def new(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File of the private key; the public one gets .pub.  "
            "\\[default: ~/.config/edge/keys/edge]",
            show_default=False,
        ),
    ] = None,
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help="Ask for a passphrase on the terminal.")
    ] = False,
    json: shared.Json = False,
) -> None:
    """Make a key pair that signs bundles; one that exists is never overwritten."""
    from edge.deploy.keys import default_key, new_key

    path = output or default_key()
    _print(path, new_key(path, passphrase=passphrase), json=json)
    if not json:
        say("Keep the private key: only with it can a device get a newer release.")
        say("Next: edge sign BUNDLE")


@app.command(epilog="Example: edge keys show")
def show(key: Key = None, json: shared.Json = False) -> None:
    """Print a public key and its fingerprint; the private key is not read."""
    from edge.deploy.keys import default_key, public_key

    path = key or default_key()
    _print(path, public_key(path), json=json)


def _print(path: Path, found: "PublicKey", *, json: bool) -> None:
    from edge.cli.output import print_json

    if json:
        value = {"schema_version": 1, "path": str(path)}
        print_json(value | {"public_key": found.line, "fingerprint": found.fingerprint})
    else:
        say(f"{path}: {found.fingerprint}")
        say(found.line)
