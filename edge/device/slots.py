"""Which release serves: a link, changed in one step; and what happens when the machine starts.

Releases and environments that nothing needs any more are taken away here, too.
"""

import re
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from edge.device.layout import (
    ENVIRONMENT_FILE,
    RELEASE_FILE,
    App,
    apps,
    control,
    environments,
    make_room,
)
from edge.device.state import (
    MAX_REASON,
    Failure,
    State,
    Trial,
    boot_id,
    changing,
    raise_highest,
    record,
)
from edge.runtime import checked
from edge.runtime.files import fsync_directory
from edge.runtime.printable import one_line

MAX_STARTS = 3  # a release on trial that is started more often crashes


def point(app: App, release: str | None) -> None:
    """Let ``current`` name that release, or nothing; on the disk when this returns."""
    new = app.path / "current.new"
    new.unlink(missing_ok=True)
    if release is None:
        app.current.unlink(missing_ok=True)
    else:
        new.symlink_to(f"releases/{release}")
        new.replace(app.current)
    fsync_directory(app.path)


def is_installed(app: App, release: str | None) -> bool:
    """Return whether that release is there."""
    return release is not None and (app.releases / release / RELEASE_FILE).is_file()


def begin(app: App) -> None:
    """Write the first state, before the first release: releases without one tell of a loss."""
    with changing(app) as file:
        if not app.state.exists():
            file.write(file.state)


def begin_trial(app: App, release: str) -> State:
    """Write down that ``release`` is on trial, then let it be the one that serves."""
    with changing(app) as file:
        trial = Trial(release=release, since=time.time(), boot_id=boot_id())
        file.write(replace(file.state, trial=trial))
    record(app, "trial", release)
    point(app, release)
    return file.state


def commit(app: App, release: str, version: int, *, anew: bool = True) -> None:
    """Write down that ``release`` has proved itself: a later failure falls back to it.

    Args:
        app: Whose release.
        release: Its id.
        version: The version of its bundle.
        anew: Whether a damaged state counts as whole from then on; a rollback leaves it damaged.
    """
    with changing(app) as file:
        state = file.state.committed(release, version)
        if file.state.version is None and not anew:
            state = replace(state, version=None)
        else:
            raise_highest(app, state.version or version)
        file.write(state)
    record(app, "committed", release)


def give_up(app: App, release: str, reason: str) -> str | None:
    """Let the last good release serve again, and write down why, as far as the disk has room.

    Returns:
        The release that ``current`` names now; None where no other one was ever good.

    Raises:
        OSError: ``current`` cannot be changed.
    """
    reason = one_line(reason, MAX_REASON)
    with changing(app) as file:
        good = file.state.last_good
        back = good if good != release and is_installed(app, good) else None
        point(app, back)
        failure = Failure(release=release, reason=reason, at=time.time())
        with suppress(OSError):  # a trial of what ``current`` does not name counts for nothing
            file.write(replace(file.state, trial=None, failure=failure))
    record(app, "rolled back", release, reason)
    return back


def refuse(app: App, release: str, reason: str) -> None:
    """Write down why a release never came to serve; what serves is left alone.

    On a full disk it is only told: whoever asked hears the reason itself.
    """
    reason = one_line(reason, MAX_REASON)
    with suppress(OSError), changing(app) as file:
        failure = Failure(release=release, reason=reason, at=time.time())
        file.write(replace(file.state, failure=failure))
    record(app, "refused", release, reason)


def guard(app: App) -> str | None:
    """Return the release that is to run; called whenever the service starts.

    A release on trial is given up here when the machine restarted before it was committed, or
    when it starts again and again, because nobody else may be left to do so: the host may have
    gone, and the deploy's own process with it.
    """
    try:
        return _guarded(app)
    except OSError:
        return _unwritten(app)


def _guarded(app: App) -> str | None:
    """Return what ``guard`` does where the disk has room."""
    with changing(app) as file:
        trial = file.state.trial
        if trial is not None and app.serving() == trial.release:
            starts = trial.starts + 1
            file.write(replace(file.state, trial=replace(trial, starts=starts)))
            fallback = file.state.last_good
    if trial is not None and app.serving() == trial.release:
        other = fallback != trial.release and is_installed(app, fallback)
        if other and trial.boot_id != boot_id():
            give_up(app, trial.release, "the machine restarted before the release was committed")
        elif other and starts > MAX_STARTS:
            give_up(app, trial.release, f"its service had to be started {starts} times")
    return _mended(app)


def _unwritten(app: App) -> str | None:
    """Return the release that is to run where nothing can be written and no link be changed."""
    state, serving = State.read(app), app.serving()
    trial, good = state.trial, state.last_good
    on_trial = trial is not None and trial.release == serving and trial.boot_id != boot_id()
    if (serving is None or (on_trial and good != serving)) and is_installed(app, good):
        return good
    return serving


def _mended(app: App) -> str | None:
    """Return what ``current`` names; the last good release where it names nothing that is there."""
    serving = app.serving()
    if serving is not None:
        return serving
    good = State.read(app).last_good
    if good is None or not is_installed(app, good):
        return None
    record(app, "mended", good, f"current named nothing, {good} is whole")
    point(app, good)
    return good


# A hash; with a number, one that is being unpacked; with ``open``, one that others could write to.
_OF_CONTROL: Final = re.compile(r"[0-9a-f]{16}(\.[0-9]+(\.open)?)?|\.current\.[0-9]+", re.ASCII)


def prune(app: App | None, *, keep: int) -> tuple[list[str], list[str]]:
    """Take away what is neither serving, nor good, nor among the newest.

    Args:
        app: Whose releases; None for environments only.
        keep: Releases that stay besides the one that serves, the last good one and the one
            before it.

    Returns:
        The ids of the releases and of the environments that went.
    """
    gone = _releases(app, keep) if app is not None else []
    if app is not None:
        for path in app.incoming.iterdir() if app.incoming.is_dir() else ():
            make_room(path)
    _control()
    return gone, _environments()


def _control() -> None:
    """Take other versions of this package away, but for the one that old units start with."""
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
    """Return the environments that no release of any application names."""
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
