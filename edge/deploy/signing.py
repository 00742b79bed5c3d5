"""Sign a bundle, and check one as a device does."""

import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.deploy.keys import PublicKey, public_key, said
from edge.device.signature import NAMESPACE, SIGNATURE_NAME, check_signature, ssh_keygen
from edge.errors import BundleError, OutputError, UsageError
from edge.runtime.bundle import MANIFEST_NAME, Bundle
from edge.runtime.files import fsync_directory, write_bytes
from edge.runtime.head_spec import TAUGHT_NAME
from edge.runtime.spec import SignedRelease


def sign(
    bundle: Path, key: Path, devices: Sequence[str] = (), *, version: int | None = None
) -> SignedRelease:
    """State version and devices in the manifest and sign its bytes.

    A cut at any moment leaves a bundle that is not signed, or one that is: the old signature
    goes before the manifest changes, and the new one comes last.

    Args:
        bundle: Folder of the bundle; every file must be as its manifest says.
        key: Private key; ssh-keygen asks for its passphrase on the terminal.
        devices: Ids of the boards that may run it; none for any.
        version: Unix seconds; None for now. Devices refuse one that is older than what they run.

    Raises:
        UsageError: No bundle, or no usable key.
        BundleError: A file is altered, missing, or not listed: it is not signed.
        OutputError: The bundle cannot be written.
        DeviceError: ssh-keygen is not installed.
    """
    opened = Bundle.open(bundle)
    problems = unlisted_or_altered(opened)
    if problems:
        raise BundleError(
            f"{problems[0]}; only what the manifest lists can be signed",
            hint="Remove what was added, or build the bundle again.",
        )
    seconds = int(time.time()) if version is None else version
    release = SignedRelease(version=seconds, devices=tuple(sorted(set(devices))))
    manifest = bundle / MANIFEST_NAME
    # The manifest's own JSON, not our reading of it: fields of other versions stay.
    value = json.loads(manifest.read_text(encoding="utf-8")) | {"release": release.to_json()}
    content = (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
    signature = _signature(content, key)
    try:
        (bundle / SIGNATURE_NAME).unlink(missing_ok=True)
        fsync_directory(bundle)
        write_bytes(manifest, content)
        write_bytes(bundle / SIGNATURE_NAME, signature)
    except OSError as error:
        raise OutputError(
            f"{bundle} cannot be written: {error.strerror}",
            hint="A bundle that was signed before may not be now; sign it again.",
        ) from error
    return release


def _signature(content: bytes, key: Path) -> bytes:
    """An armored OpenSSH signature.

    Raises:
        UsageError: The key cannot be used.
    """
    if not key.is_file():
        raise UsageError(f"no signing key at {key}", hint="Make one with: edge keys new")
    public_key(key)
    result = ssh_keygen(["-Y", "sign", "-q", "-f", str(key), "-n", NAMESPACE], stdin=content)
    if result.returncode != 0 or not result.stdout.startswith(b"-----BEGIN SSH SIGNATURE"):
        raise UsageError(
            f"{key} cannot sign: {said(result.stderr)}",
            hint="Its mode must be 0600; a passphrase needs a terminal, or a key in ssh-agent.",
        )
    return result.stdout


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What became of a check of signature and files.

    Attributes:
        bundle: Folder that was checked.
        files: How many the manifest lists; 0 if it cannot be read.
        fingerprint: Of the key that signed; None if the signature does not hold.
        release: What the manifest states; None if it was never signed.
        problems: Why not to trust the bundle, one sentence each; empty if all is well.
        taught: Whether it was taught something, which no signature covers.
    """

    bundle: Path
    files: int
    fingerprint: str | None
    release: SignedRelease | None
    problems: tuple[str, ...]
    taught: bool = False

    def to_json(self) -> dict[str, Any]:
        """The verdict as JSON values."""
        return {
            "schema_version": 1,
            "bundle": str(self.bundle),
            "valid": not self.problems,
            "files": self.files,
            "fingerprint": self.fingerprint,
            "release": None if self.release is None else self.release.to_json(),
            "problems": list(self.problems),
            "taught": self.taught,
        }


def verify(bundle: Path, key: PublicKey) -> Verification:
    """Check on the host what a device checks: signature, sha256 of all files, no others.

    Raises:
        UsageError: No bundle there.
        DeviceError: ssh-keygen is not installed.
    """
    problems: list[str] = []
    fingerprint, manifest = None, None
    with tempfile.TemporaryDirectory(prefix="edge-verify-") as scratch:
        signers = Path(scratch) / "signers"
        signers.write_text(key.allowed_signer, encoding="ascii")
        try:
            fingerprint = check_signature(bundle, signers)
        except BundleError as error:
            problems.append(error.message)
    try:
        opened = Bundle.open(bundle)
    except BundleError as error:
        problems.append(error.message)
    else:
        manifest = opened.manifest
        problems += unlisted_or_altered(opened)
    return Verification(
        bundle=bundle,
        files=0 if manifest is None else len(manifest.files),
        fingerprint=fingerprint,
        release=None if manifest is None else manifest.release,
        problems=tuple(problems),
        taught=(bundle / TAUGHT_NAME).is_file(),
    )


def unlisted_or_altered(bundle: Bundle) -> tuple[str, ...]:
    """Why the files are not those of the manifest, one sentence each; empty if they are.

    A file that the manifest does not list counts: below ``runtime`` it would be imported. What a
    bundle with a head was taught is no part of the release, and does not count.
    """
    problems = []
    for relative in bundle.manifest.files:
        try:
            bundle.checked(relative)
        except BundleError as error:
            problems.append(error.message)
    allowed = {*bundle.manifest.files, MANIFEST_NAME, SIGNATURE_NAME}
    if bundle.manifest.head is not None and not (bundle.path / TAUGHT_NAME).is_symlink():
        allowed.add(TAUGHT_NAME)
    present = set(_names(bundle.path))
    problems += [f"the manifest does not list {name}" for name in sorted(present - allowed)]
    return tuple(problems)


def _names(folder: Path) -> list[str]:
    """Relative names of all files and links below a folder, with forward slashes."""
    found = []
    for directory, folders, files in os.walk(folder):
        links = [name for name in folders if Path(directory, name).is_symlink()]
        found += [Path(directory, name).relative_to(folder).as_posix() for name in files + links]
    return found
