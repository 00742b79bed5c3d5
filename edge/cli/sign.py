"""``edge sign``."""

from pathlib import Path
from typing import Annotated

import typer

from edge.cli import keys
from edge.cli import options as shared
from edge.runtime.streams import say

EPILOG = "Example: edge sign bundle --device raspberry-pi-5"


def sign(
    bundle: Annotated[Path, typer.Argument(help="A bundle.", show_default=False)],
    key: keys.Key = None,
    device: Annotated[
        list[str] | None,
        typer.Option(
            help="Board that it is for (edge devices); may be repeated.  \\[default: any]",
            show_default=False,
        ),
    ] = None,
    json: shared.Json = False,
) -> None:
    """Sign a bundle: devices that know the key take it, and no older one after it."""
    from devices.profile import profile
    from edge.cli.output import print_json, quoted
    from edge.deploy import signing
    from edge.deploy.keys import default_key, public_key

    boards = [profile(name).id for name in device or ()]  # a misspelt board would refuse it
    private = key or default_key()
    release = signing.sign(bundle, private, boards)
    fingerprint = public_key(private).fingerprint
    if json:
        value = {"schema_version": 1, "bundle": str(bundle), "fingerprint": fingerprint}
        print_json(value | {"release": release.to_json()})
        return
    meant = ", ".join(release.devices) or "any board"
    say(f"{bundle}: release {release.version} for {meant}, signed by {fingerprint}")
    say(f"Next: edge deploy {quoted(bundle)} pi@raspberrypi.local")
