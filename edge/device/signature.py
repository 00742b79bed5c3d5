"""Did a key that this device trusts sign the manifest?

The signature is OpenSSH's own (PROTOCOL.sshsig in its sources), checked by ``ssh-keygen``: every
device that is reached over ssh has it. Who may sign stands in an allowed signers file, whose
format is that of ssh-keygen(1).
"""

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edge.errors import BundleError, DeviceError, SignatureError
from edge.runtime.bundle import MANIFEST_NAME

SIGNATURE_NAME: Final = f"{MANIFEST_NAME}.sig"
NAMESPACE: Final = "edge-manifest"
TIME_LIMIT: Final = 60.0  # seconds, of one call of ssh-keygen; a second on an emulated board
UNTRUSTED: Final = "Sign it with a key that this device knows: edge sign BUNDLE --key KEY"


def check_signature(bundle: Path, signers: Path) -> str:
    """Check that a trusted key signed the manifest, which holds the sha256 of each file.

    Args:
        bundle: Folder of the bundle.
        signers: OpenSSH allowed signers file.

    Returns:
        Fingerprint of the key that signed, such as ``SHA256:...``.

    Raises:
        SignatureError: Not signed, altered since, not by a trusted key, or not as a manifest.
        BundleError: The manifest cannot be read.
        DeviceError: ssh-keygen is not here, or hangs.
    """
    signature = bundle / SIGNATURE_NAME
    if not signature.is_file():
        raise SignatureError(
            f"the bundle is not signed: it has no {SIGNATURE_NAME}", hint="edge sign BUNDLE"
        )
    if not signers.is_file():
        raise SignatureError(f"no key is trusted: {signers} does not exist", hint=UNTRUSTED)
    try:
        manifest = (bundle / MANIFEST_NAME).read_bytes()
    except OSError as error:
        raise BundleError(f"{MANIFEST_NAME} cannot be read: {error.strerror}") from error
    files = ["-f", str(signers), "-s", str(signature)]
    principal = _principal(ssh_keygen(["-Y", "find-principals", *files], time_limit=TIME_LIMIT))
    checked = ssh_keygen(
        ["-Y", "verify", *files, "-I", principal, "-n", NAMESPACE],
        stdin=manifest,
        time_limit=TIME_LIMIT,
    )
    found = re.search(r"SHA256:[A-Za-z0-9+/]{43}", checked.stdout.decode(errors="replace"))
    if checked.returncode != 0 or found is None:
        raise SignatureError(
            f"the signature does not fit {MANIFEST_NAME}: {_reason(checked)}",
            hint="The bundle was altered after it was signed; build or copy it again, then sign.",
        )
    return found[0]


def ssh_keygen(
    arguments: Sequence[str], *, stdin: bytes = b"", time_limit: float | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run ssh-keygen; its exit code is the caller's to judge.

    Args:
        arguments: After the program's name.
        stdin: Its standard input. A passphrase is asked on the terminal, not here.
        time_limit: Seconds; None waits as long as a person takes.

    Raises:
        DeviceError: It is not installed, or takes longer.
    """
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
        raise DeviceError(
            "ssh-keygen is not installed here; signatures need it",
            hint="Install OpenSSH's client: sudo apt-get install openssh-client",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise DeviceError(
            f"ssh-keygen did not answer within {time_limit:g} s", hint="Try again."
        ) from error


def _principal(found: subprocess.CompletedProcess[bytes]) -> str:
    """The name under which the allowed signers file lists the key that signed."""
    names = found.stdout.decode(errors="replace").replace(",", "\n").split("\n")
    usable = [name for name in names if name and not name.startswith("!")]
    if found.returncode != 0 or not usable:
        raise SignatureError(f"no trusted key signed the bundle: {_reason(found)}", hint=UNTRUSTED)
    return usable[0]


def _reason(result: subprocess.CompletedProcess[bytes]) -> str:
    """What ssh-keygen said first; what follows only repeats that it failed."""
    lines = result.stderr.decode(errors="replace").split("\n")
    return lines[0].strip() or f"ssh-keygen exit code {result.returncode}"
