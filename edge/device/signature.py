"""Did a key that this device trusts sign the manifest?

The signature is OpenSSH's own (PROTOCOL.sshsig in its sources), checked by ``ssh-keygen``: every
device that is reached over ssh has it. Who may sign stands in an allowed signers file, whose
format is that of ssh-keygen(1).
"""

from pathlib import Path
from typing import Final

from edge.errors import SignatureError
from edge.runtime import seal
from edge.runtime.bundle import MANIFEST_NAME, Bundle, manifest_bytes
from edge.runtime.seal import NAMESPACE, SIGNATURE_NAME, reason, ssh_keygen

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
    found = ssh_keygen(["-Y", "find-principals", *files], time_limit=seal.TIME_LIMIT)
    names = found.stdout.decode(errors="replace").replace(",", "\n").split("\n")
    usable = [name for name in names if name and not name.startswith("!")]
    if found.returncode != 0 or not usable:
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
