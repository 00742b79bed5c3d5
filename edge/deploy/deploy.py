"""Carry a plan out, and what else can be done with a device: roll back, take off, read its logs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.deploy.plan import Plan
from edge.deploy.session import Session, owner
from edge.deploy.ssh import Address, Remote
from edge.deploy.wheelhouse import Environment
from edge.errors import DeviceError, NotDeployed, UsageError
from edge.progress import Progress


def send_environment(session: Session, wheels: Environment, progress: Progress) -> int:
    """Send what is missing of it, and install it; bytes sent."""
    sent = send_files(
        session,
        progress,
        "send the interpreter",
        wheels.path,
        {"kind": "environment", "id": wheels.id, "files": dict(wheels.files)},
    )
    session.ask("install environment", id=wheels.id)
    return sent


def send_files(
    session: Session, progress: Progress, title: str, folder: Path, listed: dict[str, Any]
) -> int:
    """Send what the device lacks of the listed files of a folder.

    Args:
        session: Under the device's lock.
        progress: Is shown kilobytes.
        title: Of the stage.
        folder: Of the files.
        listed: The ``begin`` request: ``kind``, ``files`` and what else it needs.

    Returns:
        Bytes sent.
    """
    missing: dict[str, int] = session.ask("begin", **listed)["missing"]
    for path, have in missing.items():  # no other file of this machine, nor another part of it
        if path not in listed["files"] or not 0 <= have <= listed["files"][path][1]:
            raise DeviceError(f"the device asks for {path[:200]!r} from byte {have} on")
    total: int = sum(listed["files"][path][1] - have for path, have in missing.items())
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
        changed: Whether anything was done; a release that serves already is left alone.
        sent_bytes: Of files.
        selftest: The runtime's report, or None.
        health: The service's answer.
    """

    host: str
    app: str
    release: str
    changed: bool
    sent_bytes: int
    selftest: Mapping[str, Any] | None
    health: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "host": self.host,
            "app": self.app,
            "release": self.release,
            "changed": self.changed,
            "sent_bytes": self.sent_bytes,
            "selftest": self.selftest,
            "health": self.health,
        }


def deploy(remote: Remote, plan: Plan, progress: Progress) -> Outcome:
    """Bring the release to the device, or leave the device as it was.

    Raises:
        DeployFailed: The release did not prove itself; the one before serves.
        EdgeError: The device refused, or the connection ended; run it again to go on.
    """
    with Session(remote, note=progress.note) as session:
        session.ask("lock", owner=owner(), what=f"edge deploy of {plan.app} {plan.release.id}")
        done = session.ask(
            "provision",
            key=plan.options.key.allowed_signer,
            device=plan.profile.id,
            again=plan.options.provision,
        )["done"]
        if done:
            progress.note(f"set up there for the first time: {', '.join(done)}")
        return _Deploy(session, remote, plan, progress).run()


class _Deploy:
    """One deploy, under the device's lock."""

    def __init__(self, session: Session, remote: Remote, plan: Plan, progress: Progress) -> None:
        self._session = session
        self._remote = remote
        self._plan = plan
        self._progress = progress
        self._sent = 0

    def run(self) -> Outcome:
        plan, release = self._plan, self._plan.release
        found = self._session.ask("state", app=plan.app)["apps"]
        if len(found) != 1:
            raise DeviceError(f"the device answers for {len(found)} applications, asked for one")
        state = found[0]
        proved = state["healthy"] and not state["on_trial"]
        if state["release"] == release.id == state["last_good"] and proved:
            return self._outcome(None, state.get("health") or {}, changed=False)
        known = self._session.ask("has environment", environment=release.environment)
        if not known["environment"]:
            self._sent += send_environment(self._session, plan.environment, self._progress)
        self._send_release()
        selftest = self._selftest()
        health = self._activate()
        with self._progress.stage("clean up"):
            self._session.ask("prune", app=plan.app, keep=plan.options.keep)
        return self._outcome(selftest, health, changed=True)

    def _send_release(self) -> None:
        plan = self._plan
        listed = {"kind": "release", "app": plan.app, "id": plan.release.id, "files": plan.files}
        self._sent += send_files(
            self._session, self._progress, "send the bundle", plan.bundle.path, listed
        )
        with self._progress.stage("verify hashes and signature there"):
            self._session.ask(
                "install release",
                app=plan.app,
                release=plan.release.to_json(),
                allow_downgrade=plan.options.allow_downgrade,
            )

    def _selftest(self) -> dict[str, Any]:
        plan = self._plan
        with self._progress.stage("self-test there"):
            return self._session.ask(
                "selftest",
                app=plan.app,
                release=plan.release.id,
                timeout=plan.options.selftest_seconds,
            )

    def _activate(self) -> dict[str, Any]:
        plan = self._plan
        with self._progress.stage("switch, health check, watch"):
            return self._session.ask(
                "activate",
                app=plan.app,
                release=plan.release.id,
                watch=plan.options.watch_seconds,
            )

    def _outcome(
        self, selftest: Mapping[str, Any] | None, health: Mapping[str, Any], *, changed: bool
    ) -> Outcome:
        return Outcome(
            host=self._remote.address.host,
            app=self._plan.app,
            release=self._plan.release.id,
            changed=changed,
            sent_bytes=self._sent,
            selftest=selftest,
            health=health,
        )


def states(address: Address, app: str | None) -> dict[str, Any]:
    """``device`` (its type) and ``apps``: release, healthy, last_good, reason of each.

    Args:
        address: Of the device.
        app: One application; None for all.
    """
    with Remote(address) as remote, Session(remote) as session:
        return session.ask("state", app=app)


def logs(address: Address, app: str | None, lines: int) -> dict[str, Any]:
    """``events``, oldest first, and ``service``, what the service said."""
    with Remote(address) as remote, Session(remote) as session:
        name = _app(session, app)
        return {"app": name, **session.ask("logs", app=name, lines=lines)}


def roll_back(
    address: Address,
    app: str | None,
    *,
    reason: str,
    watch_seconds: float,
    selftest_seconds: float,
    progress: Progress,
) -> dict[str, Any]:
    """Let the release that was good before serve.

    Raises:
        NotDeployed: There is none.
        DeviceError: The device is locked.
        DeployFailed: It did not prove itself; what served serves.
    """
    with Remote(address) as remote, Session(remote, note=progress.note) as session:
        name = _app(session, app)
        session.ask("lock", owner=owner(), what=f"edge rollback of {name}")
        with progress.stage("self-test, switch, health check, watch"):
            done = session.ask(
                "rollback", app=name, reason=reason, watch=watch_seconds, timeout=selftest_seconds
            )
        return {"app": name, **done}


def take_off(address: Address, app: str | None, *, delete_inbox: bool) -> dict[str, Any]:
    """Remove an application from the device.

    Raises:
        NotDeployed: It is not there.
        DeviceError: Its inbox holds pictures, or the device is locked.
    """
    with Remote(address) as remote, Session(remote) as session:
        name = _app(session, app)
        session.ask("lock", owner=owner(), what=f"edge undeploy of {name}")
        return {"app": name, **session.ask("undeploy", app=name, delete_inbox=delete_inbox)}


def _app(session: Session, app: str | None) -> str:
    """The named application, or the only one there."""
    if app is not None:
        return app
    names = [item["app"] for item in session.ask("state")["apps"]]
    if not names:
        raise NotDeployed("no application of edge is on this device", hint="edge deploy puts one.")
    if len(names) > 1:
        raise UsageError(f"this device has {', '.join(names)}", hint="Name one with --app.")
    return str(names[0])
