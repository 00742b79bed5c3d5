"""The service of an application: a systemd user unit, and what systemd says of it."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.device.layout import App, control, make_room, root, runtime_folder
from edge.errors import DeviceError
from edge.runtime.files import write_bytes

_SECONDS: Final = 90  # for one systemctl command; starting is waited for elsewhere
RESTARTS: Final = 5  # in RESTART_WINDOW_SECONDS; after that systemd gives up
RESTART_WINDOW_SECONDS: Final = 600

_UNIT: Final = """\
[Unit]
Description=edge: {app}
StartLimitIntervalSec={window}
StartLimitBurst={restarts}

[Service]
Type=notify
NotifyAccess=main
ExecStart="{python}" -P -s -m edge.device.launch {app}
Environment="PYTHONPATH={control}" PYTHONUNBUFFERED=1
Restart=always
OOMPolicy=continue
RestartSec=2
TimeoutStartSec={start}
TimeoutStopSec=20
WatchdogSec={watchdog}
NoNewPrivileges=yes

[Install]
WantedBy=default.target
"""

MOST_SAID: Final = 1 << 19  # bytes of the journal that a host is told


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """What systemd says.

    Attributes:
        active: ``active``, ``activating``, ``failed``, ``inactive`` and so on.
        pid: The number of the main process; 0 for none.
        restarts: By systemd, since the last start by hand.
        result: ``success``, or why it ended: ``exit-code``, ``watchdog``, ``timeout``, ``signal``.
    """

    active: str
    pid: int
    restarts: int
    result: str


def install(app: App, *, python: str, start_seconds: int, watchdog_seconds: int) -> None:
    """Write the unit, have it started at boot, and put both on the disk."""
    own = _own_package(app)
    text = _UNIT.format(
        app=app.name,
        python=_escaped(python),
        control=_escaped(str(own)),
        window=RESTART_WINDOW_SECONDS,
        restarts=RESTARTS,
        start=start_seconds,
        watchdog=watchdog_seconds,
    ).encode()
    place = _place(app)
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.is_file() or place.read_bytes() != text:
        write_bytes(place, text)
        _systemctl("daemon-reload")
    place.chmod(0o600)  # it says what runs, and an older edge left its mode to the umask
    place.parent.chmod(place.parent.stat().st_mode & 0o755)
    _systemctl("enable", app.unit)
    _point_control()
    os.sync()  # the link that systemctl made
    for other in app.control.iterdir() if app.control.is_dir() else ():
        if other != own:
            make_room(other)


def _own_package(app: App) -> Path:
    """Return this package in the folder of the application, which is put there where it is missing.

    An older edge that deploys something else to the device makes its own package the current one,
    and it may not understand the releases of this application.
    """
    shipped = control()
    if shipped is None:
        return root() / "control" / "current"
    own = app.control / shipped.name
    if not own.is_dir():
        new = app.control / f"{shipped.name}.{os.getpid()}"
        make_room(new)
        shutil.copytree(shipped, new)
        os.sync()
        new.rename(own)
    return own


def _point_control() -> None:
    """Let this version be the one that services of an older edge's units start with."""
    place = control()
    if place is None:
        return
    new = place.parent / f".current.{os.getpid()}"
    new.unlink(missing_ok=True)
    new.symlink_to(place.name)
    new.replace(place.parent / "current")


def outlive_login() -> str | None:
    """Let services of this user run without a login; what was done for it, or None.

    A user may mostly turn it on alone; where polkit is missing or says no, sudo may do it.

    Raises:
        DeviceError: Neither may.
    """
    name = pwd.getpwuid(os.getuid()).pw_name
    shown = _loginctl("show-user", name, "--property=Linger", "--value")
    if shown.strip() == "yes" or Path("/var/lib/systemd/linger", name).exists():
        return None
    for before in ((), ("sudo", "-n")):
        _loginctl("enable-linger", name, before=before)
        if _loginctl("show-user", name, "--property=Linger", "--value").strip() == "yes":
            return "services outlive the login (linger)"
    raise DeviceError(
        f"services of {name} would stop at the end of the login",
        hint=f"Run there: sudo loginctl enable-linger {name}",
    )


def _loginctl(*arguments: str, before: Sequence[str] = ()) -> str:
    try:
        done = subprocess.run(
            [*before, "loginctl", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace")


def restart(app: App) -> None:
    """Start what ``current`` names now, without waiting until it is ready.

    The one before has ended when this returns, so that it cannot answer in place of the new one.
    """
    _systemctl("stop", app.unit, check=False)
    _systemctl("reset-failed", app.unit, check=False)
    _systemctl("start", "--no-block", app.unit)


def stop(app: App) -> None:
    """Stop it, and no longer start it at boot."""
    _systemctl("disable", app.unit, check=False)
    _systemctl("stop", app.unit, check=False)


def remove(app: App) -> None:
    """Stop it and take the unit away."""
    stop(app)
    _place(app).unlink(missing_ok=True)
    _systemctl("daemon-reload", check=False)


def status(app: App) -> ServiceStatus:
    """Ask systemd."""
    text = _systemctl(
        "show", "-p", "ActiveState", "-p", "MainPID", "-p", "NRestarts", "-p", "Result", app.unit
    )
    fields = dict(line.partition("=")[::2] for line in text.splitlines())
    return ServiceStatus(
        active=fields.get("ActiveState", "unknown"),
        pid=int(fields.get("MainPID") or 0),
        restarts=int(fields.get("NRestarts") or 0),
        result=fields.get("Result", "unknown"),
    )


def said(app: App, lines: int) -> str:
    """Return the last lines that the service wrote, from systemd's journal; empty without one."""
    try:
        done = subprocess.run(
            ["journalctl", "--user-unit", app.unit, "-n", str(lines), "--no-pager", "-o", "cat"],
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            env=_environ(),
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout[-MOST_SAID:].decode(errors="replace")


def _place(app: App) -> Path:
    return Path.home() / ".config" / "systemd" / "user" / app.unit


def _escaped(text: str) -> str:
    """Return a path within double quotes of a unit file (systemd.syntax(7), systemd.unit(5))."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")


def _environ() -> Mapping[str, str]:
    """Return the environment for systemctl, a part of which a session of ssh may lack."""
    folder = str(runtime_folder())
    return {"XDG_RUNTIME_DIR": folder, **os.environ}


def _systemctl(*arguments: str, check: bool = True) -> str:
    try:
        done = subprocess.run(
            ["systemctl", "--user", *arguments],
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            env=_environ(),
        )
    except FileNotFoundError:
        raise DeviceError(
            "this device has no systemctl", hint="edge keeps its service with systemd."
        ) from None
    except subprocess.TimeoutExpired:
        raise DeviceError(f"systemctl {arguments[0]} gave no answer in {_SECONDS} s") from None
    if check and done.returncode:
        text = done.stderr.decode(errors="replace").strip().splitlines()
        raise DeviceError(
            f"systemctl --user {arguments[0]} failed: {text[-1] if text else 'no reason given'}",
            hint="Run edge doctor for this device.",
        )
    return done.stdout.decode(errors="replace")
