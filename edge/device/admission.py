"""May this bundle run here? Decided on the device, from what the device itself holds.

The signature is OpenSSH's own (PROTOCOL.sshsig in its sources), checked by ``ssh-keygen``: every
device that is reached over ssh has it. Who may sign stands in an allowed signers file, whose
format is that of ssh-keygen(1).
"""

from pathlib import Path
from typing import Final

from edge.device.layout import App, root, signers
from edge.device.release import Release
from edge.device.state import State
from edge.errors import BundleError, ReleaseRefused, SignatureError
from edge.runtime import seal
from edge.runtime.bundle import MANIFEST_NAME, Bundle, manifest_bytes
from edge.runtime.files import write_bytes
from edge.runtime.seal import NAMESPACE, SIGNATURE_NAME, altered, reason, ssh_keygen
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
    """Return the type that this device was set up as; None where it never was."""
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
    """Return the files of a bundle that a device needs to run that variant, sorted.

    Raises:
        UsageError: The bundle has no such variant.
    """
    model = manifest.variant(variant).path
    left = {item.path for item in manifest.variants} - {model}
    paths = [
        path for path in manifest.files if path not in left and not path.startswith(_HOST_ONLY)
    ]
    return sorted([*paths, *UNLISTED])


def _check_files(folder: Path, bundle: Bundle, variant: str) -> None:
    """Check that what is needed is here as the signed manifest lists it, and nothing else."""
    wanted = shipped(bundle.manifest, variant)
    for listed in wanted:
        if listed not in UNLISTED:
            bundle.checked(listed)
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or (not path.is_dir() and name not in wanted):
            raise altered(f"the manifest does not list {name}", signed=True)


def _type() -> Path:
    return root() / "device"


UNTRUSTED: Final = (
    "Deploy what the device's own key signed; if the key was changed and you know why, add "
    "--provision, and the device trusts yours from then on."
)


def check_signature(bundle: Path, signers: Path, manifest: bytes | None = None) -> str:
    """Check that a trusted key signed the manifest, which holds the sha256 of each file.

    Args:
        bundle: Folder of the bundle.
        signers: OpenSSH allowed signers file.
        manifest: The manifest's bytes, as the caller goes on to use them; None to read them here.

    Returns:
        Fingerprint of the key that signed, such as ``SHA256:...``.

    Raises:
        SignatureError: Not signed, or not by a trusted key.
        BundleAltered: The manifest or its signature is not what was signed.
        BundleError: The manifest cannot be read.
        PackageMissing: ssh-keygen is not installed.
        DeviceError: It hangs.
    """
    manifest = manifest_bytes(bundle) if manifest is None else manifest
    signature = bundle / SIGNATURE_NAME
    if not signature.is_file():
        if Bundle.parsed(bundle, manifest).manifest.release is not None:
            raise seal.altered(seal.GONE, signed=True)
        raise SignatureError(
            f"the bundle is not signed: it has no {SIGNATURE_NAME}", hint="edge sign BUNDLE"
        )
    if not signers.is_file():
        raise SignatureError(f"no key is trusted: {signers} does not exist", hint=UNTRUSTED)
    files = ["-f", str(signers), "-s", str(signature)]
    principals = ssh_keygen(["-Y", "find-principals", *files], time_limit=seal.TIME_LIMIT)
    names = principals.stdout.decode(errors="replace").replace(",", "\n").split("\n")
    usable = [name for name in names if name and not name.startswith("!")]
    if principals.returncode != 0 or not usable:
        other = seal.sealed_by(bundle, manifest)
        raise SignatureError(f"no trusted key signed the bundle: {other} signed it", hint=UNTRUSTED)
    checked = ssh_keygen(
        ["-Y", "verify", *files, "-I", usable[0], "-n", NAMESPACE],
        stdin=manifest,
        time_limit=seal.TIME_LIMIT,
    )
    fingerprint = seal.fingerprint(checked)
    if fingerprint is None:
        what = f"the signature does not fit {MANIFEST_NAME} ({reason(checked)})"
        raise seal.altered(what, signed=True)
    return fingerprint
