"""``state.json``: which release is known to be good, which is on trial, what failed last."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from edge.device.layout import App
from edge.runtime.files import write_json


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
        version: The highest committed; an older bundle is refused.
        trial: None when nothing is on trial.
        failure: The last one, until a release is committed.
    """

    last_good: str | None = None
    before: str | None = None
    version: int = 0
    trial: Trial | None = None
    failure: Failure | None = None

    @classmethod
    def read(cls, app: App) -> Self:
        """What is written, or the empty state where nothing readable is.

        A state that cannot be read must not keep a device from serving: what ``current`` names is
        taken for good then.
        """
        try:
            value = json.loads(app.state.read_text(encoding="utf-8"))
            trial, failure = value["trial"], value["failure"]
            return cls(
                last_good=value["last_good"],
                before=value["before"],
                version=int(value["version"]),
                trial=Trial(**trial) if trial else None,
                failure=Failure(**failure) if failure else None,
            )
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls(last_good=app.serving())

    def committed(self, release: str, version: int) -> Self:
        """The state after ``release`` has proved itself."""
        before = self.before if release == self.last_good else self.last_good
        return replace(
            self, last_good=release, before=before, version=version, trial=None, failure=None
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


class StateFile:
    """The state while nobody else may change it: ``with changing(app) as file``."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.state = State.read(app)

    def write(self, state: State) -> None:
        """Make it the state, on the disk."""
        write_json(self._app.state, state.to_json())
        self.state = state


@contextmanager
def changing(app: App) -> Iterator[StateFile]:
    """Read, change, write; a service that starts and a deploy that ends wait for each other."""
    app.path.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(app.path / ".state.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield StateFile(app)
    finally:
        os.close(descriptor)


def boot_id() -> str:
    """Differs after every start of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
