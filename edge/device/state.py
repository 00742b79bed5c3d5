"""What a device remembers of an application's releases, and why.

``state.json``: which release is known to be good, which is on trial, what failed last.
``log.jsonl``: what happened to the releases.
"""

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, Self

from edge.device.layout import App, is_id
from edge.runtime import checked
from edge.runtime.files import write_bytes, write_json
from edge.runtime.typed import Mistyped, typed, wrong

KEPT: Final = 500  # lines, when the log is cut
_APPEND: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_CUT_AT_BYTES: Final = 256_000
_YEARS: Final = 253402300799  # seconds until the year 10000, which no date goes beyond

MAX_BYTES: Final = 1 << 16  # state.json; ``edge.device.facts`` sends no more of it
MAX_REASON: Final = 2000  # characters; with them the file stays far below its bound
DAMAGED: Final = (
    "the state is damaged: new releases are refused until a deploy with --allow-downgrade"
)
_DIGITS: Final = 18  # a version has no more
_VERSION: Final = re.compile(rf"[0-9]{{1,{_DIGITS}}}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A release that serves and has not proved itself yet.

    Attributes:
        release: Its id.
        since: Unix seconds.
        boot_id: The kernel's boot id then; another one means that the machine restarted.
        starts: How often its service was started.
    """

    release: str
    since: float
    boot_id: str
    starts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a release was given up.

    Attributes:
        release: Its id.
        reason: One sentence.
        at: Unix seconds.
    """

    release: str
    reason: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a device remembers of an application.

    Attributes:
        last_good: The release that was committed last; what a failure falls back to.
        before: The one that was committed before it; what ``rollback`` goes back to.
        version: The highest that was ever committed, which no rollback lowers; an older bundle is
            refused. None where a damaged state forgot it.
        trial: None when nothing is on trial.
        failure: The last one, until a release is committed.
    """

    last_good: str | None = None
    before: str | None = None
    version: int | None = 0
    trial: Trial | None = None
    failure: Failure | None = None

    @classmethod
    def read(cls, app: App) -> "State":
        """Read what is written; the empty state where no release ever came.

        A state that cannot be read, or is gone, must not keep a device from serving: what
        ``current`` names is taken for good then. But nobody knows the highest version any more.
        """
        highest = _content(app.highest)
        state, _ = judged(_content(app.state), highest, releases=_has_releases(app))
        if state is None:
            return cls(last_good=app.serving(), version=None)
        if highest is None and state.version is not None:
            try:
                state = replace(state, version=max(state.version, _logged(app)))
            except OSError:  # the disk reads no more of it
                state = replace(state, version=None)
        return state

    @classmethod
    def parsed(cls, content: bytes) -> Self:
        """Read the bytes of ``state.json``.

        Raises:
            ValueError: They are no such state.
        """
        value = checked.parse_json(content, "the state", max_bytes=MAX_BYTES)
        if not isinstance(value, dict) or {item.name for item in fields(cls)} - value.keys():
            raise Mistyped("the state lacks a field")
        state = typed(cls, value, "the state")
        _check(state)
        return state

    def committed(self, release: str, version: int) -> Self:
        """Return the state after ``release`` has proved itself."""
        before = self.before if release == self.last_good else self.last_good
        highest = max(self.version or 0, version)
        return replace(
            self, last_good=release, before=before, version=highest, trial=None, failure=None
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def _check(state: State) -> None:
    """Refuse what is of the right types and still no state.

    Raises:
        ValueError: A release has a name that none can have, or the version is none.
    """
    releases: list[object] = [name for name in (state.last_good, state.before) if name is not None]
    releases += [item.release for item in (state.trial, state.failure) if item is not None]
    if not all(is_id(name) for name in releases):
        raise ValueError("the state names a release that none can have the name of")
    if state.version is not None and not 0 <= state.version < 10**_DIGITS:
        raise ValueError("the state has something else where a version is expected")


class StateFile:
    """The state while nobody else may change it: ``with changing(app) as file``."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.state = State.read(app)

    def write(self, state: State) -> None:
        """Make it the state, on the disk."""
        write_json(self._app.state, state.to_json())
        self.state = state


def raise_highest(app: App, version: int) -> None:
    """Keep the highest version apart from what serves; a lower one changes nothing.

    It is on the disk before anybody is told that the release is committed: a cut between the two
    leaves a version that is refused without need, never one that is accepted in error.
    """
    content = _content(app.highest)
    known = None if content is None else _version(content)
    if known is None or version > known:  # if it was damaged, whoever commits was told
        write_bytes(app.highest, f"{version}\n".encode())


def keep_highest(app: App) -> None:
    """Keep in the file what the state knows of the highest version, before an undeploy."""
    version = State.read(app).version
    if version is None:
        write_bytes(app.highest, b"not known\n")
    elif version > 0:
        raise_highest(app, version)


def judged(
    state: bytes | None, highest: bytes | None, *, releases: bool
) -> tuple[State | None, str | None]:
    """Return what a device remembers, and why it does not know the highest version any more.

    ``edge doctor`` asks this too, with what a device sent of its files.

    Args:
        state: Bytes of ``state.json``; None where there is none, empty where it cannot be read.
        highest: The bytes of ``highest-version``, likewise.
        releases: Whether any are there, be they whole or not.

    Returns:
        The state, None where nothing of it can be read; a clause, None where all is well.
    """
    known = 0 if highest is None else _version(highest)
    damage = "highest-version cannot be read" if known is None else None
    if state is None:
        if releases:
            return None, "state.json is gone, though releases are there"
        return State(version=known), damage
    try:
        read = State.parsed(state)
    except ValueError:
        return None, "state.json cannot be read"
    if read.version is None:
        damage = damage or "the highest version was lost with an earlier state.json"
    if damage is not None or read.version is None or known is None:
        return replace(read, version=None), damage
    return replace(read, version=max(read.version, known)), None


def _logged(app: App) -> int:
    """Return the highest version that the log tells of.

    An edge that had no file of its own for it lowered the state's version by a rollback.
    """
    ids = [event.release for event in events(app, KEPT) if event.event == "committed"]
    numbers = [str(release).partition("-")[0] for release in ids]
    return max((int(text) for text in numbers if _VERSION.fullmatch(text)), default=0)


def _version(content: bytes) -> int | None:
    """Read the content of ``highest-version``; None where it is no version."""
    text = content.decode(errors="replace").removesuffix("\n")
    return int(text) if _VERSION.fullmatch(text) else None


def _content(path: Path) -> bytes | None:
    """Return the bytes of a small file; None where there is none, empty where it cannot be read."""
    try:
        return checked.read_bytes(path, max_bytes=MAX_BYTES)
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return b""


def _has_releases(app: App) -> bool:
    """Return whether anything was installed, be it whole or not."""
    try:
        return any(not path.name.startswith(".") for path in app.releases.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


@contextmanager
def changing(app: App) -> Iterator[StateFile]:
    """Hold the state for a change; a service that starts and a deploy that ends wait in turn."""
    app.path.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(
        app.path / ".state.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield StateFile(app)
    finally:
        os.close(descriptor)


def boot_id() -> str:
    """Return the id of the machine's start; every start has another one."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a release: a line of ``log.jsonl``.

    Attributes:
        at: Unix seconds.
        event: What happened, such as ``committed``.
        release: The id of the release.
        reason: Why; may be empty.
    """

    at: float
    event: str
    release: str | None
    reason: str | None

    def __post_init__(self) -> None:
        if not 0 <= self.at < _YEARS:
            raise wrong("at of the event", self.at)


def record(app: App, event: str, release: str | None, reason: str = "") -> None:
    """Append one event; it is on the disk when this returns, unless the disk is full.

    What happened has happened: a log that cannot be written undoes it no more.
    """
    entry = Event(at=round(time.time(), 3), event=event, release=release, reason=reason)
    line = json.dumps(asdict(entry), ensure_ascii=False) + "\n"
    with suppress(OSError):
        app.path.mkdir(parents=True, exist_ok=True)
        _append(app.log, line.encode(errors="replace"))
        if app.log.stat().st_size > _CUT_AT_BYTES:
            write_bytes(app.log, b"".join(app.log.read_bytes().splitlines(keepends=True)[-KEPT:]))


def _append(path: Path, line: bytes) -> None:
    """Write all of the line or nothing of it, but for a power cut."""
    descriptor = os.open(path, _APPEND, 0o600)
    try:
        before = os.fstat(descriptor).st_size
        if os.write(descriptor, line) != len(line):
            os.ftruncate(descriptor, before)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def events(app: App, count: int) -> list[Event]:
    """Read the last ``count`` lines of the log, oldest first.

    A line that is no event, such as one that a power cut tore, is left out.
    """
    if not app.log.is_file():
        return []
    read = []
    for line in app.log.read_bytes().splitlines()[-count:]:
        with suppress(ValueError):
            read.append(typed(Event, checked.parse_json(line), "a line of the log"))
    return read
