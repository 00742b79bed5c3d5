"""Sign a bundle, and check one as a device does."""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from edge.deploy.keys import PublicKey, public_key, said
from edge.errors import (
    BundleAltered,
    BundleError,
    OutputError,
    SignatureError,
    UsageError,
    cause_of,
)
from edge.runtime import checked
from edge.runtime.bundle import MANIFEST_NAME, MAX_MANIFEST, Bundle, manifest_bytes
from edge.runtime.files import fsync_directory, write_bytes
from edge.runtime.output import TAUGHT_NAME
from edge.runtime.seal import (
    AGAIN,
    GONE,
    NAMESPACE,
    SIGNATURE_NAME,
    SINCE_BUILT,
    SINCE_SIGNED,
    altered,
    sealed_by,
    signer,
    ssh_keygen,
)
from edge.runtime.spec import SignedRelease
from edge.staging import locked
from edge.wording import counted


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
        BundleAltered: A file is altered, missing, or not listed: it is not signed.
        OutputError: The bundle cannot be written, or another run signs it.
        DeviceError: ssh-keygen is not installed.
    """
    Bundle.read(bundle)  # says what is wrong with a place that is no bundle
    seconds = int(time.time()) if version is None else version
    release = SignedRelease(version=seconds, devices=tuple(sorted(set(devices))))
    try:
        with locked(bundle, wait=False):
            _sign_as(bundle, key, release)
    except BlockingIOError as error:
        raise OutputError(
            f"another run signs {bundle}", hint="Run the command again when that has ended."
        ) from error
    return release


def _sign_as(bundle: Path, key: Path, release: SignedRelease) -> None:
    """State the release in the manifest and sign it, as the only run that does."""
    read = manifest_bytes(bundle)  # once: what is signed is what was checked
    opened = Bundle.parsed(bundle, read)
    if (bundle / SIGNATURE_NAME).is_file():
        sealed_by(bundle, read)  # no blessing for altered ones
    for problem in opened.problems():
        raise altered(
            f"{problem}, and only what the manifest lists can be signed", signed=opened.signed
        )
    manifest = bundle / MANIFEST_NAME
    # The manifest's own JSON, not our reading of it: fields of other versions stay.
    value = checked.parse_json(read, max_bytes=MAX_MANIFEST) | {"release": release.to_json()}
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
            hint="Make room, or check who may write there; then run the same command again.",
        ) from error


def _signature(content: bytes, key: Path) -> bytes:
    """Return an armored OpenSSH signature.

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


class Trust(StrEnum):
    """What the signature of a bundle says."""

    TRUSTED = "trusted"  # signed by the key that was asked for
    OTHER_KEY = "other key"  # whole, but signed by a key that was not asked for
    NO_KEY = "no key to check with"  # signed and whole, and no key was asked for
    UNSIGNED = "unsigned"
    ALTERED = "altered"  # the signature does not fit, is none, or is gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What became of a check of signature and files.

    Attributes:
        bundle: Folder that was checked.
        files: How many the manifest lists; 0 if it cannot be read.
        trust: What the signature says.
        fingerprint: The fingerprint of the key that signed; None if no signature holds.
        release: What the manifest states; None if it was never signed.
        altered: Why the bundle is not what was built or signed, one sentence each.
        key: Fingerprint of the key that was asked for; None if none was.
        taught: Whether it was taught something, which no signature covers.
        swept: How many files that Python had compiled were removed.
        unswept: Why others could not be removed, a clause; empty if none is left.
        digest: sha256 (hex) of the manifest that was checked.
    """

    bundle: Path
    files: int
    trust: Trust
    fingerprint: str | None
    release: SignedRelease | None
    altered: tuple[str, ...]
    key: str | None
    taught: bool = False
    swept: int = 0
    unswept: str = ""
    digest: str = ""

    @property
    def problems(self) -> tuple[str, ...]:
        """Why not to trust the bundle, one sentence each; empty if all that was asked holds."""
        reasons = list(self.altered)
        if self.altered:
            signed = self.trust is not Trust.UNSIGNED or self.release is not None
            reasons.append(SINCE_SIGNED if signed else SINCE_BUILT)
        if self.key is not None and self.trust is Trust.UNSIGNED:
            reasons.insert(0, f"the bundle is not signed: it has no {SIGNATURE_NAME}")
        if self.trust is Trust.OTHER_KEY:
            reasons.insert(0, f"no trusted key signed the bundle: {self.fingerprint} signed it")
        if self.unswept:
            reasons.append(self.unswept)
        return tuple(reasons)

    @property
    def refusal(self) -> BundleError | None:
        """The error of whoever needs a bundle that is whole and signed by the key asked for."""
        if self.altered:
            return BundleAltered("; ".join((self.altered[0], self.problems[-1])), hint=AGAIN)
        if self.trust is Trust.TRUSTED:
            return None
        if self.trust is Trust.UNSIGNED:
            hint = "Sign it: edge sign BUNDLE (edge keys new makes a key)."
        else:
            hint = f"Ask who gave it to you; yours is {self.key}. --key names another key."
        return SignatureError(self.problems[0], hint=hint)

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as JSON values."""
        return {
            "schema_version": 1,
            "bundle": str(self.bundle),
            "valid": not self.problems,
            "trust": str(self.trust),
            "altered": bool(self.altered),
            "files": self.files,
            "fingerprint": self.fingerprint,
            "release": None if self.release is None else self.release.to_json(),
            "problems": list(self.problems),
            "taught": self.taught,
            "swept": self.swept,
        }


def verify(bundle: Path, key: PublicKey | None, *, sweep: bool = False) -> Verification:
    """Check on the host what a device checks: signature, sha256 of all files, no others.

    Args:
        bundle: Folder of the bundle.
        key: Must have signed it; None to check only that it is what somebody signed, or, where
            nobody did, what was built.
        sweep: Whether to remove what Python compiled beside the runtime, if nothing else is wrong.
            Nobody signed that, and Python would run it in place of the sources; it is made again
            at the next run.

    Raises:
        UsageError: No bundle there.
        PackageMissing: It is signed, and ssh-keygen is not installed.
    """
    reasons: list[str] = []
    release, files = None, 0
    content = manifest_bytes(bundle)
    try:
        opened = Bundle.parsed(bundle, content)
    except BundleError as error:
        reasons.append(error.message)
    else:
        release, files = opened.manifest.release, len(opened.manifest.files)
        reasons += opened.problems()
        if opened.manifest.decoder is not None:
            try:
                opened.manifest.decoder.check()
            except BundleError as error:
                reasons.append(error.message)
    trust, fingerprint, why_not = _trust(bundle, content, key)
    if trust is Trust.UNSIGNED and release is not None:
        trust, why_not = Trust.ALTERED, GONE
    if trust is Trust.ALTERED:
        reasons.insert(0, why_not)
    # Where something else is wrong, all stays as it was found.
    swept, unswept = (0, "") if reasons or not sweep else _swept(Bundle.parsed(bundle, content))
    return Verification(
        bundle=bundle,
        files=files,
        trust=trust,
        fingerprint=fingerprint,
        release=release,
        altered=tuple(reasons),
        key=None if key is None else key.fingerprint,
        taught=(bundle / TAUGHT_NAME).is_file(),
        swept=swept,
        unswept=unswept,
        digest=hashlib.sha256(content).hexdigest(),
    )


def _swept(bundle: Bundle) -> tuple[int, str]:
    """Remove what Python compiled beside the runtime; how much, and why no more, a clause."""
    names = bundle.compiled()
    for index, name in enumerate(names):
        try:
            (bundle.path / name).unlink(missing_ok=True)
        except OSError as error:
            left = counted(len(names) - index, "file")
            return index, (
                f"{left} that Python compiled when the bundle ran, {name} the first, cannot be "
                f"removed ({cause_of(error)}): Python would run them in place of the sources, and "
                "nobody signed them. Let verify be run by whom they belong to"
            )
    return len(names), ""


def refuse_altered(bundle: Path) -> None:
    """Refuse a bundle that is not what was built or signed, by whomever.

    Raises:
        UsageError: No bundle there.
        BundleError: It is altered, or cannot be read.
    """
    verification = verify(bundle, None)
    if verification.altered and verification.refusal is not None:
        raise verification.refusal


def _trust(bundle: Path, manifest: bytes, key: PublicKey | None) -> tuple[Trust, str | None, str]:
    """Return what the signature says, whose it is, and why it does not fit where it does not.

    Raises:
        PackageMissing: ssh-keygen is not installed.
    """
    if not (bundle / SIGNATURE_NAME).is_file():
        return Trust.UNSIGNED, None, ""
    fingerprint, why_not = signer(bundle, manifest)
    if fingerprint is None:
        return Trust.ALTERED, None, why_not
    if key is None:
        return Trust.NO_KEY, fingerprint, ""
    return (Trust.TRUSTED if fingerprint == key.fingerprint else Trust.OTHER_KEY), fingerprint, ""
