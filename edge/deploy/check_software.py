"""Findings about a device's system, Python, wheels, services, and what edge left there."""

from collections.abc import Iterator
from typing import Final

from devices.profile import Profile
from edge.deploy.facts import Facts, User
from edge.deploy.finding import Finding
from edge.deploy.wheelhouse.lock import Target, locked
from edge.errors import DeviceError

OLDEST_PYTHON: Final = (3, 11)
PYTHON_WAY_OUT: Final = "Debian 12, Raspberry Pi OS Bookworm and later have Python 3.11 or newer."


def architecture(facts: Facts, board: Profile) -> Iterator[Finding]:
    """Instruction set, and a 32-bit system on a 64-bit kernel."""
    about = "architecture"
    if board.estimate_only:
        yield Finding.error(
            about,
            f"{board.name} runs no Linux: its times are only estimated",
            f"edge benchmark --accelerator ethos-u estimates ({board.estimate_only}).",
        )
        return
    found = facts.machine
    if found is None:
        return
    if found.name != board.machine:
        yield Finding.error(
            about,
            f"{found.name}; {board.id} is {board.machine}",
            "Install the 64-bit system."
            if found.name.startswith("armv")
            else "Name the right board with --device; edge devices lists them.",
        )
    elif found.bits == 32:
        yield Finding.error(
            about,
            f"a 64-bit kernel ({found.name}) with a 32-bit system",
            "Install the 64-bit system: there are no wheels for the 32-bit one.",
        )
    else:
        yield Finding.ok(about, f"{found.name}, {found.cores} cores, Linux {found.kernel}")


def model(facts: Facts, board: Profile) -> Iterator[Finding]:
    """Whether the device says that it is the board that was named."""
    said = facts.machine.model if facts.machine else None
    if board.match and not (said or "").startswith(board.match):
        yield Finding.warning(
            "board",
            f"says that it is {said or 'nothing known'}; its profile is {board.id}",
            "If that is not meant, leave out --device, or name the right one.",
        )
    elif facts.machine:
        yield Finding.ok("board", f"{said or 'not stated'} ({board.id})")


def system(facts: Facts, _: Profile) -> Iterator[Finding]:
    """The operating system's name, for the record."""
    if facts.system:
        yield Finding.ok("system", facts.system.name or "not stated")


def python(facts: Facts, _: Profile) -> Iterator[Finding]:
    """Whether python3 is there and new enough."""
    if facts.python is None:
        if "there is no" in facts.errors.get("python", ""):
            yield Finding.error("Python", "there is no python3", "sudo apt install python3")
        return
    found = tuple(int(part) for part in facts.python.version.split(".")[:2] if part.isdigit())
    if found >= OLDEST_PYTHON:
        yield Finding.ok("Python", f"{facts.python.version} ({facts.python.path})")
        return
    beside = [
        f"{path} is {version}: let python3 mean it (PATH in ~/.bashrc, or a link in ~/.local/bin)."
        for path, version in facts.python.others.items()
    ]
    yield Finding.error(
        "Python",
        f"{facts.python.version}; edge needs 3.11 or newer",
        (beside or [f"Install a newer system: {PYTHON_WAY_OUT}"])[0],
    )


def wheels(facts: Facts, board: Profile) -> Iterator[Finding]:
    """Whether there are wheels for its Python and glibc, and the libraries that they need."""
    if facts.machine is None or facts.python is None or facts.libraries is None:
        return
    try:
        found = locked(board.engine, Target.of(facts))
    except DeviceError as error:
        yield Finding.error("wheels", error.message, error.hint)
    else:
        names = ", ".join(f"{wheel.name} {wheel.version}" for wheel in found)
        yield Finding.ok("wheels", f"{names}; glibc {facts.libraries.glibc}")
    missing = [name for name, there in facts.libraries.found.items() if not there]
    if missing:
        yield Finding.error(
            "libraries",
            f"cannot be loaded: {', '.join(missing)}; the wheels take it from the system",
            "sudo apt install libstdc++6 libgcc-s1 zlib1g",
        )


def services(facts: Facts, _: Profile) -> Iterator[Finding]:
    """systemd's user manager, and linger: the service has to outlive the login."""
    user = facts.user
    if user is None:
        return
    if not user.systemd:
        yield Finding.error(
            "services",
            "the device was not started by systemd, whose user services edge uses",
            "Use a system with systemd; in a container, run edge.runtime by hand.",
        )
    elif not user.manager:
        yield Finding.error(
            "services",
            f"systemd runs no user manager for {user.name}",
            f"{_linger(user)}; sshd needs UsePAM yes.",
        )
    elif not user.linger and user.sudo:
        yield Finding.warning(
            "services",
            f"services of {user.name} stop at the end of the login (no linger)",
            "edge deploy turns it on, with sudo where that is needed.",
        )
    elif not user.linger:
        yield Finding.warning(
            "services",
            f"services of {user.name} stop at the end of the login (no linger)",
            f"edge deploy turns it on if it may. {_linger(user)}, once.",
        )
    else:
        yield Finding.ok("services", f"systemd user manager of {user.name}, with linger")
    if user.tools.get("ssh-keygen") is None:
        yield Finding.error(
            "signatures",
            "there is no ssh-keygen, which checks the bundle's signature",
            "sudo apt install openssh-client",
        )


def _linger(user: User) -> str:
    command = f"loginctl enable-linger {user.name}"
    if user.root:
        return f"Run there: {command}"
    if user.sudo:
        return f"Run there: sudo {command}"
    return f"Run there, as somebody who may: sudo {command}"


_ALONE = (
    "Let it be a folder of this user alone, with chown and chmod go-w; edge deploy refuses it "
    "until then."
)


def installation(facts: Facts, _: Profile) -> Iterator[Finding]:
    """What edge has left on the device, and what of it is broken."""
    found = facts.installed
    if found is None:
        return
    for problem in found.problems:
        yield Finding.warning("edge", problem, "The next edge deploy mends it.")
    for what in found.unsafe:
        yield Finding.error("permissions", what, _ALONE)
    for what in found.exposed:
        yield Finding.warning("permissions", what, "The next edge deploy takes them away.")
    for name, app in found.apps.items():
        for problem in app.problems:
            yield Finding.warning(f"app {name}", problem, "The next edge deploy mends it.")
        if app.leftovers:
            yield Finding.warning(
                f"app {name}",
                f"left by a deploy that was cut off: {', '.join(app.leftovers)}",
                "The same edge deploy goes on from there; any other removes it.",
            )
        if not app.problems and app.damage() is None:
            count = len(app.releases)
            yield Finding.ok(f"app {name}", f"serves {app.current or 'nothing'}, {count} releases")
    if not found.apps and not found.problems:
        yield Finding.ok("edge", "nothing deployed yet")


def states(facts: Facts) -> Iterator[Finding]:
    """Applications of which the device refuses every new release, since their state is damaged."""
    for name, app in (facts.installed.apps if facts.installed else {}).items():
        damage = app.damage()
        if damage is not None:
            yield Finding.error(
                f"app {name}",
                f"the state is damaged: {damage}; what serves goes on, and every new release of "
                f"{name} is refused",
                "If you know that the bundle is no older than what was deployed here, deploy it "
                "once with --allow-downgrade: the state is written anew with it.",
            )
