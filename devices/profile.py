"""What is known of a board: a profile, read from its TOML file."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from devices.table import Table
from edge.errors import UsageError
from edge.runtime import checked

FOLDER: Final = Path(__file__).parent
SCHEMA_VERSION: Final = 1
MICROCONTROLLER: Final = "microcontroller"
MACHINES: Final = ("aarch64", "x86_64", MICROCONTROLLER)
ENGINES: Final = ("litert", "tflite-runtime", "onnxruntime")
KINDS: Final = ("gpu", "npu", "tpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """An operating system of the board.

    Attributes:
        name: For people.
        python: Version of its ``python3``, such as ``3.11``.
        glibc: Version of its C library, such as ``2.36``.
        note: What has to be known before a deploy; may be empty.
    """

    name: str
    python: str
    glibc: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits of the self-test: far above what is usual, so that only a broken release fails.

    Attributes:
        latency_seconds: Median of one inference, at most.
        latency_reason: Why that much.
        memory_bytes: Resident memory of the runner, at most.
        memory_reason: Why that much.
    """

    latency_seconds: float
    latency_reason: str
    memory_bytes: int
    memory_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """A processor besides the CPU.

    Attributes:
        name: For people.
        kind: ``gpu``, ``npu`` or ``tpu``.
        detect: Names that ``edge.device.facts`` gives to it; any of them shows that it is there.
        delegate: Shared library of the TFLite delegate; empty where there is none.
        options: Of the delegate.
        packages: To install on the device, by the system's package manager.
        note: What has to be known to use it.
    """

    name: str
    kind: str
    detect: tuple[str, ...]
    delegate: str
    options: Mapping[str, str]
    packages: tuple[str, ...]
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where facts are documented in public: fields of the profile, and an address."""

    facts: tuple[str, ...]
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A board.

    Attributes:
        id: Name of the file without ``.toml``.
        name: For people.
        machine: ``aarch64``, ``x86_64``, or ``microcontroller``.
        cpu: Cores, clock and chip, for people.
        cores: Of the CPU; 0 where times are only estimated.
        memory_bytes: Of the smallest model of the board; 0 where times are only estimated.
        systems: Operating systems with their Python and glibc, the recommended one first.
        match: Beginnings of ``/proc/device-tree/model`` that mean this board.
        engine: Interpreter that is shipped, a key of ``edge.runtime.session.ENGINES``.
        avoid: Wheels and engines that do not work here, by name, with the reason.
        variant: Best model file of a bundle on this board.
        threads: CPU threads of one inference; 0 where times are only estimated.
        budget: Limits of the self-test; None where times are only estimated.
        accelerators: Besides the CPU.
        estimate_only: Configuration of Vela, such as ``ethos-u55-128``; None for a board that can
            be deployed to.
        sources: Of the facts.
        verified: What of this was ever run, and what not.
    """

    id: str
    name: str
    machine: str
    cpu: str
    cores: int
    memory_bytes: int
    systems: tuple[System, ...]
    match: tuple[str, ...]
    engine: str
    avoid: Mapping[str, str]
    variant: str
    threads: int
    budget: Budget | None
    accelerators: tuple[Accelerator, ...]
    estimate_only: str | None
    sources: tuple[Source, ...]
    verified: str

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file; the id is its name.

        Raises:
            UsageError: It cannot be read, or a field is missing, unknown or of no use.
        """
        try:
            value = checked.read_toml(path, finite=False)
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} cannot be read: {error}") from error
        top = Table(value, path.name)
        version = top.integer("schema_version")
        if version != SCHEMA_VERSION:
            top.fail("schema_version", f"is {version}; this edge reads {SCHEMA_VERSION}")
        machine = top.text("machine", among=MACHINES)
        computer = machine != MICROCONTROLLER
        found = cls(
            id=path.stem,
            name=top.text("name"),
            machine=machine,
            cpu=top.text("cpu"),
            cores=top.integer("cores") if computer else 0,
            memory_bytes=top.integer("memory_bytes") if computer else 0,
            systems=tuple(_system(item) for item in top.tables("systems")),
            match=top.texts("match"),
            engine=top.text("engine", among=ENGINES),
            avoid=top.mapping("avoid"),
            variant=top.text("variant"),
            threads=top.integer("threads") if computer else 0,
            budget=_budget(top.table("budget")) if computer else None,
            accelerators=tuple(_accelerator(item) for item in top.tables("accelerators")),
            estimate_only=None if computer else top.text("estimate_only"),
            sources=tuple(_source(item) for item in top.tables("sources")),
            verified=top.text("verified"),
        )
        top.end()
        if computer and not found.systems:
            top.fail("systems", "is missing; name at least one operating system")
        return found

    def to_json(self) -> dict[str, Any]:
        """The profile as JSON values, seconds and bytes."""
        return asdict(self)


def _system(table: Table) -> System:
    found = System(
        name=table.text("name"),
        python=table.text("python"),
        glibc=table.text("glibc"),
        note=table.text("note") if "note" in table else "",
    )
    table.end()
    return found


def _budget(table: Table) -> Budget:
    found = Budget(
        latency_seconds=table.number("latency_ms") / 1000,
        latency_reason=table.text("latency_reason"),
        memory_bytes=round(table.number("memory_mb") * 1e6),
        memory_reason=table.text("memory_reason"),
    )
    table.end()
    return found


def _accelerator(table: Table) -> Accelerator:
    found = Accelerator(
        name=table.text("name"),
        kind=table.text("kind", among=KINDS),
        detect=table.texts("detect"),
        delegate=table.text("delegate") if "delegate" in table else "",
        options=table.mapping("options"),
        packages=table.texts("packages"),
        note=table.text("note"),
    )
    table.end()
    return found


def _source(table: Table) -> Source:
    found = Source(facts=table.texts("facts", least=1), url=table.text("url"))
    table.end()
    return found


def _files() -> dict[str, Path]:
    """The files by id."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.toml"), key=lambda path: path.stem)}


def profiles() -> tuple[Profile, ...]:
    """Every board that edge ships, by id."""
    return tuple(Profile.read(path) for path in _files().values())


def profile(name: str) -> Profile:
    """The board of that id, or of a file of one's own.

    Args:
        name: An id, or a path that ends in ``.toml``.

    Raises:
        UsageError: No such board, or its file cannot be used.
    """
    if name.endswith(".toml"):
        return Profile.read(Path(name))
    known = _files()
    if name not in known:
        raise UsageError(
            f"no board {name!r}",
            hint=f"Known: {', '.join(known)}; or a file of your own, BOARD.toml.",
        )
    return Profile.read(known[name])
