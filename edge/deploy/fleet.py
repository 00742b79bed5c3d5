"""Many devices: an inventory in TOML; canaries, then waves, and an end where too many fail."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Final

from edge import schema
from edge.deploy.plan import LIVE_CHOICES, DeployOptions, chosen_live
from edge.deploy.ssh import Address
from edge.device.release import LiveSettings
from edge.errors import EdgeError, UsageError, cause_of
from edge.progress import Progress
from edge.runtime.cameras.camera import shown_address
from edge.runtime.live.settings import topic_part
from edge.threads import in_threads

EXAMPLE: Final = """Such as:
[defaults]
user = "pi"

[groups.shop]
hosts = ["window", "door"]

[hosts.door]
address = "192.0.2.7\""""


def _is_amount(value: object) -> bool:
    return type(value) in (int, float) and value >= 0  # type: ignore[operator]


# The number stays as it is written: 20 and 20.0 give a release different ids.
Number = Annotated[Any, schema.Expect("a number that is not negative", _is_amount)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an inventory may say of a device; None where it does not.

    The settings of a host count more than those of its groups, and these more than the defaults.

    Attributes:
        user: The name to log in with.
        port: The port of ssh.
        device: The id of its profile.
        app: The name of the application.
        variant: The model file.
        engine: The interpreter.
        threads: CPU threads of one inference.
        max_latency: The largest median time of one inference in the self-test, in milliseconds.
        max_memory: The largest resident memory in the self-test, in megabytes.
        watch: Seconds for which a release has to stay healthy before it is committed.
        keep: The number of old releases that stay on the device.
        camera: The address of its camera; this and what follows is for a page, with ``--live``.
        live_port: The port of the page.
        size: What is asked of the camera, such as ``640x480``.
        rate: Frames a second, asked of the camera.
        smoothing: Frames whose probabilities are averaged.
        mqtt: The address of the broker that answers are sent to.
    """

    user: str | None = None
    port: schema.Count | None = None
    device: str | None = None
    app: str | None = None
    variant: str | None = None
    engine: str | None = None
    threads: schema.Count | None = None
    max_latency: Number | None = None
    max_memory: Number | None = None
    watch: Number | None = None
    keep: schema.Count | None = None
    camera: str | None = None
    live_port: schema.Count | None = None
    size: str | None = None
    rate: Number | None = None
    smoothing: schema.Count | None = None
    mqtt: str | None = None

    def stated(self) -> dict[str, Any]:
        """Return the settings that are not None, by name."""
        values = {item.name: getattr(self, item.name) for item in fields(Settings)}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryGroup(Settings):
    """A table ``[groups.NAME]``: settings, and the names of the hosts that they are for."""

    hosts: tuple[str, ...]

    def __post_init__(self) -> None:
        twice = sorted({host for host in self.hosts if self.hosts.count(host) > 1})
        if twice:
            raise ValueError(f"hosts lists {', '.join(twice)} twice")


@dataclass(frozen=True, slots=True, kw_only=True)
class Host(Settings):
    """A table ``[hosts.NAME]``: settings, and the address where the name is none."""

    address: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """The file of a fleet."""

    defaults: Settings = Settings()
    groups: Mapping[str, InventoryGroup] = field(default_factory=dict)
    hosts: Mapping[str, Host] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One device of a fleet.

    Attributes:
        name: Its name in the inventory.
        address: Its address, for ssh.
        groups: The groups that list it.
        settings: What the inventory says of it.
    """

    name: str
    address: Address
    groups: tuple[str, ...]
    settings: Settings

    def options(self, common: DeployOptions) -> DeployOptions:
        """Return the options of its deploy: its own settings before those of the command line.

        Raises:
            UsageError: A setting of a page cannot be, or there is to be no page.
        """
        other = {"max_latency": "max_latency_ms", "max_memory": "max_memory_mb"}
        other |= {"watch": "watch_seconds"}
        own = {
            other.get(name, name): value
            for name, value in self.settings.stated().items()
            if name not in ("user", "port", *LIVE_CHOICES)
        }
        return replace(common, **own, live=self._live(common.live))

    def _live(self, common: LiveSettings | None) -> LiveSettings | None:
        """Return its camera and its page; its topics have its name, lest it share another's."""
        stated = self.settings.stated()
        given = {name: stated[name] for name in LIVE_CHOICES if name in stated}
        if common is None:
            for name in given:
                raise UsageError(
                    f"{self.name}: {name} has no effect without --live",
                    hint="Add --live to the command, or take it out of the inventory.",
                )
            return None
        try:
            live = chosen_live(common, given)
        except UsageError as error:
            raise UsageError(f"{self.name}: {error.message}", hint=error.hint) from error
        if live.mqtt is None or live.mqtt.topic:
            return live
        return replace(live, mqtt=replace(live.mqtt, topic=f"edge/{topic_part(self.name)}"))


def settled(members: Sequence[Member], common: DeployOptions) -> dict[str, DeployOptions]:
    """Return the options of every device, by name, before the first of them is deployed to.

    Args:
        members: The devices.
        common: What the command line says of all.

    Raises:
        UsageError: A setting cannot be, or two devices would send their answers to one topic.
    """
    options = {member.name: member.options(common) for member in members}
    topics: dict[tuple[str, int, str], str] = {}
    for name, own in options.items():
        broker = None if own.live is None else own.live.mqtt
        if broker is None:
            continue
        other = topics.setdefault((broker.host, broker.port, broker.topic), name)
        if other != name:
            raise UsageError(
                f"{other} and {name} would both send their answers to {broker.url}",
                hint="Leave the path of the address out: then each has a topic of its name.",
            )
    return options


def read_inventory(path: Path, *, group: str | None = None) -> tuple[Member, ...]:
    """Read every device, or those of one group, in the order of the file.

    Raises:
        UsageError: The file cannot be read; an unknown field, a device listed twice in a group,
            or with two values of one setting; no such group.
    """
    inventory = schema.read(Inventory, path, "the inventory", form="toml", hint=EXAMPLE)
    groups = inventory.groups
    if group is not None and group not in groups:
        raise UsageError(
            f"{path} has no group {group!r}; it has: {', '.join(groups) or 'none'}", hint=EXAMPLE
        )
    listed = chain(*(item.hosts for item in groups.values()))
    members = tuple(
        _member(path, inventory, name)
        for name in dict.fromkeys([*listed, *inventory.hosts])
        if group is None or name in groups[group].hosts
    )
    if not members:
        raise UsageError(f"{path} names no device", hint=EXAMPLE)
    return members


def _member(path: Path, inventory: Inventory, name: str) -> Member:
    """Put together what the inventory says of one device."""
    host = inventory.hosts.get(name, Host())
    groups = tuple(key for key, group in inventory.groups.items() if name in group.hosts)
    of_groups: dict[str, Any] = {}
    for group in groups:
        for key, value in inventory.groups[group].stated().items():
            if of_groups.setdefault(key, value) != value:
                raise UsageError(
                    f"{path} gives {name} two values of {key}: "
                    f"{_said(of_groups[key])} and {_said(value)}",
                    hint=EXAMPLE,
                )
    settings = Settings(**{**inventory.defaults.stated(), **of_groups, **host.stated()})
    address = name if host.address is None else host.address
    if settings.user and "@" not in address:
        address = f"{settings.user}@{address}"
    return Member(
        name=name,
        address=Address.parse(address, port=settings.port),
        groups=groups,
        settings=settings,
    )


def _said(value: object) -> str:
    """Return a value of an inventory as a message shows it: without the password of a URL."""
    return repr(shown_address(value) if isinstance(value, str) else value)


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
        """Return the fields as JSON values."""
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
    results: list[Result] = []
    for number, some in enumerate(_waves(members, canary, wave), start=1):
        title = "canary" if number == 1 and canary else f"wave {number}"
        with progress.stage(f"{title}: {len(some)} devices", len(some)) as step:
            results += in_threads(lambda member: rollout.one(member, step), some, parallel)
    return results


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
        result = _untried(member) if ended else self._tried(member)
        with self._lock:
            self._failures += result.result == "failed"
            step(1)
            if result.error:
                self._progress.note(f"{member.name}: {result.error}")
        return result

    def _tried(self, member: Member) -> Result:
        begun = time.monotonic()
        release, result, text = None, "failed", None
        try:
            release, changed = self._deploy(member)
            result = "deployed" if changed else "unchanged"
        except EdgeError as error:
            text = error.message + (f" ({error.hint})" if error.hint else "")
        except OSError as error:  # this machine's: too many open files, say
            text = cause_of(error)
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
    waves = [first] if first else []
    return [*waves, *(rest[at : at + size] for at in range(0, len(rest), size))]
