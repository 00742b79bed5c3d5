"""Many devices: canaries first, then waves, and an end to it where too many fail."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edge.deploy.inventory import Member
from edge.errors import EdgeError
from edge.progress import Progress
from edge.threads import in_threads


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one device.

    Attributes:
        name: In the inventory.
        host: Its address.
        result: ``deployed``, ``unchanged`` (it served that release already), ``failed``, or
            ``not tried``.
        release: That serves there, where that is known.
        seconds: It took.
        error: Why it failed, and the way out.
    """

    name: str
    host: str
    result: str
    release: str | None = None
    seconds: float = 0.0
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def roll_out(
    members: Sequence[Member],
    deploy: Callable[[Member], tuple[str, bool]],
    progress: Progress,
    *,
    parallel: int,
    canary: int,
    wave: int | None,
    max_failures: int,
) -> list[Result]:
    """Deploy to all, wave after wave; run again, it goes on with those that are left.

    Args:
        members: In the order in which they get their turn.
        deploy: To one; gives the release that serves, and whether anything was changed.
        progress: Told of waves and of each device.
        parallel: Devices at a time.
        canary: Devices of the first wave; 0 for none.
        wave: Devices of each further wave; None for all that are left.
        max_failures: With more of them, no further device is begun.

    Returns:
        One per member, in their order.
    """
    rollout = _Rollout(deploy, progress, max_failures)
    found: list[Result] = []
    for number, some in enumerate(_waves(members, canary, wave), start=1):
        title = "canary" if number == 1 and canary else f"wave {number}"
        with progress.stage(f"{title}: {len(some)} devices", len(some)) as step:
            found += in_threads(lambda member: rollout.one(member, step), some, parallel)
    return found


class _Rollout:
    """What the threads of a rollout share."""

    def __init__(
        self,
        deploy: Callable[[Member], tuple[str, bool]],
        progress: Progress,
        max_failures: int,
    ) -> None:
        self._deploy = deploy
        self._progress = progress
        self._max_failures = max_failures
        self._failures = 0
        self._lock = threading.Lock()

    def one(self, member: Member, step: Callable[[int], None]) -> Result:
        with self._lock:
            ended = self._failures > self._max_failures
        found = _untried(member) if ended else self._tried(member)
        with self._lock:
            self._failures += found.result == "failed"
            step(1)
            if found.error:
                self._progress.note(f"{member.name}: {found.error}")
        return found

    def _tried(self, member: Member) -> Result:
        begun = time.monotonic()
        release, result, text = None, "failed", None
        try:
            release, changed = self._deploy(member)
            result = "deployed" if changed else "unchanged"
        except EdgeError as error:
            text = error.message + (f" ({error.hint})" if error.hint else "")
        except OSError as error:  # this machine's: too many open files, say
            text = str(error)
        return Result(
            name=member.name,
            host=member.address.host,
            result=result,
            release=release,
            seconds=round(time.monotonic() - begun, 1),
            error=text,
        )


def _untried(member: Member) -> Result:
    return Result(name=member.name, host=member.address.host, result="not tried")


def _waves(members: Sequence[Member], canary: int, wave: int | None) -> list[Sequence[Member]]:
    first, rest = members[:canary], members[canary:]
    size = wave or max(1, len(rest))
    found = [first] if first else []
    return [*found, *(rest[at : at + size] for at in range(0, len(rest), size))]
