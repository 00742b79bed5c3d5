"""``edge verify``."""

from pathlib import Path
from typing import Annotated

import typer

from edge.cli import options as shared

EPILOG = "Example: edge verify bundle --key release.pub"


def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle.", show_default=False)],
    key: Annotated[
        Path | None,
        typer.Option(
            help="Public key that must have signed it.  \\[default: ~/.config/edge/keys/edge.pub]",
            show_default=False,
        ),
    ] = None,
    json: shared.Json = False,
) -> None:
    """Check the signature of a bundle and the sha256 of all its files; exit code 1 if not whole."""
    from edge.cli.output import print_json
    from edge.deploy import signing
    from edge.deploy.keys import default_key, public_key

    found = signing.verify(bundle, public_key(key or default_key()))
    if json:
        print_json(found.to_json())
    elif found.problems:
        typer.echo(f"{bundle}: do not trust it")
    else:
        typer.echo(f"{bundle}: {found.files} files as listed, signed by {found.fingerprint}")
        if found.release is not None:
            boards = ", ".join(found.release.devices) or "any board"
            typer.echo(f"release {found.release.version} for {boards}")
        if found.taught:
            typer.echo("taught.npz, which the bundle was taught, is no part of the release")
    for problem in found.problems:
        typer.echo(f"error: {problem}", err=True)
    raise typer.Exit(1 if found.problems else 0)
