"""Many devices: an inventory in TOML; canaries, then waves, and an end where too many fail."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Final, NoReturn

from edge.deploy.plan import Options
from edge.deploy.ssh import Address
from edge.errors import EdgeError, UsageError
from edge.progress import Progress
from edge.runtime import checked
from edge.threads import in_threads

# Field -> type; they may stand in [defaults], in a group, and with a host, which counts most.
_VARIABLES: Final[dict[str, type]] = {
    "user": str,
    "port": int,
    "device": str,
    "app": str,
    "variant": str,
    "engine": str,
    "threads": int,
    "max_latency": float,
    "max_memory": float,
    "watch": float,
    "keep": int,
}
EXAMPLE: Final = """Such as:
[defaults]
user = "pi"

[groups.shop]
hosts = ["window", "door"]

[hosts.door]
address = "192.0.2.7\""""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One device of a fleet.

    Attributes:
        name: In the inventory.
        address: For ssh.
        groups: That list it.
        variables: What was said of it.
    """

    name: str
    address: Address
    groups: tuple[str, ...]
    variables: Mapping[str, Any]

    def options(self, common: Options) -> Options:
        """The options of its deploy: its own variables, before those of the command line."""
        names = {"max_latency": "max_latency_ms", "max_memory": "max_memory_mb"}
        names |= {"watch": "watch_seconds"}
        own = {
            names.get(name, name): value
            for name, value in self.variables.items()
            if name not in ("user", "port")
        }
        return replace(common, **own)


def read_inventory(path: Path, *, group: str | None = None) -> tuple[Member, ...]:
    """Every device, or those of one group, in the order of the file.

    Raises:
        UsageError: The file cannot be read; an unknown field, a device listed twice in a group,
            or with two values of one variable; no such group.
    """
    try:
        value = checked.read_toml(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}", hint=EXAMPLE) from error
    return _Reader(path, value).members(group)


class _Reader:
    """One inventory, checked as it is read."""

    def __init__(self, path: Path, value: Mapping[str, Any]) -> None:
        self._path = path
        unknown = set(value) - {"defaults", "groups", "hosts"}
        if unknown:
            self._fail(f"has unknown tables: {', '.join(sorted(unknown))}")
        self._defaults = self._variables("defaults", self._table(value, "defaults"))
        self._groups = self._table(value, "groups")
        self._hosts = self._table(value, "hosts")

    def members(self, group: str | None) -> tuple[Member, ...]:
        if group is not None and group not in self._groups:
            self._fail(f"has no group {group!r}; it has: {', '.join(self._groups) or 'none'}")
        lists = {name: self._listed(name) for name in self._groups}
        names = list(dict.fromkeys([*chain(*lists.values()), *self._hosts]))
        found = tuple(
            self._member(name, tuple(key for key, hosts in lists.items() if name in hosts))
            for name in names
            if group is None or name in lists[group]
        )
        if not found:
            self._fail("names no device")
        return found

    def _member(self, name: str, groups: tuple[str, ...]) -> Member:
        own = dict(self._table(self._hosts, name)) if name in self._hosts else {}
        host = own.pop("address", name)
        if not isinstance(host, str):
            self._fail(f"[hosts.{name}] address is {host!r}; expected a text")
        variables = dict(self._defaults)
        variables |= self._of_groups(name, groups)
        variables |= self._variables(f"hosts.{name}", own)
        user = variables.get("user")
        address = Address.parse(
            f"{user}@{host}" if user and "@" not in host else host, port=variables.get("port")
        )
        return Member(name=name, address=address, groups=groups, variables=variables)

    def _of_groups(self, name: str, groups: tuple[str, ...]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for group in groups:
            table = {key: item for key, item in self._groups[group].items() if key != "hosts"}
            for key, item in self._variables(f"groups.{group}", table).items():
                if found.setdefault(key, item) != item:
                    self._fail(f"gives {name} two values of {key}: {found[key]!r} and {item!r}")
        return found

    def _listed(self, group: str) -> list[str]:
        hosts = self._table(self._groups, group).get("hosts")
        if not isinstance(hosts, list) or not all(isinstance(item, str) for item in hosts):
            self._fail(f"[groups.{group}] needs hosts, a list of names")
        twice = sorted({item for item in hosts if hosts.count(item) > 1})
        if twice:
            self._fail(f"[groups.{group}] lists {', '.join(twice)} twice")
        return list(hosts)

    def _variables(self, where: str, table: Mapping[str, Any]) -> dict[str, Any]:
        for name, item in table.items():
            kind = _VARIABLES.get(name)
            if kind is None:
                self._fail(
                    f"[{where}] has an unknown field {name!r}; known: {', '.join(_VARIABLES)}"
                )
            right = isinstance(item, int | float if kind is float else kind)
            if not right or isinstance(item, bool) or (kind is not str and item < 0):
                self._fail(f"[{where}] {name} is {item!r}")
        return dict(table)

    def _table(self, value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        table = value.get(name, {})
        if not isinstance(table, Mapping):
            self._fail(f"{name} is not a table")
        return table

    def _fail(self, text: str) -> NoReturn:
        raise UsageError(f"{self._path} {text}", hint=EXAMPLE)


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
