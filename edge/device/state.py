"""``state.json``: which release is known to be good, which is on trial, what failed last."""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

from edge.device.layout import App
from edge.device.log import KEPT, events
from edge.runtime import checked
from edge.runtime.files import write_bytes, write_json

MAX_NAME: Final = 255  # bytes; path_resolution(7)
_VERSION: Final = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A release that serves and has not proved itself yet.

    Attributes:
        release: Its id.
        since: Unix seconds.
        boot_id: Of the kernel then; another one means that the machine restarted meanwhile.
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
    def read(cls, app: App) -> Self:
        """What is written; the empty state where no release ever came.

        A state that cannot be read, or is gone, must not keep a device from serving: what
        ``current`` names is taken for good then. But nobody knows the highest version any more.
        """
        try:
            value = checked.read_json(app.state, "the state")
            trial, failure = value["trial"], value["failure"]
            written = value["version"]
            found = cls(
                last_good=value["last_good"],
                before=value["before"],
                version=None if written is None else _highest(app, int(written)),
                trial=Trial(**trial) if trial else None,
                failure=Failure(**failure) if failure else None,
            )
            _check(found)
            return found
        except FileNotFoundError:
            if not app.highest.exists() and not _has_releases(app):
                return cls()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass
        return cls(last_good=app.serving(), version=None)

    def committed(self, release: str, version: int) -> Self:
        """The state after ``release`` has proved itself."""
        before = self.before if release == self.last_good else self.last_good
        highest = max(self.version or 0, version)
        return replace(
            self, last_good=release, before=before, version=highest, trial=None, failure=None
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def _check(state: State) -> None:
    """Refuse what a dataclass does not check when it is filled with JSON values.

    Raises:
        TypeError: Something is no text, no number, or no name of a folder.
    """
    names = [name for name in (state.last_good, state.before) if name is not None]
    texts: list[object] = []
    numbers: list[object] = []
    if state.trial is not None:
        names.append(state.trial.release)
        texts.append(state.trial.boot_id)
        numbers += (state.trial.since, state.trial.starts)
    if state.failure is not None:
        names.append(state.failure.release)
        texts.append(state.failure.reason)
        numbers.append(state.failure.at)
    if not all(isinstance(text, str) for text in [*names, *texts]):
        raise TypeError("the state has something else where a text is expected")
    if any(len(name.encode()) > MAX_NAME or "/" in name for name in names):
        raise TypeError("the state names a release that no folder can have the name of")
    if not all(type(number) in (int, float) for number in numbers):
        raise TypeError("the state has something else where a number is expected")


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
    try:
        known = _read_highest(app)
    except ValueError:
        known = None  # whoever commits has been told, and asked for it
    if known is None or version > known:
        write_bytes(app.highest, f"{version}\n".encode())


def _highest(app: App, written: int) -> int | None:
    """Of the state's own version and the file's; None where the file is damaged.

    Before there was such a file, a rollback lowered the state's version: the log knows better.
    """
    try:
        known = _read_highest(app)
    except ValueError:
        return None
    if known is not None:
        return max(known, written)
    ids = [event.get("release") for event in events(app, KEPT) if event.get("event") == "committed"]
    numbers = [str(release).partition("-")[0] for release in ids]
    return max([written, *(int(text) for text in numbers if _VERSION.fullmatch(text))])


def _read_highest(app: App) -> int | None:
    """The file's version; None where there is no file.

    Raises:
        ValueError: It holds something else, or cannot be read.
    """
    try:
        text = app.highest.read_text(encoding="ascii").removesuffix("\n")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(str(error)) from error
    if not _VERSION.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is no version")
    return int(text)


def _has_releases(app: App) -> bool:
    """Whether anything was installed, be it whole or not."""
    return app.releases.is_dir() and any(app.releases.iterdir())


@contextmanager
def changing(app: App) -> Iterator[StateFile]:
    """Read, change, write; a service that starts and a deploy that ends wait for each other."""
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
    """Differs after every start of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
