"""An emulated 64-bit Arm machine with Debian: real systemd, real sshd, real reboots.

What a power cut here is: qemu is killed between two instructions of the guest. What the guest
had written to its disk and flushed (fsync, journal commits) is kept. What only its page cache
held is gone, which is what most often goes wrong on a real device. Of what it had written and not
flushed, parts may be kept and parts not, in any order, since qcow2 keeps its tables in memory
until a flush. Not simulated: sectors written in half, a disk that lies about flushes, and SD
cards whose own tables break.

Speed here says nothing about a real board: one inference takes a second.
"""

import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edge.runtime.files import beside
from tests.device.image import Image, locked
from tests.device.qmp import Qmp
from tests.device.root import HOSTNAME, USER

MEMORY: Final = "1024"  # MiB
_BOOT: Final = 300.0  # seconds; a minute on an idle host
# Of a Raspberry Pi 4 and 5. qemu's cortex-a72 has AES and SHA, which a Pi 4 lacks.
_CPU: Final = {"bookworm": "cortex-a72", "trixie": "cortex-a76"}
_SSH_CONFIG: Final = """\
Host {user}
  HostName 127.0.0.1
  Port {port}
  User {user}
  HostKeyAlias {hostname}
  IdentityFile {identity}
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  BatchMode yes
  ConnectTimeout 60
  KexAlgorithms curve25519-sha256
"""


@dataclass(slots=True)
class Machine:
    """A machine with a disk of its own.

    Attributes:
        image: What the disk is based on.
        folder: Of the disk, the console's log and the ssh configuration.
    """

    image: Image
    folder: Path
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _control: Qmp | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Its alias in ``ssh_config``."""
        return USER

    @property
    def ssh_config(self) -> Path:
        """Of the client; right again after each start."""
        return self.folder / "ssh_config"

    @property
    def disk(self) -> Path:
        """What this machine wrote, over what it started from."""
        return self.folder / "disk.qcow2"

    @property
    def console(self) -> Path:
        """What the kernel and systemd printed since the last start."""
        return self.folder / "console.log"

    @property
    def control(self) -> Qmp:
        """Of the running qemu."""
        assert self._control is not None, "the machine is off"
        return self._control

    def ssh(
        self, command: str, *, stdin: bytes = b"", timeout: float = 120
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run a command there, by ssh itself, over one connection that ends with the machine.

        A new connection takes seconds there.
        """
        done: subprocess.CompletedProcess[bytes] = subprocess.run(
            [*self._shared_ssh(), command], input=stdin, capture_output=True, timeout=timeout
        )
        return done

    def _shared_ssh(self) -> list[str]:
        shared = ["-o", "ControlMaster=auto", "-o", f"ControlPath={self.folder}/ssh"]
        shared += ["-o", "ControlPersist=yes"]
        return ["ssh", "-F", str(self.ssh_config), *shared, self.name]

    def send(self, folder: Path, place: str) -> None:
        """Copy what lies in a folder to a new folder of the home there."""
        packed = ["tar", "--directory", str(folder), "--create", "."]
        unpack = f"mkdir -p {place} && tar --directory {place} --extract"
        with subprocess.Popen(packed, stdout=subprocess.PIPE) as tar:
            subprocess.run([*self._shared_ssh(), unpack], stdin=tar.stdout, check=True, timeout=600)

    def boot(self, *, set_clock: bool = True) -> None:
        """Switch on and wait until ssh lets in; a minute or two.

        Args:
            set_clock: To the host's time; else it starts in the past, like a Pi without network.
        """
        self._start([])
        self._wait_for_ssh()
        if set_clock:
            self.set_clock(time.time())

    def resume(self, state: Path) -> None:
        """Go on from a state of memory that was kept; some seconds."""
        self._start(["-incoming", f"exec:cat {shlex.quote(str(state))}"])
        self._wait_for_ssh()
        self.set_clock(time.time())

    def set_clock(self, unix_seconds: float) -> None:
        """Set the clock of the machine."""
        assert self.ssh(f"sudo date -s @{unix_seconds:.0f}").returncode == 0

    def power_cut(self) -> None:
        """Stop without warning; see the module for what is lost."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def shut_down(self) -> None:
        """Switch off in order, as ``poweroff`` does it."""
        self.ssh("sudo systemctl poweroff")
        if self._process is not None:
            self._process.wait(timeout=_BOOT)
        self.power_cut()

    def keep(self, state: Path) -> None:
        """Write the memory to a file and stop; the disk stays as it is at that moment."""
        self.control.execute("migrate", uri=f"exec:cat > {shlex.quote(str(state))}")
        while (found := self.control.execute("query-migrate"))["status"] != "completed":
            assert found["status"] not in ("failed", "cancelled"), found
            time.sleep(0.1)
        with suppress(RuntimeError, OSError):
            self.control.execute("quit")
        if self._process is not None:
            self._process.wait(timeout=60)
        self.power_cut()

    def _start(self, more: list[str]) -> None:
        assert self._process is None, "the machine is on already"
        socket = self.folder / "qmp"
        socket.unlink(missing_ok=True)
        network = f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:22"
        # It ends with the tests, however they end.
        command = ["setpriv", "--pdeathsig", "KILL", "qemu-system-aarch64"]
        command += ["-M", "virt", "-cpu", _CPU[self.image.suite]]
        command += ["-smp", "2", "-m", MEMORY, "-accel", "tcg,thread=multi,tb-size=256"]
        command += ["-kernel", str(self.image.kernel), "-initrd", str(self.image.initrd)]
        command += ["-append", "console=ttyAMA0 quiet loglevel=3 systemd.show_status=1"]
        # Every flush of the guest is one of the host: what it synced is there after a kill.
        command += ["-drive", f"file={self.disk},if=none,id=disk,cache=writeback"]
        command += ["-device", "virtio-blk-pci,drive=disk", "-netdev", network]
        command += ["-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci"]
        command += ["-display", "none", "-serial", f"file:{self.console}"]
        command += ["-qmp", f"unix:{socket},server=on,wait=off", *more]
        with (self.folder / "qemu.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log)
        self._control = Qmp(socket)
        listed = self.control.execute("human-monitor-command", **{"command-line": "info usernet"})
        match = re.search(r"HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)", listed)
        assert match is not None, listed
        self.port = int(match[1])
        self._write_ssh_config()

    def _write_ssh_config(self) -> None:
        kind, key, *_ = self.image.host_key.with_suffix(".pub").read_text().split()
        (self.folder / "known_hosts").write_text(f"{HOSTNAME} {kind} {key}\n")
        values = {"user": USER, "port": self.port, "hostname": HOSTNAME, "folder": self.folder}
        text = _SSH_CONFIG.format(**values, identity=self.image.identity)
        self.ssh_config.write_text(text)

    def _wait_for_ssh(self) -> None:
        end = time.monotonic() + _BOOT
        while True:
            with suppress(subprocess.TimeoutExpired):
                if self.ssh("true", timeout=90).returncode == 0:
                    return
            assert self._process is not None and self._process.poll() is None, self._said()
            assert time.monotonic() < end, f"no ssh: {self._said()}"
            time.sleep(0.3)

    def _said(self) -> str:
        files = (self.folder / "qemu.log", self.console)
        return "\n".join(file.read_text(errors="replace")[-2000:] for file in files)


def booted(image: Image) -> Path:
    """A folder with the disk and the memory of a machine that has just booted; made once."""
    folder = image.folder.with_name(f"{image.folder.name}-booted")
    with locked(folder.with_suffix(".lock")):
        if not folder.is_dir():
            scratch = beside(folder)
            scratch.mkdir()
            machine = Machine(image, scratch)
            try:
                overlay(image.disk, "raw", machine.disk)
                machine.boot()
                machine.ssh("systemctl is-system-running --wait", timeout=_BOOT)
                machine.ssh("sudo depmod")  # no arm64 program ran when the disk was made
                machine.ssh("sync")
                machine.keep(scratch / "memory")
                scratch.rename(folder)
            finally:
                machine.power_cut()
                shutil.rmtree(scratch, ignore_errors=True)
    return folder


@contextmanager
def running(image: Image, kept: Path | None = None) -> Iterator[Machine]:
    """A machine that has just booted, with a fresh disk; gone at the end.

    Args:
        image: What it is based on.
        kept: A folder with the disk and the memory of another moment, to go on from there.
    """
    kept = kept or booted(image)
    with tempfile.TemporaryDirectory(prefix="edge-vm-") as folder:
        machine = Machine(image, Path(folder))
        overlay(kept / "disk.qcow2", "qcow2", machine.disk)
        try:
            machine.resume(kept / "memory")
            yield machine
        finally:
            machine.power_cut()


def overlay(base: Path, base_format: str, disk: Path) -> None:
    """A disk that reads from ``base`` what was not written to it; the base never changes."""
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(base), "-F", base_format]
    subprocess.run([*command, str(disk)], check=True)
