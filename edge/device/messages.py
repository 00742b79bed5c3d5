"""The conversation of a host with a device: a class for every request, and one for its reply.

Both sides import this: a host sends ``DeviceRequest.to_json`` as one line, the device reads it with
``read_request`` and answers with the fields of the reply.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final, Generic, TypeVar

from edge.device.release import Release
from edge.device.state import Event
from edge.errors import UsageError
from edge.runtime.typed import typed

R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRequest(Generic[R]):
    """Something that a host asks of a device.

    Attributes:
        do: The name of the request in JSON.
        reply: The class of its reply.
        locked: Whether the host must hold the device's lock.
    """

    do: ClassVar[str]
    reply: ClassVar[type[Any]]
    locked: ClassVar[bool] = True

    @property
    def waits(self) -> float:
        """Seconds that the host itself asks the device to take."""
        return 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the request as JSON values."""
        return {"do": self.do, **asdict(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The reply of a request that asks for nothing back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockRequest(DeviceRequest[Done]):
    """Take the device's lock, for the rest of the conversation.

    Attributes:
        owner: Who asks, as ``user@host``.
        what: The command that they run.
    """

    do: ClassVar[str] = "lock"
    reply: ClassVar[type[Any]] = Done
    locked: ClassVar[bool] = False

    owner: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PingRequest(DeviceRequest[Done]):
    """Say that the host is still there."""

    do: ClassVar[str] = "ping"
    reply: ClassVar[type[Any]] = Done
    locked: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisionReply:
    """What was set up, for people, and the type of the device."""

    done: tuple[str, ...]
    device: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisionRequest(DeviceRequest[ProvisionReply]):
    """Set the device up: the key that it trusts, and its type.

    Attributes:
        key: A line of ``allowed_signers``.
        device: The id of the profile.
        again: Whether to replace what was set up before.
    """

    do: ClassVar[str] = "provision"
    reply: ClassVar[type[Any]] = ProvisionReply

    key: str
    device: str
    again: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What a running service says of itself; ``edge.runtime.watch`` of its release says it.

    Attributes:
        release: The id of the release that answers.
        variant: The model that runs.
        engine: The interpreter and its version.
        ok: Whether a golden picture was answered as it should be, and the folder can be served.
        seconds: The time of that inference.
        answered: The number of pictures that got an answer.
        failed: The number of pictures that could not be answered.
        uptime: Seconds since the service began.
        reason: Why it is not well.
    """

    release: str | None = None
    variant: str | None = None
    engine: str | None = None
    ok: bool = False
    seconds: float | None = None
    answered: int = 0
    failed: int = 0
    uptime: float | None = None
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the health as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppState:
    """What serves of an application, whether it is well, and what failed last.

    Attributes:
        app: The name of the application.
        release: The id of the release that serves; None for none.
        healthy: Whether its service answers as it should.
        last_good: The release that a failure falls back to.
        on_trial: Whether the release that serves has not proved itself yet.
        reason: Why the last release that failed did.
        failed_release: Which release that was.
        damage: What is damaged of the application's state.
        bundle: The description of the release that serves.
        service: What systemd says of the service, such as ``active``.
        restarts: How often systemd restarted it.
        health: The service's own answer.
        problem: Why it is not healthy.
    """

    app: str
    release: str | None
    healthy: bool
    last_good: str | None
    on_trial: bool
    reason: str | None
    failed_release: str | None
    damage: str | None = None
    bundle: Release | None = None
    service: str | None = None
    restarts: int | None = None
    health: Health | None = None
    problem: str | None

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON values to show, without what is not known of the service."""
        known = asdict(self)
        known["bundle"] = None if self.bundle is None else self.bundle.shown().to_json()
        for name in ("bundle", "service", "restarts", "health"):
            if known[name] is None:
                del known[name]
        return known


@dataclass(frozen=True, slots=True, kw_only=True)
class StateReply:
    """The type of the device, and the state of each application that was asked for."""

    device: str | None = None
    apps: tuple[AppState, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the states as JSON values."""
        return {"device": self.device, "apps": [item.to_json() for item in self.apps]}


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRequest(DeviceRequest[StateReply]):
    """Say what serves, of one application or of all."""

    do: ClassVar[str] = "state"
    reply: ClassVar[type[Any]] = StateReply
    locked: ClassVar[bool] = False

    app: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentReply:
    """Whether the environment is there and whole."""

    environment: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentRequest(DeviceRequest[EnvironmentReply]):
    """Say whether an environment, which is named by its id, is there and whole."""

    do: ClassVar[str] = "has environment"
    reply: ClassVar[type[Any]] = EnvironmentReply
    locked: ClassVar[bool] = False

    environment: str


class Upload(StrEnum):
    """What a host sends the files of."""

    ENVIRONMENT = "environment"  # unpacked wheels
    RELEASE = "release"  # a bundle
    SCRATCH = "scratch"  # what a benchmark needs


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginReply:
    """For each file that is not whole there, by path: the bytes of it that are there already."""

    missing: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginRequest(DeviceRequest[BeginReply]):
    """Begin to fill a folder.

    Attributes:
        kind: What the files are of.
        files: The sha256 (hex) and the size in bytes of each file, by relative path.
        id: The id of the release or the environment; None for scratch files.
        app: The application of a release.
    """

    do: ClassVar[str] = "begin"
    reply: ClassVar[type[Any]] = BeginReply

    kind: Upload
    files: Mapping[str, tuple[str, int]]
    id: str | None = None
    app: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PutRequest(DeviceRequest[Done]):
    """Take the bytes of one listed file from an offset on; they follow the request."""

    do: ClassVar[str] = "put"
    reply: ClassVar[type[Any]] = Done

    path: str
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRequest(DeviceRequest[Done]):
    """Take the scratch files away."""

    do: ClassVar[str] = "sweep"
    reply: ClassVar[type[Any]] = Done


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallEnvironmentRequest(DeviceRequest[Done]):
    """Check the upload, and make it the environment of that id."""

    do: ClassVar[str] = "install environment"
    reply: ClassVar[type[Any]] = Done

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallReleaseRequest(DeviceRequest[Done]):
    """Check the upload, and put it into the slot that does not serve.

    Attributes:
        app: The name of the application.
        release: How the bundle is to run.
        allow_downgrade: Whether an older bundle may replace a newer one.
    """

    do: ClassVar[str] = "install release"
    reply: ClassVar[type[Any]] = Done

    app: str
    release: Release
    allow_downgrade: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SelftestImage:
    """How far the answer to a golden picture is from the building host's, in the report's unit."""

    worst: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SelftestReport:
    """What edge itself reads of the report of a self-test that passed.

    Attributes:
        images: The golden pictures.
        unit: The unit of the differences: ``absolute``, or steps of the output's scale.
        latency_seconds: The median time of one inference.
        peak_memory_bytes: The most memory that the process held.
    """

    images: tuple[SelftestImage, ...]
    unit: str
    latency_seconds: float
    peak_memory_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SelftestReply:
    """The report of a self-test that passed, as the runtime of the release itself printed it."""

    report: Mapping[str, Any]

    def read(self) -> SelftestReport:
        """Return what edge reads of the report.

        Raises:
            Mistyped: It is no such report.
        """
        return typed(SelftestReport, self.report, "the report of the self-test")


@dataclass(frozen=True, slots=True, kw_only=True)
class SelftestRequest(DeviceRequest[SelftestReply]):
    """Run the golden self-test of an installed release; it is stopped after ``timeout`` seconds."""

    do: ClassVar[str] = "selftest"
    reply: ClassVar[type[Any]] = SelftestReply

    app: str
    release: str
    timeout: float

    @property
    def waits(self) -> float:
        """Seconds that the host itself asks the device to take."""
        return self.timeout


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivateRequest(DeviceRequest[Health]):
    """Let a release serve, and prove itself for ``watch`` seconds."""

    do: ClassVar[str] = "activate"
    reply: ClassVar[type[Any]] = Health

    app: str
    release: str
    watch: float

    @property
    def waits(self) -> float:
        """Seconds that the host itself asks the device to take."""
        return self.watch


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackReply:
    """The release that serves again, the one that served before, and the service's answer."""

    release: str
    replaced: str | None
    health: Health


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackRequest(DeviceRequest[RollbackReply]):
    """Go back to the release that was good before, through the same proof as a new one.

    Attributes:
        app: The name of the application.
        watch: Seconds for which the release has to stay healthy.
        timeout: Seconds after which its self-test is stopped.
        reason: Why, for the log.
    """

    do: ClassVar[str] = "rollback"
    reply: ClassVar[type[Any]] = RollbackReply

    app: str
    watch: float
    timeout: float
    reason: str = "asked for by hand"

    @property
    def waits(self) -> float:
        """Seconds that the host itself asks the device to take."""
        return self.watch + self.timeout


@dataclass(frozen=True, slots=True, kw_only=True)
class LogsReply:
    """The last events, oldest first, and the last lines that the service wrote."""

    events: tuple[Event, ...]
    service: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogsRequest(DeviceRequest[LogsReply]):
    """Tell the last events of an application, and the last lines of its service."""

    do: ClassVar[str] = "logs"
    reply: ClassVar[type[Any]] = LogsReply
    locked: ClassVar[bool] = False

    app: str
    lines: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneReply:
    """The ids of the releases and the environments that were taken away."""

    releases: tuple[str, ...] = ()
    environments: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneRequest(DeviceRequest[PruneReply]):
    """Take away what is not needed any more, but for ``keep`` old releases."""

    do: ClassVar[str] = "prune"
    reply: ClassVar[type[Any]] = PruneReply

    app: str
    keep: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UndeployReply:
    """The ids of the environments that went with the application."""

    environments: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UndeployRequest(DeviceRequest[UndeployReply]):
    """Take an application off; pictures in its inbox keep it there unless they may be deleted."""

    do: ClassVar[str] = "undeploy"
    reply: ClassVar[type[Any]] = UndeployReply

    app: str
    delete_inbox: bool


REQUESTS: Final[Mapping[str, type[DeviceRequest[Any]]]] = {
    kind.do: kind
    for kind in (
        LockRequest,
        PingRequest,
        ProvisionRequest,
        StateRequest,
        EnvironmentRequest,
        BeginRequest,
        PutRequest,
        SweepRequest,
        InstallEnvironmentRequest,
        InstallReleaseRequest,
        SelftestRequest,
        ActivateRequest,
        RollbackRequest,
        LogsRequest,
        PruneRequest,
        UndeployRequest,
    )
}


def read_request(value: Mapping[str, Any]) -> DeviceRequest[Any]:
    """Read what ``DeviceRequest.to_json`` gave.

    Raises:
        UsageError: There is no request of that name.
        Mistyped: A field is missing, or of another type.
    """
    name = value.get("do")
    kind = REQUESTS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise UsageError(f"unknown request {name!r}", hint="Use the same version of edge.")
    return typed(kind, value, f"the request {name!r}")
