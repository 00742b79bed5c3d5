"""``edge verify``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge.cli import options as shared
from edge.runtime.streams import say

if TYPE_CHECKING:
    from edge.deploy.signing import Verification

EPILOG = "Example: edge verify bundle --key release.pub"


def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle.", show_default=False)],
    key: Annotated[
        Path | None,
        typer.Option(
            help="Public key that must have signed it.  \\[default: ~/.config/edge/keys/edge.pub, "
            "if it is there]",
            show_default=False,
        ),
    ] = None,
    json: shared.Json = False,
) -> None:
    """Check the sha256 of all files of a bundle, and its signature if there is a key.

    Exit code 0: the files are those of the manifest and no others, and the key signed it; without
    a key (--key, or the default one) the files alone, which says nothing of who made them. Exit
    code 1: the bundle was altered, or the key did not sign it. Exit code 2: there is no such
    bundle or key.
    """
    from edge.cli.output import print_json
    from edge.deploy import signing
    from edge.deploy.keys import default_key, public_key

    known = key is not None or default_key().with_suffix(".pub").exists()
    found = signing.verify(bundle, public_key(key or default_key()) if known else None)
    if json:
        print_json(found.to_json())
    else:
        _print(found)
    for problem in found.problems:
        say(f"error: {problem}", err=True)
    raise typer.Exit(1 if found.problems else 0)


def _print(found: "Verification") -> None:
    if found.problems:
        say(f"{found.bundle}: do not trust it")
        return
    said = {
        "trusted": f"signed by {found.fingerprint}",
        "no key to check with": f"signed by {found.fingerprint}, a key that is not here: nothing "
        "says whose it is; --key names the public key to check with",
        "unsigned": "not signed: nothing says who made it",
    }
    say(f"{found.bundle}: {found.files} files as listed, {said[found.trust]}")
    if found.release is not None:
        boards = ", ".join(found.release.devices) or "any board"
        say(f"release {found.release.version} for {boards}")
    if found.taught:
        say("taught.npz, which the bundle was taught, is no part of the release")
