"""What can be done with a device besides deploying to it."""

from typing import Any

from edge.deploy.owner import owner
from edge.deploy.session import Session
from edge.deploy.ssh import Address, Remote
from edge.errors import NotDeployed, UsageError
from edge.progress import Progress


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
