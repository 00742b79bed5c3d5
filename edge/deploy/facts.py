"""What a device says of itself, on the host: ``edge.device.facts`` sent there, its answer read."""

import sys
import time
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

from edge.deploy.ssh import Remote
from edge.errors import DeviceError
from edge.processes import Flood, Silence, run
from edge.runtime.checked import Malformed, parse_json
from edge.runtime.printable import one_line
from edge.runtime.typed import Mistyped, typed

SCHEMA_VERSION: Final = 1
SECONDS: Final = 180.0  # twelve probes, most of them quick, and Python's start on a slow board
NOT_FOUND: Final = 127  # POSIX: what a shell answers when there is no such command

# -I: no module of the current folder or of PYTHONPATH; -B: nothing written.
PROBE: Final = "command -v python3 >/dev/null 2>&1 || exit 127; exec python3 -I -B -"
IDENTITY: Final = "uname -m; uname -r; cat /proc/device-tree/model 2>/dev/null"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Instruction set of the kernel, bits of Python's pointers, CPUs, page size, board."""

    name: str
    kernel: str
    bits: int
    cores: int
    page_bytes: int
    model: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """``/etc/os-release``: id and version for programs, name for people."""

    id: str
    version: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Python:
    """``python3`` of the login, and other Pythons that run there: version by path."""

    version: str
    path: str
    others: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Libraries:
    """Version of glibc, None with another C library; whether shared libraries can be loaded."""

    glibc: str | None
    found: Mapping[str, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes, as /proc/meminfo counts them."""

    total_bytes: int
    available_bytes: int
    swap_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The file system of the user's home; 0 inodes where it has no fixed number of them."""

    path: str
    total_bytes: int
    free_bytes: int
    inodes: int
    free_inodes: int
    writable: bool
    noexec: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Unix seconds there, seconds since boot, whether it follows a server (None: unknown)."""

    unix_seconds: float
    uptime_seconds: float
    synchronized: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """Governors, degrees Celsius of the hottest sensor, bits of ``vcgencmd get_throttled``."""

    governors: tuple[str, ...]
    temperature_c: float | None
    throttled: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cameras:
    """What could give pictures.

    Attributes:
        libcamera: The sensors that libcamera lists.
        video: The devices of Video4Linux, each with its name.
        capture: The paths of those that give pictures.
        forbidden: The paths of those that the login may not open.
        program: The path of the program that reads sensors of libcamera; None where it is missing.
        group: Whether the running manager of the user's services is in the group video; None where
            there is no such group, or no manager runs.
        listed: Whether the user is in that group from the next start of the manager on.
    """

    libcamera: tuple[str, ...]
    video: tuple[str, ...]
    capture: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()
    program: str | None = None
    group: bool | None = None
    listed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """An accelerator, and what showed it."""

    name: str
    shown_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """The login: its rights, systemd's manager of its services, paths of tools (None: missing)."""

    name: str
    root: bool
    systemd: bool
    manager: bool
    linger: bool | None
    sudo: bool
    tools: Mapping[str, str | None]
    uid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledApp:
    """An application: its current release, all releases, what is broken, what was left over.

    Attributes:
        state: The bytes of ``state.json`` in base64; None where there is none, empty where it
            cannot be read.
        highest: The bytes of ``highest-version``, likewise.
    """

    current: str | None
    releases: tuple[str, ...]
    state: str | None
    highest: str | None
    problems: tuple[str, ...]
    leftovers: tuple[str, ...]

    def damage(self) -> str | None:
        """Return why the device refuses every new release of it; None where it does not."""
        from edge.device.state import judged  # the rule by which it does

        releases = bool(self.releases)
        return judged(_bytes(self.state), _bytes(self.highest), releases=releases)[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """edge's folder there: control code, trusted keys, type, environments, applications.

    Attributes:
        unsafe: Why the folder is not the user's alone: a deploy refuses it.
        exposed: What other users have rights to: the next deploy takes them away.
    """

    root: str
    control: str | None
    problems: tuple[str, ...]
    signers: bool
    device: str | None
    environments: tuple[str, ...]
    apps: Mapping[str, InstalledApp]
    unsafe: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A device's answer; None where a probe failed, whose reason is in ``errors``.

    Attributes:
        clock_skew_seconds: Device less host, as far as the time of the call leaves no doubt;
            None where it was not compared.
    """

    schema_version: int
    clock: Clock | None
    machine: Machine | None
    system: System | None
    python: Python | None
    libraries: Libraries | None
    memory: Memory | None
    disk: Disk | None
    processor: Processor | None
    cameras: Cameras | None
    accelerators: tuple[Shown, ...] | None
    user: User | None
    installed: Installed | None
    errors: Mapping[str, str]
    clock_skew_seconds: float | None = None

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read what ``edge.device.facts`` prints.

        Raises:
            DeviceError: It is something else.
        """
        try:
            facts = typed(cls, value, "facts", exact=True)
        except Mistyped as error:
            raise DeviceError(f"the device's answer makes no sense: {error}") from error
        if facts.schema_version != SCHEMA_VERSION:
            raise DeviceError(f"the device's facts have schema_version {facts.schema_version}")
        return facts

    def to_json(self) -> dict[str, Any]:
        """Return the facts as JSON values."""
        return asdict(self)


def _bytes(text: str | None) -> bytes | None:
    try:
        return None if text is None else b64decode(text, validate=True)
    except ValueError:
        return b""


def gather(remote: Remote) -> Facts:
    """Ask a device. One without ``python3`` gives facts of which most are None.

    Raises:
        ConnectionFailed: It cannot be reached.
        DeviceError: Its answer makes no sense.
    """
    script = _script()
    before = time.time()
    done = remote.run(PROBE, stdin=script, timeout=SECONDS)
    after = time.time()
    if done.code == NOT_FOUND:
        return without_python(remote.run(IDENTITY).stdout.decode(errors="replace"))
    return answered(done.stdout, done.stderr.decode(errors="replace"), before, after)


def gather_here() -> Facts:
    """Ask this machine, by the Python that runs edge.

    Raises:
        DeviceError: Its answer makes no sense.
    """
    before = time.time()
    try:
        done = run([sys.executable, "-I", "-B", "-"], stdin=_script(), timeout=SECONDS)
    except (Flood, Silence) as error:
        raise DeviceError(f"this machine {str(error) or 'gave no answer'}") from error
    return answered(done.stdout, done.stderr.decode(errors="replace"), before, time.time())


def _script() -> bytes:
    import edge.device

    return (Path(edge.device.__file__).parent / "facts.py").read_bytes()


def answered(stdout: bytes, stderr: str, before: float, after: float) -> Facts:
    """Return the facts out of what a device wrote; a login script may have written before them.

    Args:
        stdout: Its last line is the answer.
        stderr: Shown where there is none.
        before: Unix seconds of this machine when it was asked.
        after: And when it had answered.

    Raises:
        DeviceError: There is no answer, or one that makes no sense.
    """
    lines = stdout.decode(errors="replace").strip().splitlines()
    try:
        value = parse_json(lines[-1], "the answer")
    except (IndexError, Malformed):
        said = (stderr.strip().splitlines() or lines or ["nothing"])[-1]
        raise DeviceError(
            f"the device's python3 did not answer; it said: {one_line(said, 200)}",
            hint="Try there: python3 -c 'print(1)'",
        ) from None
    facts = Facts.from_json(value)
    if facts.clock is None:
        return facts
    there = facts.clock.unix_seconds
    return replace(facts, clock_skew_seconds=max(there - after, min(0.0, there - before)))


def without_python(said: str) -> Facts:
    """Return what is known of a device that has no ``python3``: the lines of ``IDENTITY``."""
    name, kernel, model, *_ = [*said.split("\n"), "", "", ""]
    shown = {"clock", "system", "python", "libraries", "memory", "disk", "processor"}
    shown |= {"cameras", "accelerators", "user", "installed"}
    machine = Machine(
        name=name,
        kernel=kernel,
        bits=0,
        cores=0,
        page_bytes=0,
        model=model.strip("\0\n") or None,
    )
    missing: dict[str, Any] = dict.fromkeys(shown)
    return Facts(
        schema_version=SCHEMA_VERSION,
        machine=machine,
        errors={"python": "there is no python3"},
        **missing,
    )
