"""Devices on this machine: a real sshd on loopback with a home, services and faults of its own.

Each connection gets an ``sshd -i`` on a socket that the fixture holds, so no port can be taken
in between, and a connection can be cut at any byte. Works as root and as any other user.
"""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.integration.connections import SSHD, Connections
from tests.integration.processes import TAG, kill_tagged, wait_for

MANAGER: Final = Path(__file__).with_name("service_manager.py")
SYSTEM: Final = ("/usr/local/bin", "/usr/bin", "/bin")
PROGRAMS: Final = ("systemctl", "loginctl", "journalctl")

# A key exchange that is cheap, and no start-up files of the shell of whoever runs the tests.
_SSHD_CONFIG: Final = """\
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
ForceCommand {folder}/session
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PermitUserRC no
LogLevel INFO
KexAlgorithms curve25519-sha256
SetEnv HOME={folder}/home
"""
_SSH_CONFIG: Final = """\
Host {name}
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentityFile {identity}
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  BatchMode yes
  ConnectTimeout 10
"""
_SESSION: Final = """\
#!/bin/sh
umask 0
cd '{home}' || exit 1
exec env -i {tag}='{folder}' HOME='{home}' USER='{user}' LOGNAME='{user}' SHELL=/bin/sh \\
  LANG=C.UTF-8 XDG_RUNTIME_DIR='{run}' PATH='{path}' SSH_CONNECTION="$SSH_CONNECTION" \\
  /bin/sh -c "$SSH_ORIGINAL_COMMAND"
"""


@dataclass(slots=True, kw_only=True)
class LoopbackDevice:
    """One device.

    Attributes:
        name: Alias in ``ssh_config``.
        folder: Of everything; its path is short, since sockets lie in it.
        connections: Its port on 127.0.0.1.
        path: Where programs are found there.
    """

    name: str
    folder: Path
    connections: Connections
    path: str = ""
    _manager: subprocess.Popen[bytes] | None = None

    @property
    def home(self) -> Path:
        """The home of the user on the device."""
        return self.folder / "home"

    @property
    def tools(self) -> Path:
        """First on the device's PATH; put more programs here."""
        return self.folder / "bin"

    @property
    def ssh_config(self) -> Path:
        """Of the client: ``ssh -F ssh_config NAME``."""
        return self.folder / "ssh_config"

    def ssh(self, command: str, **options: object) -> "subprocess.CompletedProcess[str]":
        """Run a command there, by ssh itself."""
        return subprocess.run(
            ["ssh", "-F", str(self.ssh_config), self.name, command],
            capture_output=True,
            text=True,
            timeout=60,
            **options,  # type: ignore[call-overload]
        )

    # What can go wrong.

    def cut_after(self, count: int, *, times: int = 1) -> None:
        """Reset the next connections when the client has sent so many bytes on each."""
        self.connections.cuts = [count] * times

    def turn_off(self) -> None:
        """Refuse connections, and stop everything that runs there, without warning."""
        self.connections.close()
        if self._manager is not None:
            self._manager.kill()
            self._manager.wait()
        wait_for(lambda: not kill_tagged(str(self.folder)), "a process of the device lives on")

    def turn_on(self) -> None:
        """Start the services that start at boot, and take connections at the same port."""
        shutil.rmtree(self.folder / "run", ignore_errors=True)
        (self.folder / "run").mkdir(mode=0o700)
        self._start_manager()
        self.connections.open()

    def reboot(self) -> None:
        """A power cut and a start; what programs wrote is kept, even if not yet on the disk."""
        self.turn_off()
        self.turn_on()

    def change_host_key(self) -> None:
        """Be another machine at the same address."""
        make_key(self.folder / "host_key")

    def forget_host_key(self) -> None:
        """The client meets this host for the first time."""
        (self.folder / "known_hosts").write_text("")

    def use_wrong_key(self) -> None:
        """The client has a key that the device does not know."""
        make_key(self.folder / "wrong")
        self._write_ssh_config(self.folder / "wrong")

    def add_program(self, name: str, script: str) -> None:
        """Put a shell script on the device's PATH, such as a ``vcgencmd`` with a known answer."""
        program = self.tools / name
        assert str(program) not in script, "it would call itself, without end"
        program.unlink(missing_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def remove_program(self, name: str) -> None:
        """Make a program not found there: every other one of this machine stays."""
        for folder in SYSTEM:
            for program in Path(folder).iterdir():
                if not (self.tools / program.name).exists():
                    (self.tools / program.name).symlink_to(program)
        (self.tools / name).unlink()
        self.path = str(self.tools)
        self._write_session()

    # How it is made.

    def prepare(self) -> None:
        """Keys, configurations and programs; then turn it on."""
        self.home.mkdir()
        # A python3 in its tools, without what is installed for this machine's own.
        venv.create(self.folder, symlinks=True, with_pip=False)
        self.path = ":".join(map(str, (self.tools, *SYSTEM)))
        make_key(self.folder / "host_key")
        make_key(self.folder / "identity")
        shutil.copy(self.folder / "identity.pub", self.folder / "authorized_keys")
        (self.folder / "sshd_config").write_text(_SSHD_CONFIG.format(folder=self.folder))
        for name in PROGRAMS:
            self.add_program(name, f"exec '{sys.executable}' -S '{MANAGER}' {name} \"$@\"")
        self._write_session()
        self.turn_on()
        host_key = (self.folder / "host_key.pub").read_text()
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.connections.port} {host_key}")
        self._write_ssh_config(self.folder / "identity")

    def _write_session(self) -> None:
        values = {"tag": TAG, "folder": self.folder, "home": self.home, "user": user()}
        text = _SESSION.format(**values, run=self.folder / "run", path=self.path)
        (self.folder / "session").write_text(text)
        (self.folder / "session").chmod(0o755)

    def _write_ssh_config(self, identity: Path) -> None:
        values = {
            "name": self.name,
            "port": self.connections.port,
            "user": user(),
            "folder": self.folder,
        }
        self.ssh_config.write_text(_SSH_CONFIG.format(**values, identity=identity))

    def _start_manager(self) -> None:
        environment = {
            TAG: str(self.folder),
            "HOME": str(self.home),
            "USER": user(),
            "LANG": "C.UTF-8",
            "XDG_RUNTIME_DIR": str(self.folder / "run"),
            "PATH": self.path,
        }
        # It ends with the tests, however they end; and what it runs ends with it.
        command = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-S", str(MANAGER), "daemon"]
        with (self.folder / "manager.log").open("ab") as log:
            self._manager = subprocess.Popen(command, env=environment, stderr=log)
        wait_for((self.folder / "run" / "manager.sock").exists, f"{self.folder}/manager.log")


def user() -> str:
    """Who runs the tests, and therefore the devices."""
    return pwd.getpwuid(os.getuid()).pw_name


def make_key(path: Path) -> None:
    """A key pair in the place of the one that is there."""
    for old in (path, path.with_name(path.name + ".pub")):
        old.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


def missing() -> str:
    """Why no device can be made on this machine; empty if one can."""
    if sys.platform != "linux":
        return "needs Linux"
    if SSHD is None or shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
        return "needs the OpenSSH client and server: apt-get install openssh-server"
    if pwd.getpwuid(os.getuid()).pw_shell.endswith(("nologin", "false")):
        return "needs a user who may log in"
    return ""


@contextmanager
def loopback_device(name: str = "pi") -> Iterator[LoopbackDevice]:
    """A device that is on, and gone with every process at the end."""
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd of root demands it; Debian makes it at boot
    with tempfile.TemporaryDirectory(prefix="edge-d-") as folder:
        port = Connections(Path(folder, "sshd_config"), Path(folder, "sshd.log"))
        device = LoopbackDevice(name=name, folder=Path(folder), connections=port)
        try:
            device.prepare()
            yield device
        finally:
            device.turn_off()


@pytest.fixture
def device() -> Iterator[LoopbackDevice]:
    """One device."""
    if missing():
        pytest.skip(missing())
    with loopback_device() as made:
        yield made


@pytest.fixture
def make_devices() -> Iterator[Callable[[int], list[LoopbackDevice]]]:
    """``make_devices(20)``: so many devices, ``pi-01`` and so on; one ``ssh_config`` knows all."""
    if missing():
        pytest.skip(missing())
    with ExitStack() as stack:

        def make(count: int) -> list[LoopbackDevice]:
            names = [f"pi-{number:02}" for number in range(1, count + 1)]
            made = [stack.enter_context(loopback_device(name)) for name in names]
            shared = "\n".join(device.ssh_config.read_text() for device in made)
            for device in made:
                device.ssh_config.write_text(shared)
            return made

        yield make
