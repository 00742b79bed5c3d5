"""``edge keys``, ``edge sign`` and ``edge verify``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge.cli import options as shared
from edge.cli.deploy import options as hosts
from edge.cli.help import Application, example
from edge.runtime.streams import say
from edge.wording import counted

if TYPE_CHECKING:
    from edge.deploy.keys import PublicKey
    from edge.deploy.signing import Verification

keys = Application(help="Keys that sign bundles.", no_args_is_help=True)


@keys.callback()
def root() -> None:
    """Make and show the keys that sign bundles: OpenSSH's, ed25519."""


@keys.command()
@example("edge keys new --passphrase")
def new(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File of the private key; the file of the public one gets .pub.  "
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
    _print_key(path, new_key(path, passphrase=passphrase), json=json)
    if not json:
        say("Keep the private key: only with it can a device get a newer release.")
        say("Next: edge sign BUNDLE")


@keys.command()
@example("edge keys show")
def show(key: hosts.Key = None, json: shared.Json = False) -> None:
    """Print a public key and its fingerprint; the private key is not read."""
    from edge.deploy.keys import default_key, public_key

    path = key or default_key()
    _print_key(path, public_key(path), json=json)


def _print_key(path: Path, found: "PublicKey", *, json: bool) -> None:
    from edge.cli.output import print_json

    if json:
        value = {"schema_version": 1, "path": str(path)}
        print_json(value | {"public_key": found.line, "fingerprint": found.fingerprint})
    else:
        say(f"{path}: {found.fingerprint}")
        say(found.line)


@example("edge sign bundle --device raspberry-pi-5")
def sign(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.", show_default=False)],
    key: hosts.Key = None,
    device: Annotated[
        list[str] | None,
        typer.Option(
            help="Name of a board that it is for (edge devices lists them); may be repeated.  "
            "\\[default: any board]",
            show_default=False,
        ),
    ] = None,
    json: shared.Json = False,
) -> None:
    """Sign a bundle: devices that know the key take it, and no older bundle after it."""
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


@example("edge verify bundle --key release.pub")
def verify(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.", show_default=False)],
    key: Annotated[
        Path | None,
        typer.Option(
            help="File of the public key that must have signed it.  \\[default: "
            "~/.config/edge/keys/edge.pub, if it is there]",
            show_default=False,
        ),
    ] = None,
    json: shared.Json = False,
) -> None:
    """Check the sha256 of all files of a bundle, and its signature if there is a key.

    The exit code is 0 if the files are those of the manifest and no others, and the key signed
    them; without a key (--key, or the default one) only the files are checked, which says nothing
    of who made them. It is 1 if the bundle was altered, or the key did not sign it, and 2 if there
    is no such bundle or key. What Python compiled when the bundle ran is removed: nobody signed it.
    """
    from edge.cli.output import print_json
    from edge.deploy import signing
    from edge.deploy.keys import default_key, public_key

    known = key is not None or default_key().with_suffix(".pub").exists()
    found = signing.verify(bundle, public_key(key or default_key()) if known else None, sweep=True)
    if json:
        print_json(found.to_json())
    else:
        _print_verification(found)
    for problem in found.problems:
        say(f"error: {problem}", err=True)
    raise typer.Exit(1 if found.problems else 0)


def _print_verification(found: "Verification") -> None:
    if found.swept:
        say(
            f"removed {counted(found.swept, 'file')} from where Python keeps what it compiles when "
            "a bundle runs: nobody signed that, and Python runs it in place of the sources"
        )
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
