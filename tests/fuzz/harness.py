"""Runs hostile files through commands: what must never happen, and what each kind of file took."""

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from random import Random
from shutil import rmtree
from typing import Any, Final, Self

from tests.fuzz.mutation import Mutate

ROOT: Final = Path(__file__).parents[2]
CODES: Final = (0, 1, 2, 3, 4)
KILL_BYTES: Final = 3 << 30
# Between these lines docs/reliability.md has the table that the run writes.
BEGIN, END = "<!-- fuzz: begin -->", "<!-- fuzz: end -->"
HEAD: Final = (
    "| kind of file | cases | refused | answered | CPU s | s | MB | faults |",
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
)
MOST_READ: Final = 4 << 20  # bytes of an output
STEERING: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # no new line, no tab
# Words that say that edge did not expect what happened.
UNEXPECTED: Final = ("Traceback (most recent call last)", "bug of edge", "error: unexpected")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command of edge, or of the device, on one hostile file.

    Attributes:
        entry: Function that an entry point names, ``module:function``.
        words: Its ``sys.argv``.
        stdin: File for its standard input, in the case's folder; None for nothing.
        environment: Variables on top of the usual ones.
        codes: Exit codes that it may end with.
    """

    entry: str
    words: Sequence[str]
    stdin: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    codes: Sequence[int] = CODES


def edge(*words: object) -> Command:
    """``edge WORDS`` on the host."""
    return Command(entry="edge.cli.app:main", words=("edge", *map(str, words)))


def runtime(*words: object) -> Command:
    """``python -m edge.runtime WORDS`` on the device."""
    return Command(entry="edge.runtime.command_line:main", words=("edge.runtime", *map(str, words)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of file that somebody else may have made.

    Attributes:
        name: For people, and of the cases.
        seeds: Makes whole files.
        mutate: Makes a hostile one of them.
        place: Puts it into an empty folder, with whatever it needs around it; the commands that
            read it there, of which each case runs one.
        imports: Modules that the commands import sooner or later; only for speed.
        seconds: Of wall time, after which a command counts as stuck.
        grown_mb: By which a process may grow.
        planted: Hostile files that broke something once, always tried.
        on_device: Whether the commands are those that a host runs on a device, whose package lies
            in a folder of the device's own.
    """

    name: str
    seeds: Callable[[], Sequence[bytes]]
    mutate: Mutate
    place: Callable[[Path, bytes], Sequence[Command]]
    imports: Sequence[str] = ()
    seconds: float = 30.0
    grown_mb: int = 400
    planted: Callable[[], Sequence[bytes]] = tuple
    on_device: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended.

    Attributes:
        kind: Of the file.
        number: Of the case.
        words: The command.
        code: Exit code; negative for a signal.
        seconds: Wall time.
        cpu_seconds: Of the process and its children.
        grown_bytes: Peak of the resident memory of the process, less what it started with.
        fault: What must not happen; empty where all is well.
    """

    kind: str
    number: int
    words: Sequence[str]
    code: int
    seconds: float
    cpu_seconds: float
    grown_bytes: int
    fault: str


class Server:
    """A process that runs commands: ``with Server(kind, folder) as server``.

    Args:
        kind: Whose modules it imports, and whose package.
        folder: The only one where commands can write.
    """

    def __init__(self, kind: Kind, folder: Path) -> None:
        self._kind = kind
        self.folder = folder
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait(timeout=30)

    def run(self, command: Command, folder: Path, *, seconds: float) -> dict[str, Any]:
        """Run it in a folder; its output is in ``stdout`` and ``stderr`` there."""
        process = self._process or self._started()
        assert process.stdin is not None and process.stdout is not None
        job = asdict(command) | {"folder": str(folder), "seconds": seconds}
        process.stdin.write(json.dumps(job | {"kill_bytes": KILL_BYTES}) + "\n")
        process.stdin.flush()
        found: dict[str, Any] = json.loads(process.stdout.readline())
        return found

    def _started(self) -> subprocess.Popen[str]:
        variables = environment(self.folder / "shared")
        package = ROOT
        if self._kind.on_device:
            package = installed(self.folder / "shared")
            variables["PYTHONPATH"] = f"{package}:{ROOT}"
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.server", str(self.folder), *self._kind.imports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self.folder / "shared",
            env=variables,
        )
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        if "refused" in said:
            raise Unconfined(said["refused"])
        assert Path(said["edge"]).is_relative_to(package), said  # its commands delete what is near
        return process


class Servers:
    """One process for all kinds that import the same: ``with Servers(folder) as servers``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[tuple[object, ...], Server] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._known.values():
            server.__exit__()

    def of(self, kind: Kind) -> Server:
        """That of a kind, started when it is first asked."""
        key = (tuple(kind.imports), kind.on_device)
        if key not in self._known:
            self._known[key] = Server(kind, self._folder)
        return self._known[key]


class Unconfined(Exception):
    """The kernel cannot keep commands from deleting what is not theirs."""


def installed(folder: Path) -> Path:
    """The package as it lies on a device: below ``control``, under the hash of its content."""
    from edge.deploy.session import control

    name, content = control()
    place = folder / "home" / ".local" / "share" / "edge" / "control" / name
    if not place.is_dir():
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            archive.extractall(place)
    return place


def environment(folder: Path) -> dict[str, str]:
    """Variables of every command: a cache, a home and a folder of temporary files of its own."""
    places = {"EDGE_CACHE": "cache", "HOME": "home", "TMPDIR": "tmp", "XDG_RUNTIME_DIR": "run"}
    found = {name: str(folder / place) for name, place in places.items()}
    for path in found.values():
        Path(path).mkdir(parents=True, exist_ok=True)
    names = ("PATH", "LANG", "LD_LIBRARY_PATH")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "COLUMNS": "200"}
    fixed = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return kept | found | quiet | fixed


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What became of the cases of a kind."""

    kind: str
    cases: int
    accepted: int
    seconds: float
    cpu_seconds: float
    grown_bytes: int
    faults: int

    @classmethod
    def of(cls, ended: Sequence[Ended]) -> Self:
        """The worst of each."""
        return cls(
            kind=ended[0].kind,
            cases=len(ended),
            accepted=sum(item.code == 0 for item in ended),
            seconds=max(item.seconds for item in ended),
            cpu_seconds=max(item.cpu_seconds for item in ended),
            grown_bytes=max(item.grown_bytes for item in ended),
            faults=sum(bool(item.fault) for item in ended),
        )

    def row(self) -> str:
        """A row of the table in docs/reliability.md."""
        worst = f"{self.cpu_seconds:.1f} | {self.seconds:.1f} | {self.grown_bytes / 1e6:.0f}"
        refused = self.cases - self.accepted
        counted = f"{self.cases} | {refused} | {self.accepted}"
        return f"| {self.kind} | {counted} | {worst} | {self.faults} |"


def tabled(text: str, row: str, made: str) -> str:
    """The document with a row of the fuzz's table new, and with the sentence on who made it."""
    before, _, rest = text.partition(BEGIN)
    table, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the document has no lines {BEGIN!r} and {END!r}")
    lines = [line for line in table.splitlines() if line.startswith("| ") and line not in HEAD]
    rows = {line.split("|")[1]: line for line in lines}
    rows[row.split("|")[1]] = row
    written = (made, "", *HEAD, *rows.values())
    return before + BEGIN + "\n" + "\n".join(written) + "\n" + END + after


def cases(kind: Kind, seed: int, numbers: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """Hostile files by number: the planted ones have the first numbers, the others are drawn."""
    planted, seeds = kind.planted(), kind.seeds()
    for number in numbers:
        if number < len(planted):
            yield number, planted[number]
        else:
            yield number, kind.mutate(Random(f"{kind.name} {seed} {number}"), seeds)


def taken(kind: Kind, server: Server) -> dict[Sequence[str], int]:
    """The exit code of every command on the first whole file: damage is tried where none is."""
    place = server.folder / "whole"
    rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    commands = kind.place(place, kind.seeds()[0])
    return {item.words: server.run(item, place, seconds=kind.seconds)["code"] for item in commands}


def tried(
    kind: Kind, server: Server, *, seed: int, numbers: Sequence[int], fresh: int = 0
) -> Iterator[Ended]:
    """Run every case.

    Args:
        kind: Of the files.
        server: To run commands in; each case gets a folder in its folder, and one with a fault
            stays.
        seed: Of all cases.
        numbers: Of the cases.
        fresh: Every so many cases, Python is started anew for the command; 0 for never.
    """
    for number, content in cases(kind, seed, numbers):
        place = server.folder / f"{re.sub('[^A-Za-z0-9.]+', '-', kind.name)}-{seed}-{number}"
        rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        commands = kind.place(place, content)
        # Each case runs one; prime, so that commands do not go with what the numbers draw.
        command = commands[number * 7919 % len(commands)]
        if fresh and number % fresh == fresh - 1:
            with Server(replace(kind, imports=()), server.folder) as new:  # Python is started anew
                ended = new.run(command, place, seconds=kind.seconds)
        else:
            ended = server.run(command, place, seconds=kind.seconds)
        fault = _fault(kind, command, ended, place)
        yield Ended(
            kind=kind.name,
            number=number,
            words=command.words,
            code=ended["code"],
            seconds=ended["seconds"],
            cpu_seconds=ended["cpu_seconds"],
            grown_bytes=ended["grown_bytes"],
            fault=fault,
        )
        if not fault:
            rmtree(place, ignore_errors=True)


def _fault(kind: Kind, command: Command, ended: Mapping[str, Any], folder: Path) -> str:
    """What must not happen and did; empty where nothing did."""
    output, errors = (_beginning(folder / name) for name in ("stdout", "stderr"))
    told = errors.decode(errors="replace")
    if ended["killed"] == "time":
        return f"no end after {kind.seconds:g} s"
    if ended["killed"] == "memory" or ended["grown_bytes"] > kind.grown_mb * 1e6:
        return f"grew by {ended['grown_bytes'] / 1e6:.0f} MB"
    if ended["code"] < 0:
        return f"ended by signal {-ended['code']}"
    if ended["code"] not in command.codes:
        return f"exit code {ended['code']}: {_last(told)}"
    for words in UNEXPECTED:
        if words in told:
            return _last(told)
    # What a device says to a host is for a program; the host escapes what it shows of it.
    shown = told if kind.on_device else told + output.decode(errors="replace")
    raw = STEERING.search(shown)
    if raw is not None:
        return f"a control character in its output: {shown[max(0, raw.start() - 20) : raw.end()]!r}"
    if (folder / "owned").exists():
        return "a command of the file was run"
    return ""


def _beginning(path: Path) -> bytes:
    """As much of an output as anybody reads."""
    with path.open("rb") as stream:
        return stream.read(MOST_READ)


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("hint")]
    return lines[-1][:200] if lines else "no word"
