"""May this bundle run here? Decided on the device, from what the device itself holds."""

import shutil
from pathlib import Path
from typing import Final

from edge.device.layout import App, root, signers
from edge.device.release import Release
from edge.device.signature import check_signature
from edge.device.state import State
from edge.errors import BundleError, ReleaseRefused, SignatureError
from edge.runtime.bundle import MANIFEST_NAME, Bundle, manifest_bytes
from edge.runtime.files import write_bytes
from edge.runtime.seal import SIGNATURE_NAME, altered
from edge.runtime.spec import Manifest, SignedRelease

UNLISTED: Final = (MANIFEST_NAME, SIGNATURE_NAME)  # they cannot list themselves
_HOST_ONLY: Final = ("source/", "report.", "recipe.json", "edge.lock")


def provision(key: str, device: str, *, again: bool) -> list[str]:
    """Trust a public key and be a device of that type, where nothing is trusted yet.

    Args:
        key: A line of ``allowed_signers``.
        device: Id of the profile.
        again: Replace what was set up before.

    Returns:
        What was set up, for people; empty if all was as it should be.
    """
    done = []
    root().mkdir(parents=True, exist_ok=True, mode=0o700)
    for place, text, what in ((signers(), key, "trusted key"), (_type(), device, "device type")):
        content = (text.strip() + "\n").encode()
        if not place.is_file() or (again and place.read_bytes() != content):
            write_bytes(place, content)
            done.append(what)
    return done


def device_type() -> str | None:
    """What this device was set up as."""
    return _type().read_text(encoding="utf-8").strip() if _type().is_file() else None


def admit(app: App, folder: Path, release: Release, *, allow_downgrade: bool) -> None:
    """Check an uploaded bundle, before any of its code runs.

    Raises:
        SignatureError: Not signed by a key that this device trusts.
        BundleError: A file is altered, missing or not listed.
        ReleaseRefused: Older than what ran here, or for another type of device.
    """
    manifest = manifest_bytes(folder)  # once: what was signed is what is used
    check_signature(folder, signers(), manifest)
    bundle = Bundle.parsed(folder, manifest)
    if bundle.digest != release.manifest_sha256:
        raise BundleError("the manifest is not the one that was announced (sha256 differs)")
    signed = bundle.manifest.release
    if signed is None:
        raise SignatureError("the manifest states no version", hint="Sign it with: edge sign")
    if signed.version != release.version:
        raise BundleError(f"the bundle has version {signed.version}, not {release.version}")
    here = device_type()
    if release.device != here:
        raise ReleaseRefused(
            f"this device was set up as {here}, and the release is for {release.device}",
            hint="Name its type with --device, or set it up anew with --provision.",
        )
    check_board(signed, release.device)
    if not allow_downgrade:
        check_version(app, signed.version)
    _check_files(folder, bundle, release.variant)


def check_version(app: App, version: int) -> None:
    """Refuse what is older than anything that was ever committed here.

    Raises:
        ReleaseRefused: It is, or a damaged state leaves that open.
    """
    highest = State.read(app).version
    if highest is None:
        raise ReleaseRefused(
            f"the state of {app.name} is damaged or lost, so that the highest version that ran "
            "here is not known; what serves goes on",
            hint="If you know that this bundle is no older than what was deployed here, add "
            "--allow-downgrade, once: the state is written anew with it.",
        )
    if version < highest:
        raise ReleaseRefused(
            f"the bundle is older (version {version}) than what ran here ({highest})",
            hint="Add --allow-downgrade if that is meant.",
        )


def check_board(signed: SignedRelease, board: str) -> None:
    """Refuse a bundle that was signed for other boards.

    Raises:
        ReleaseRefused: The id of the board is not among those it was signed for.
    """
    if signed.devices and board not in signed.devices:
        raise ReleaseRefused(
            f"the bundle is signed for {', '.join(signed.devices)}; this device is a {board}",
            hint="Take the bundle that is meant for this board, or another device; whoever has the "
            "key can sign it for this one: edge sign BUNDLE --device TYPE.",
        )


def shipped(manifest: Manifest, variant: str) -> list[str]:
    """The files of a bundle that a device needs to run that variant, sorted.

    Raises:
        UsageError: The bundle has no such variant.
    """
    model = manifest.variant(variant).path
    left = {item.path for item in manifest.variants} - {model}
    found = [
        path for path in manifest.files if path not in left and not path.startswith(_HOST_ONLY)
    ]
    return sorted([*found, *UNLISTED])


def _check_files(folder: Path, bundle: Bundle, variant: str) -> None:
    """What is needed is here and is what the signed manifest lists; nothing else is here."""
    wanted = shipped(bundle.manifest, variant)
    for listed in wanted:
        if listed not in UNLISTED:
            bundle.checked(listed)
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or (not path.is_dir() and name not in wanted):
            raise altered(f"the manifest does not list {name}", signed=True)


def make_room(folder: Path) -> None:
    """Take a folder away, whole or in part there, or whatever lies in its place."""
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
    else:
        folder.unlink(missing_ok=True)


def _type() -> Path:
    return root() / "device"
