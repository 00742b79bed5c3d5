"""Carry a plan out, and what else can be done with a device: roll back, take off, read its logs."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge.deploy.plan import DeployPlan, TimedVariant
from edge.deploy.session import Conversation
from edge.deploy.ssh import Address, Remote
from edge.deploy.wheelhouse import Environment
from edge.device.messages import (
    ActivateRequest,
    BeginRequest,
    EnvironmentRequest,
    Health,
    InstallEnvironmentRequest,
    InstallReleaseRequest,
    LogsReply,
    LogsRequest,
    ProvisionRequest,
    PruneRequest,
    RollbackReply,
    RollbackRequest,
    SelftestReply,
    SelftestRequest,
    StateReply,
    StateRequest,
    UndeployRequest,
    Upload,
)
from edge.errors import DeviceError, NotDeployed, UsageError
from edge.progress import Progress


def send_environment(session: Conversation, wheels: Environment, progress: Progress) -> int:
    """Send what is missing of an environment, and install it; return the bytes sent."""
    listed = BeginRequest(kind=Upload.ENVIRONMENT, id=wheels.id, files=dict(wheels.files))
    sent = send_files(session, progress, "send the interpreter", wheels.path, listed)
    session.ask(InstallEnvironmentRequest(id=wheels.id))
    return sent


def send_files(
    session: Conversation, progress: Progress, title: str, folder: Path, listed: BeginRequest
) -> int:
    """Send what the device lacks of the listed files of a folder.

    Args:
        session: The conversation, under the device's lock.
        progress: Is shown kilobytes.
        title: The title of the stage.
        folder: The folder of the files.
        listed: The files, and what they are of.

    Returns:
        The bytes sent.
    """
    missing = session.ask(listed).missing
    for path, have in missing.items():  # no other file of this machine, nor another part of it
        if path not in listed.files or not 0 <= have <= listed.files[path][1]:
            raise DeviceError(f"the device asks for {path[:200]!r} from byte {have} on")
    total = sum(listed.files[path][1] - have for path, have in missing.items())
    with progress.stage(f"{title}, kB", round(total / 1000)) as step:
        session.put_all(missing, folder, _Kilobytes(step).add)
    return total


class _Kilobytes:
    """Tells a stage of whole kilobytes."""

    def __init__(self, step: Callable[[int], None]) -> None:
        self._step = step
        self._bytes = 0

    def add(self, count: int) -> None:
        before = self._bytes // 1000
        self._bytes += count
        self._step(self._bytes // 1000 - before)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a deploy came to.

    Attributes:
        host: As the user named it.
        app: Name of the application.
        release: Id that serves now.
        variant: The model file that serves.
        variant_reason: Why it is that one.
        timed: The variants that were timed there for it.
        changed: Whether anything was done; a release that serves already is left alone.
        sent_bytes: The size of the files that were sent.
        selftest: The runtime's report, or None.
        health: The service's answer.
    """

    host: str
    app: str
    release: str
    variant: str
    variant_reason: str
    timed: tuple[TimedVariant, ...]
    changed: bool
    sent_bytes: int
    selftest: SelftestReply | None
    health: Health | None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {
            "host": self.host,
            "app": self.app,
            "release": self.release,
            "variant": self.variant,
            "variant_reason": self.variant_reason,
            "timed": [asdict(item) for item in self.timed],
            "changed": self.changed,
            "sent_bytes": self.sent_bytes,
            "selftest": None if self.selftest is None else self.selftest.report,
            "health": {} if self.health is None else self.health.to_json(),
        }


def deploy(remote: Remote, plan: DeployPlan, progress: Progress) -> Outcome:
    """Bring the release to the device, or leave the device as it was.

    Raises:
        DeployFailed: The release did not prove itself; the one before serves.
        EdgeError: The device refused, or the connection ended; run it again to go on.
    """
    with Conversation(remote, note=progress.note) as session:
        session.lock(f"edge deploy of {plan.app} {plan.release.id}")
        done = session.ask(
            ProvisionRequest(
                key=plan.options.key.allowed_signer,
                device=plan.profile.id,
                again=plan.options.provision,
            )
        ).done
        if done:
            progress.inform(f"set up there for the first time: {', '.join(done)}")
        return _Deploy(session, remote, plan, progress).run()


class _Deploy:
    """One deploy, under the device's lock."""

    def __init__(
        self, session: Conversation, remote: Remote, plan: DeployPlan, progress: Progress
    ) -> None:
        self._session = session
        self._remote = remote
        self._plan = plan
        self._progress = progress
        self._sent = 0

    def run(self) -> Outcome:
        plan, release = self._plan, self._plan.release
        states = self._session.ask(StateRequest(app=plan.app)).apps
        if len(states) != 1:
            raise DeviceError(f"the device answers for {len(states)} applications, asked for one")
        (state,) = states
        proved = state.healthy and not state.on_trial
        if state.release == release.id == state.last_good and proved:
            return self._outcome(None, state.health, changed=False)
        known = self._session.ask(EnvironmentRequest(environment=release.environment))
        if not known.environment:
            self._sent += send_environment(self._session, plan.environment, self._progress)
        self._send_release()
        selftest = self._selftest()
        health = self._activate()
        with self._progress.stage("clean up"):
            self._session.ask(PruneRequest(app=plan.app, keep=plan.options.keep))
        return self._outcome(selftest, health, changed=True)

    def _send_release(self) -> None:
        plan, release = self._plan, self._plan.release
        listed = BeginRequest(
            kind=Upload.RELEASE, app=plan.app, id=release.id, files=dict(plan.files)
        )
        self._sent += send_files(
            self._session, self._progress, "send the bundle", plan.bundle.path, listed
        )
        downgrade = plan.options.allow_downgrade
        with self._progress.stage("verify hashes and signature there"):
            self._session.ask(
                InstallReleaseRequest(app=plan.app, release=release, allow_downgrade=downgrade)
            )

    def _selftest(self) -> SelftestReply:
        plan = self._plan
        seconds = plan.options.selftest_seconds
        with self._progress.stage("self-test there"):
            return self._session.ask(
                SelftestRequest(app=plan.app, release=plan.release.id, timeout=seconds)
            )

    def _activate(self) -> Health:
        plan = self._plan
        seconds = plan.options.watch_seconds
        with self._progress.stage("switch, health check, watch"):
            return self._session.ask(
                ActivateRequest(app=plan.app, release=plan.release.id, watch=seconds)
            )

    def _outcome(
        self, selftest: SelftestReply | None, health: Health | None, *, changed: bool
    ) -> Outcome:
        return Outcome(
            host=self._remote.address.host,
            app=self._plan.app,
            release=self._plan.release.id,
            variant=self._plan.release.variant,
            variant_reason=self._plan.variant_reason,
            timed=self._plan.timed,
            changed=changed,
            sent_bytes=self._sent,
            selftest=selftest,
            health=health,
        )


def states(address: Address, app: str | None) -> StateReply:
    """Ask a device what serves there, and whether it is well.

    Args:
        address: The address of the device.
        app: One application; None for all.
    """
    with Remote(address) as remote, Conversation(remote) as session:
        return session.ask(StateRequest(app=app))


def logs(address: Address, app: str | None, lines: int) -> tuple[str, LogsReply]:
    """Ask for an application's last events and its service's words; return its name as well."""
    with Remote(address) as remote, Conversation(remote) as session:
        name = _app(session, app)
        return name, session.ask(LogsRequest(app=name, lines=lines))


def roll_back(
    address: Address,
    app: str | None,
    *,
    reason: str,
    watch_seconds: float,
    selftest_seconds: float,
    progress: Progress,
) -> tuple[str, RollbackReply]:
    """Let the release that was good before serve; return the application's name and the reply.

    Raises:
        NotDeployed: There is none.
        DeviceError: The device is locked.
        DeployFailed: It did not prove itself; what served serves.
    """
    with Remote(address) as remote, Conversation(remote, note=progress.note) as session:
        name = _app(session, app)
        session.lock(f"edge rollback of {name}")
        request = RollbackRequest(
            app=name, reason=reason, watch=watch_seconds, timeout=selftest_seconds
        )
        with progress.stage("self-test, switch, health check, watch"):
            return name, session.ask(request)


def take_off(
    address: Address, app: str | None, *, delete_inbox: bool
) -> tuple[str, tuple[str, ...]]:
    """Remove an application; return its name, and the ids of the environments that went.

    Raises:
        NotDeployed: It is not there.
        DeviceError: Its inbox holds pictures, or the device is locked.
    """
    with Remote(address) as remote, Conversation(remote) as session:
        name = _app(session, app)
        session.lock(f"edge undeploy of {name}")
        reply = session.ask(UndeployRequest(app=name, delete_inbox=delete_inbox))
        return name, reply.environments


def _app(session: Conversation, app: str | None) -> str:
    """Return the named application, or the only one there."""
    if app is not None:
        return app
    names = [state.app for state in session.ask(StateRequest()).apps]
    if not names:
        raise NotDeployed("no application of edge is on this device", hint="edge deploy puts one.")
    if len(names) > 1:
        raise UsageError(f"this device has {', '.join(names)}", hint="Name one with --app.")
    return names[0]
