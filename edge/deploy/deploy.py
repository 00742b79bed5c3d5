"""Carry a plan out: send, install beside what serves, prove, switch, watch, commit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge.deploy.environments import send_environment, send_files
from edge.deploy.owner import owner
from edge.deploy.plan import Plan
from edge.deploy.session import Session
from edge.deploy.ssh import Remote
from edge.errors import DeviceError
from edge.progress import Progress


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
