"""OpenSSH, with the user's own configuration: one connection, commands through it.

The command text is always a constant of this project; what belongs to the user travels on
standard input. Host keys are checked by OpenSSH itself, and nobody is asked anything.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from edge import processes
from edge.errors import ConnectionFailed, DeviceError, OutputError, PackageMissing, UsageError
from edge.processes import MOST, Completed, Flood, Silence
from edge.runtime.printable import one_line, shell_word

CONNECT_SECONDS: Final = 20
_SSH: Final = "ssh"
LONGEST: Final = 1000  # characters of a sentence of a device
_SHORT: Final = 50  # bytes
_SSH_FAILED: Final = 255  # ssh's own exit code; a remote command may use it as well

# What OpenSSH says -> what to do about it.
_HINTS: Final = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|Host key for .* has changed",
        "Its host key changed: another machine answers, or it was installed anew. If you know "
        "why, remove the old key with ssh-keygen -R HOST.",
    ),
    (
        r"Host key verification failed|No .* host key is known",
        "Compare the fingerprint with the device's own (ssh-keygen -lf "
        "/etc/ssh/ssh_host_ed25519_key.pub), then add --accept-new-host-key.",
    ),
    (r"Permission denied", "Put your public key there: ssh-copy-id USER@HOST."),
    (r"Could not resolve hostname", "Check the name, or use the device's address."),
    (
        r"Connection timed out|Operation timed out|No route to host|Network is unreachable",
        "Check that the device is on, and on this network.",
    ),
    (r"Connection refused", "Nothing listens there: is ssh enabled, is --port right?"),
    (r"Bad configuration|no such identity|Can't open user config", "Check the ssh configuration."),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a device is, as OpenSSH takes it.

    Attributes:
        host: Name, address, or alias of the ssh configuration; perhaps with ``user@``.
        port: None for the configuration's.
        ssh_config: None for the user's own.
        accept_new_host_key: Trust a host that was never seen; a changed key is always refused.
    """

    host: str
    port: int | None = None
    ssh_config: Path | None = None
    accept_new_host_key: bool = False

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        port: int | None = None,
        ssh_config: Path | None = None,
        accept_new_host_key: bool = False,
    ) -> Self:
        """Check ``[USER@]HOST``.

        Raises:
            UsageError: Not such a text (it could pass for an option of ssh), or no such file.
        """
        if not re.fullmatch(r"(?:[A-Za-z0-9_][\w.+-]*@)?[A-Za-z0-9_\[:][\w.:\[\]%-]*", text):
            raise UsageError(
                f"{text!r} is no address of a device",
                hint="Expected: [USER@]HOST, as ssh takes it.",
            )
        if ssh_config is not None and not ssh_config.is_file():
            raise UsageError(f"no ssh configuration at {ssh_config}")
        return cls(
            host=text,
            port=port,
            # Absolute: ssh is also run in other folders, by the workers of a benchmark.
            ssh_config=None if ssh_config is None else ssh_config.absolute(),
            accept_new_host_key=accept_new_host_key,
        )

    @property
    def words(self) -> str:
        """How a command line of edge names it."""
        port = "" if self.port is None else f" --port {self.port}"
        config = (
            "" if self.ssh_config is None else f" --ssh-config {shell_word(str(self.ssh_config))}"
        )
        return f"{self.host}{port}{config}"

    def options(self) -> list[str]:
        """Return the options of ssh for every call."""
        checking = "accept-new" if self.accept_new_host_key else "yes"
        options = ["-T", "-o", "BatchMode=yes", "-o", f"StrictHostKeyChecking={checking}"]
        options += ["-o", f"ConnectTimeout={CONNECT_SECONDS}"]
        # A connection that died is noticed within a minute instead of never.
        options += ["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4"]
        if self.ssh_config is not None:
            options += ["-F", str(self.ssh_config)]
        if self.port is not None:
            options += ["-p", str(self.port)]
        return options


class Remote:
    """One connection to a device, shared by all commands inside the ``with`` block."""

    def __init__(self, address: Address) -> None:
        if shutil.which(_SSH) is None:
            raise PackageMissing(
                "there is no ssh on this machine", hint="Install the OpenSSH client."
            )
        self.address = address
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        # A socket's path may have 100 bytes, of which ssh takes some for a name of its own.
        folder = tempfile.gettempdir()
        short = folder if len(folder) <= _SHORT else "/tmp"
        try:
            self._folder = tempfile.TemporaryDirectory(prefix="edge-ssh-", dir=short)
        except OSError as error:
            raise OutputError(
                f"a connection needs a folder of its own in {short}: {error.strerror}",
                hint=f"Set TMPDIR to a writable folder whose path has at most {_SHORT} characters.",
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is None:
            return
        if self._socket.exists():
            subprocess.run(
                self.command(control=("-O", "exit")), capture_output=True, timeout=10, check=False
            )
        self._folder.cleanup()
        self._folder = None

    @property
    def _socket(self) -> Path:
        assert self._folder is not None, "Remote is used within its with block"
        return Path(self._folder.name) / "s"

    def command(self, *remote: str, control: Sequence[str] = ()) -> list[str]:
        """Return the local command that runs ``remote`` (a constant text) on the device."""
        shared = ["-o", "ControlMaster=auto", "-o", f"ControlPath={self._socket}"]
        shared += ["-o", "ControlPersist=60"]
        ssh = [_SSH, *self.address.options(), *shared, *control]
        return [*ssh, "--", self.address.host, *remote]

    def run(
        self, command: str, *, stdin: bytes = b"", timeout: float = 60.0, most: int = MOST
    ) -> Completed:
        """Run a command to its end.

        Args:
            command: A constant text for the device's login shell; data goes to ``stdin``.
            stdin: What it reads.
            timeout: Seconds.
            most: Bytes of its answer.

        Raises:
            ConnectionFailed: No connection, not let in, an unknown or changed host key, no answer
                within the time.
            DeviceError: It answers without an end.
        """
        try:
            done = processes.run(self.command(command), stdin=stdin, timeout=timeout, most=most)
        except Silence as error:
            raise ConnectionFailed(
                f"{self.address.host} gave no answer within {timeout:.0f} s",
                hint="It may hang, or the network may be slow; try again.",
            ) from error
        except Flood as error:
            raise flood(self.address, error) from error
        if done.code == _SSH_FAILED:
            raise failure(self.address, done.stderr.decode(errors="replace"))
        return done


def flood(address: Address, error: Flood) -> DeviceError:
    """Return the error for a device that says more than anybody asked for."""
    return DeviceError(
        f"{address.host} {error}",
        hint="Something there writes what no edge does: look at its login scripts, or set the "
        "device up anew.",
    )


def failure(address: Address, stderr: str) -> ConnectionFailed:
    """Return what OpenSSH said, as the error that users see."""
    lines = [line.strip("\r @") for line in stderr.splitlines()]
    lines = [line for line in lines if line and not line.startswith("Warning: Permanently added")]
    hint = next((way for pattern, way in _HINTS if re.search(pattern, stderr)), "")
    said = one_line(lines[-1], LONGEST) if lines else "the connection ended without a word"
    if "Host key verification failed" in stderr or "host key is known" in stderr:
        shown = re.findall(r"SHA256:[A-Za-z0-9+/]{43}", stderr) or _fingerprints(address)
        said += f" Its key is {shown[0]}." if shown else ""
    return ConnectionFailed(f"{address.host}: {said}", hint=hint or "Try: ssh -v HOST true.")


def _fingerprints(address: Address) -> list[str]:
    """Return the fingerprints of the host key that a device shows; empty where none can be had."""
    try:
        seen = _output([_SSH, *address.options(), "-G", "--", address.host])
        told = dict(line.partition(" ")[::2] for line in seen.splitlines())
        keys = _output(
            ["ssh-keyscan", "-T", "5", "-t", "ed25519", "-p", told["port"], told["hostname"]]
        )
        listed = _output(["ssh-keygen", "-l", "-f", "-"], stdin=keys)
    except (OSError, KeyError, Flood, Silence):
        return []
    return [word for word in listed.split() if word.startswith("SHA256:")]


def _output(command: Sequence[str], *, stdin: str = "") -> str:
    done = processes.run(command, stdin=stdin.encode(), timeout=15)
    return done.stdout.decode(errors="replace")
