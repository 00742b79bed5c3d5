"""Keys of whoever releases bundles: OpenSSH's, ed25519."""

import base64
import binascii
import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from edge.errors import OutputError, UsageError
from edge.runtime.files import beside, fsync_directory
from edge.runtime.seal import NAMESPACE, ssh_keygen

KEY_TYPE: Final = "ssh-ed25519"
PRINCIPAL: Final = "edge"  # the name that our lines of an allowed signers file give every key


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """The public half of a signing key.

    Attributes:
        line: Key type and base64 blob, as in a ``.pub`` file, without its comment.
    """

    line: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what a ``.pub`` file holds.

        Raises:
            UsageError: Not one public key, or not ed25519.
        """
        kind, _, rest = text.strip().partition(" ")
        blob = rest.split(" ")[0]
        wrong = f"that is no public key of type {KEY_TYPE}"
        hint = "Give the .pub file that edge keys new wrote; edge keys show prints it."
        try:
            content = base64.b64decode(blob, validate=True)
        except binascii.Error as error:
            raise UsageError(wrong, hint=hint) from error
        # The blob starts with its type, as a length and the characters (RFC 4253, section 6.6).
        header = len(KEY_TYPE).to_bytes(4) + KEY_TYPE.encode()
        if kind != KEY_TYPE or "\n" in text.strip() or not content.startswith(header):
            raise UsageError(wrong, hint=hint)
        return cls(line=f"{kind} {blob}")

    @property
    def fingerprint(self) -> str:
        """sha256 of the blob as OpenSSH prints it, such as ``SHA256:...``."""
        digest = hashlib.sha256(base64.b64decode(self.line.partition(" ")[2])).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    @property
    def allowed_signer(self) -> str:
        """The line of an allowed signers file that trusts this key with manifests, ended."""
        return f'{PRINCIPAL} namespaces="{NAMESPACE}" {self.line}\n'


def default_key() -> Path:
    """Return the private key that commands use by default (XDG base directory specification)."""
    config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(config) / "edge" / "keys" / "edge"


def new_key(path: Path, *, passphrase: bool = False) -> PublicKey:
    """Make a key pair: ``path``, for its owner only, and ``path`` with ``.pub``.

    Args:
        path: The path of the private key; nothing may be there.
        passphrase: ssh-keygen asks for one on the terminal; else the key has none.

    Raises:
        OutputError: Something is there already, or the place cannot be written.
        DeviceError: ssh-keygen is not installed.
    """
    public = _public_path(path)
    for taken in (path, public):
        if taken.exists() or taken.is_symlink():
            raise OutputError(
                f"{taken} exists; a key is never overwritten",
                hint="Choose another --output, or move the old key away if nothing trusts it.",
            )
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.parent == default_key().parent:
            path.parent.chmod(0o700)  # ours; a folder that was named is its owner's matter
        scratch = beside(path)
        scratch.mkdir(mode=0o700)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        return _generated(scratch / "key", path, passphrase=passphrase)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _generated(made: Path, path: Path, *, passphrase: bool) -> PublicKey:
    """Make a key pair in a folder of its own, and link it to its names: never over another."""
    given = [] if passphrase else ["-N", ""]
    result = ssh_keygen(["-q", "-t", "ed25519", "-C", "edge signing key", "-f", str(made), *given])
    if result.returncode != 0:
        raise OutputError(
            f"ssh-keygen made no key: {said(result.stderr)}",
            hint="Run it in a terminal if you want a passphrase.",
        )
    try:
        public = PublicKey.parse(_public_path(made).read_text(encoding="utf-8"))
        os.link(made, path)
        os.link(_public_path(made), _public_path(path))
        fsync_directory(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    return public


def public_key(path: Path) -> PublicKey:
    """Return the public key in a ``.pub`` file, or beside a private key.

    Raises:
        UsageError: There is none.
    """
    file = path if path.suffix == ".pub" else _public_path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"no public key at {file}", hint="Make one with: edge keys new, or name it with --key"
        ) from error
    return PublicKey.parse(text)


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path} cannot be written: {error.strerror}", hint="Choose another --output."
    )


def said(stderr: bytes) -> str:
    """Return the last line of what ssh-keygen printed."""
    lines = stderr.decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it gave no reason"


def _public_path(path: Path) -> Path:
    """Return ssh-keygen's name for the public half."""
    return path.with_name(path.name + ".pub")
