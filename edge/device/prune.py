"""Old releases and environments that nothing needs any more."""

import re
from pathlib import Path
from typing import Any, Final

from edge.device.admission import make_room
from edge.device.layout import ENVIRONMENT_FILE, RELEASE_FILE, App, apps, control, environments
from edge.device.state import State
from edge.runtime import checked

# A hash; with a number, one that is being unpacked; with ``open``, one that others could write to.
_OF_CONTROL: Final = re.compile(r"[0-9a-f]{16}(\.[0-9]+(\.open)?)?|\.current\.[0-9]+", re.ASCII)


def prune(app: App | None, *, keep: int) -> dict[str, Any]:
    """Take away what is neither serving, nor good, nor among the newest.

    Args:
        app: Whose releases; None for environments only.
        keep: Releases that stay besides the one that serves, the last good one and the one
            before it.

    Returns:
        Ids of what went: ``releases`` and ``environments``.
    """
    gone = _releases(app, keep) if app is not None else []
    if app is not None:
        for path in app.incoming.iterdir() if app.incoming.is_dir() else ():
            make_room(path)
    _control()
    return {"releases": gone, "environments": _environments()}


def _control() -> None:
    """Other versions of this package, and what making them left, but for the one that serves."""
    ours = control()
    if ours is None:
        return
    current = (ours.parent / "current").resolve()
    for path in ours.parent.iterdir():
        if path not in (ours, current) and _OF_CONTROL.fullmatch(path.name):
            make_room(path)


def _releases(app: App, keep: int) -> list[str]:
    state = State.read(app)
    needed = {app.serving(), state.last_good, state.before}
    if state.trial is not None:
        needed.add(state.trial.release)
    if not app.releases.is_dir():
        return []
    others = [path for path in app.releases.iterdir() if path.name not in needed]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in others[keep:]:
        make_room(path)
    return [path.name for path in others[keep:]]


def _environments() -> list[str]:
    """Environments that no release of any application names."""
    used = {_environment(path) for app in apps() for path in app.releases.glob(f"*/{RELEASE_FILE}")}
    gone = []
    for path in sorted(environments().iterdir()) if environments().is_dir() else ():
        name = path.name.removesuffix(f".{ENVIRONMENT_FILE}")
        if name not in used:
            make_room(path)
            gone.append(name)
    return sorted(set(gone))


def _environment(description: Path) -> str | None:
    try:
        return str(checked.read_json(description)["environment"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
