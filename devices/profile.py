"""What is known of a board: a profile, read from its TOML file."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from edge import schema
from edge.errors import UsageError

FOLDER: Final = Path(__file__).parent
SCHEMA_VERSION: Final = 1
MICROCONTROLLER: Final = "microcontroller"
Machine = Literal["aarch64", "x86_64", "microcontroller"]
MACHINES: Final[tuple[str, ...]] = get_args(Machine)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingSystem:
    """An operating system that the board runs.

    Attributes:
        name: Its name, for people.
        python: The version of its ``python3``, such as ``3.11``.
        glibc: The version of its C library, such as ``2.36``.
        note: What has to be known before a deploy; may be empty.
    """

    name: schema.Text
    python: schema.Text
    glibc: schema.Text
    note: schema.Text = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits of the self-test: far above what is usual, so that only a broken release fails.

    Attributes:
        latency_seconds: The largest median time of one inference.
        latency_reason: Why the limit is that high.
        memory_bytes: The largest resident memory of the runner.
        memory_reason: Why the limit is that high.
    """

    latency_seconds: float
    latency_reason: str
    memory_bytes: int
    memory_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoredBudget:
    """A budget as the file has it: milliseconds, and units of 1,000,000 bytes."""

    latency_ms: schema.PositiveFloat
    latency_reason: schema.Text
    memory_mb: schema.PositiveFloat
    memory_reason: schema.Text

    def budget(self) -> Budget:
        return Budget(
            latency_seconds=self.latency_ms / 1000,
            latency_reason=self.latency_reason,
            memory_bytes=round(self.memory_mb * 1e6),
            memory_reason=self.memory_reason,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardAccelerator:
    """A processor of the board besides the CPU.

    Attributes:
        name: Its name, for people.
        kind: The kind of processor.
        detect: Names that ``edge.device.facts`` gives to it; any of them shows that it is there.
        delegate: The shared library of its TFLite delegate; empty where there is none.
        options: Options of the delegate.
        packages: What has to be installed on the device, by the system's package manager.
        note: What has to be known to use it.
    """

    name: schema.Text
    kind: Literal["gpu", "npu", "tpu"]
    detect: tuple[schema.Text, ...]
    delegate: schema.Text = ""
    options: Mapping[str, str]
    packages: tuple[schema.Text, ...]
    note: schema.Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """A public page that documents facts of a profile.

    Attributes:
        facts: Fields of the profile that the page states.
        url: Its address.
    """

    facts: Annotated[tuple[schema.Text, ...], schema.NOT_EMPTY]
    url: schema.Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A board.

    Attributes:
        id: The name of the file without ``.toml``.
        name: Its name, for people.
        machine: The architecture, or ``microcontroller`` for a board whose times can only be
            estimated.
        cpu: Cores, clock and chip, for people.
        cores: Cores of the CPU; 0 for a microcontroller.
        memory_bytes: Memory of the smallest model of the board; 0 for a microcontroller.
        systems: Operating systems with their Python and glibc, the recommended one first.
        match: Beginnings of ``/proc/device-tree/model`` that mean this board.
        engine: The interpreter that is shipped, a key of ``edge.runtime.session.ENGINES``.
        avoid: Wheels and engines that do not work here, by name, with the reason.
        variant: The best model file of a bundle on this board.
        threads: CPU threads of one inference; 0 for a microcontroller.
        budget: Limits of the self-test; None for a microcontroller.
        accelerators: Processors besides the CPU.
        estimate_only: Configuration of Vela, such as ``ethos-u55-128``, of a microcontroller;
            None for a board that can be deployed to.
        sources: Pages that document the facts.
        verified: What of this was ever run, and what was not.
    """

    id: str
    name: schema.Text
    machine: Machine
    cpu: schema.Text
    cores: schema.PositiveInt = 0
    memory_bytes: schema.PositiveInt = 0
    systems: tuple[OperatingSystem, ...] = ()
    match: tuple[schema.Text, ...]
    engine: Literal["litert", "tflite-runtime", "onnxruntime"]  # those of devices/locks
    avoid: Mapping[str, str]
    variant: schema.Text
    threads: schema.PositiveInt = 0
    budget: Annotated[Budget, schema.As(_StoredBudget, _StoredBudget.budget)] | None = None
    accelerators: tuple[BoardAccelerator, ...] = ()
    estimate_only: schema.Text | None = None
    sources: tuple[Citation, ...] = ()
    verified: schema.Text

    def __post_init__(self) -> None:
        of_computers = ("cores", "memory_bytes", "threads", "budget", "systems")
        computer = self.machine != MICROCONTROLLER
        needed = of_computers if computer else ("estimate_only",)
        for name in (*of_computers, "estimate_only"):
            if name in needed and not getattr(self, name):
                raise ValueError(f"{name} is missing; a board of {self.machine} needs it")
            if name not in needed and name != "systems" and getattr(self, name):
                raise ValueError(f"{name} is not allowed; a board of {self.machine} has none")

    def to_json(self) -> dict[str, Any]:
        """The profile as JSON values, in seconds and bytes."""
        return asdict(self)


def read_profile(path: Path) -> Profile:
    """Read the file of a board; the ID is its name.

    Raises:
        UsageError: It cannot be read, or a field is missing, unknown or not allowed.
    """
    return schema.read(
        Profile,
        path,
        "the profile",
        form="toml",
        version=SCHEMA_VERSION,
        given={"id": path.stem},
        hint="docs/devices.md says what each field means.",
    )


def _files() -> dict[str, Path]:
    """The files by id."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.toml"), key=lambda path: path.stem)}


def profiles() -> tuple[Profile, ...]:
    """Every board that edge ships, by id."""
    return tuple(read_profile(path) for path in _files().values())


def profile(name: str) -> Profile:
    """The board of that id, or of a file of one's own.

    Args:
        name: An id, or a path that ends in ``.toml``.

    Raises:
        UsageError: No such board, or its file cannot be used.
    """
    if name.endswith(".toml"):
        return read_profile(Path(name))
    known = _files()
    if name not in known:
        raise UsageError(
            f"no board {name!r}",
            hint=f"Known: {', '.join(known)}; or a file of your own, BOARD.toml.",
        )
    return read_profile(known[name])
