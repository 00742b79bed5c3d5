"""Is a signed bundle what was signed? Asked whenever one is opened; whom to trust is not asked.

The signature is OpenSSH's own (PROTOCOL.sshsig in its sources) and holds the key that made it, so
that ``ssh-keygen`` can tell without a list of keys whether it fits. ``edge.device.admission`` asks
further whether the key is one to trust.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge.errors import BundleAltered, DeviceError, PackageMissing

if TYPE_CHECKING:
    import subprocess

SIGNATURE_NAME: Final = "manifest.json.sig"
NAMESPACE: Final = "edge-manifest"
# Environment variable: sha256 of the manifest of a bundle whose self-test passed on this device.
PROVED: Final = "EDGE_PROVED"
TIME_LIMIT: Final = 60.0  # seconds, of one call of ssh-keygen; a second on an emulated board
GONE: Final = f"the manifest states a release and has no {SIGNATURE_NAME}"
SINCE_SIGNED: Final = "the bundle was altered since it was signed: do not deploy it"
SINCE_BUILT: Final = "the bundle was altered since it was built: do not use it"
AGAIN: Final = "It was edited or damaged: copy it from where it is whole, or build it again."


def altered(what: str, *, signed: bool) -> BundleAltered:
    """Return the error of a bundle that is not what was built or signed.

    Args:
        what: Was found, a clause.
        signed: Whether the bundle says that it was signed.
    """
    return BundleAltered(f"{what}; {SINCE_SIGNED if signed else SINCE_BUILT}", hint=AGAIN)


def sealed_by(bundle: Path, manifest: bytes) -> str:
    """Return the fingerprint of the key that signed these bytes, such as ``SHA256:...``.

    Args:
        bundle: Folder that holds a signature.
        manifest: Its manifest's bytes.

    Raises:
        BundleAltered: The signature does not fit the bytes, or is none.
        PackageMissing: ssh-keygen is not installed.
        DeviceError: It hangs.
    """
    key, why_not = signer(bundle, manifest)
    if key is None:
        raise altered(why_not, signed=True)
    return key


def signer(bundle: Path, manifest: bytes) -> tuple[str | None, str]:
    """Do as ``sealed_by``; where the signature does not fit, return None and the reason."""
    arguments = ["-Y", "check-novalidate", "-n", NAMESPACE, "-s", str(bundle / SIGNATURE_NAME)]
    checked = ssh_keygen(arguments, stdin=manifest, time_limit=TIME_LIMIT)
    return fingerprint(checked), f"the signature does not fit manifest.json ({reason(checked)})"


def fingerprint(result: "subprocess.CompletedProcess[bytes]") -> str | None:
    """Return what a check of a signature says of the key.

    It is None where the signature does not hold.
    """
    match = re.search(r"SHA256:[A-Za-z0-9+/]{43}", result.stdout.decode(errors="replace"))
    return match[0] if match and result.returncode == 0 else None


def reason(result: "subprocess.CompletedProcess[bytes]") -> str:
    """Return what ssh-keygen said first; what follows only repeats that it failed."""
    lines = result.stderr.decode(errors="replace").split("\n")
    return lines[0].strip() or f"ssh-keygen exit code {result.returncode}"


def ssh_keygen(
    arguments: Sequence[str], *, stdin: bytes = b"", time_limit: float | None = None
) -> "subprocess.CompletedProcess[bytes]":
    """Run ssh-keygen; its exit code is the caller's to judge.

    Args:
        arguments: After the program's name.
        stdin: Its standard input. A passphrase is asked on the terminal, not here.
        time_limit: Seconds; None waits as long as a person takes.

    Raises:
        PackageMissing: It is not installed.
        DeviceError: It takes longer.
    """
    import subprocess  # costs the device a fifth of its start, and most bundles are not signed

    try:
        return subprocess.run(
            ["ssh-keygen", *arguments],
            input=stdin,
            capture_output=True,
            timeout=time_limit,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
    except FileNotFoundError as error:
        raise PackageMissing(
            "ssh-keygen is not installed here; signatures need it",
            hint="Install OpenSSH's client: sudo apt-get install openssh-client",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise DeviceError(
            f"ssh-keygen did not answer within {time_limit:g} s", hint="Try again."
        ) from error
