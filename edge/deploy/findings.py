"""Judge what a device says of itself: can a bundle be deployed to it, and what is in the way?"""

from collections.abc import Iterator
from typing import Final

from devices.profile import MACHINES, BoardAccelerator, Profile, profile, profiles
from edge.deploy.camera_findings import camera_of, cameras
from edge.deploy.facts import Disk, Facts, User
from edge.deploy.finding import Finding, Severity
from edge.deploy.wheelhouse.environment import environment_id
from edge.deploy.wheelhouse.lock import Platform, locked
from edge.device.release import LiveSettings
from edge.errors import DeviceError

OLDEST_PYTHON: Final = (3, 11)
PYTHON_WAY_OUT: Final = "Debian 12, Raspberry Pi OS Bookworm and later have Python 3.11 or newer."


def architecture(facts: Facts, board: Profile) -> Iterator[Finding]:
    """Judge the instruction set, and a 32-bit system on a 64-bit kernel."""
    about = "architecture"
    if board.estimate_only:
        yield Finding.error(
            about,
            f"{board.name} runs no Linux: its times are only estimated",
            f"edge benchmark --accelerator ethos-u estimates ({board.estimate_only}).",
        )
        return
    machine = facts.machine
    if machine is None:
        return
    if machine.name != board.machine:
        yield Finding.error(
            about,
            f"{machine.name}; {board.id} is {board.machine}",
            "Install the 64-bit system."
            if machine.name.startswith("armv")
            else "Name the right board with --device; edge devices lists them.",
        )
    elif machine.bits == 32:
        yield Finding.error(
            about,
            f"a 64-bit kernel ({machine.name}) with a 32-bit system",
            "Install the 64-bit system: there are no wheels for the 32-bit one.",
        )
    else:
        yield Finding.ok(about, f"{machine.name}, {machine.cores} cores, Linux {machine.kernel}")


def model(facts: Facts, board: Profile) -> Iterator[Finding]:
    """Judge whether the device says that it is the board that was named."""
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
    """Judge the operating system's name, for the record."""
    if facts.system:
        yield Finding.ok("system", facts.system.name or "not stated")


def python(facts: Facts, _: Profile) -> Iterator[Finding]:
    """Judge whether python3 is there and new enough."""
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
    """Judge whether there are wheels for its Python and glibc, and the libraries that they need."""
    if facts.machine is None or facts.python is None or facts.libraries is None:
        return
    try:
        locked_wheels = locked(board.engine, Platform.of(facts))
    except DeviceError as error:
        yield Finding.error("wheels", error.message, error.hint)
    else:
        names = ", ".join(f"{wheel.name} {wheel.version}" for wheel in locked_wheels)
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
    """Judge what edge has left on the device, and what of it is broken."""
    installed = facts.installed
    if installed is None:
        return
    for problem in installed.problems:
        yield Finding.warning("edge", problem, "The next edge deploy mends it.")
    for what in installed.unsafe:
        yield Finding.error("permissions", what, _ALONE)
    for what in installed.exposed:
        yield Finding.warning("permissions", what, "The next edge deploy takes them away.")
    for name, app in installed.apps.items():
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
    if not installed.apps and not installed.problems:
        yield Finding.ok("edge", "nothing deployed yet")


def states(facts: Facts) -> Iterator[Finding]:
    """Judge the applications whose damaged state lets the device refuse every new release."""
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


# The runner with MobileNet was measured at 71 MiB with LiteRT and 96 MiB with ONNX Runtime
# (x86-64); while a release is tried, the one before goes on.
LEAST_MEMORY: Final = 100_000_000  # bytes that a process can get
SPARE_MEMORY: Final = 200_000_000
# Unpacked environments were measured at 58 to 94 MB; two releases with their bundles come on top.
ENVIRONMENT: Final = 100_000_000
BUNDLES: Final = 50_000_000
SPARE_DISK: Final = 500_000_000
LEAST_INODES: Final = 2_000  # an environment has some 350 files, a bundle some 30
# The firmware of a Raspberry Pi lowers the clock from 80 degrees Celsius on
# (raspberrypi.com/documentation/computers/raspberry-pi.html, frequency management).
HOT_C: Final = 80.0
SKEW_SECONDS: Final = 60.0
NO_CLOCK: Final = 1_577_836_800  # 2020-01-01: a board without a battery wakes up before it


def memory(facts: Facts, _: Profile) -> Iterator[Finding]:
    """Judge what a new process can get."""
    room = facts.memory
    if room is None:
        return
    free, total = room.available_bytes + room.swap_bytes, room.total_bytes
    text = f"{_mb(room.available_bytes)} of {_mb(total)} available"
    if free < LEAST_MEMORY:
        yield Finding.error(
            "memory", f"{text}; the runner takes some {_mb(LEAST_MEMORY)}", "Stop other programs."
        )
    elif free < SPARE_MEMORY:
        yield Finding.warning(
            "memory",
            f"{text}; during a deploy two releases run",
            "Stop other programs, such as a desktop, or add swap.",
        )
    else:
        yield Finding.ok("memory", text)


def disk(facts: Facts, board: Profile) -> Iterator[Finding]:
    """Judge whether the home folder can hold and run what is deployed."""
    home = facts.disk
    if home is None:
        return
    text = f"{_mb(home.free_bytes)} free at {home.path}"
    hint = "Free some space: sudo apt clean, journalctl --vacuum-size=50M, edge undeploy."
    needed = _needed(facts, board)
    if not home.writable:
        yield Finding.error(
            "disk",
            f"{home.path} cannot be written",
            "Is it mounted read-only (overlay file system: raspi-config), or of another user?",
        )
    elif home.free_bytes < needed:
        yield Finding.error("disk", f"{text}; some {_mb(needed)} are needed", hint)
    elif home.inodes and home.free_inodes < LEAST_INODES:
        yield Finding.error("disk", f"{home.free_inodes} inodes free at {home.path}", hint)
    elif home.free_bytes < SPARE_DISK:
        yield Finding.warning("disk", text, hint)
    else:
        yield Finding.ok("disk", text)
    yield from _noexec(home)


def _noexec(found: Disk) -> Iterator[Finding]:
    if found.noexec:
        yield Finding.error(
            "disk",
            f"{found.path} is mounted noexec: no library can be loaded from there",
            "Mount it without noexec (/etc/fstab), or log in as a user with another home.",
        )


def _needed(facts: Facts, board: Profile) -> int:
    """Return the bytes that a deploy will write; the environment may be there already."""
    try:
        known = environment_id(locked(board.engine, Platform.of(facts)))
    except DeviceError:  # said among the wheels
        return BUNDLES
    there = facts.installed.environments if facts.installed else ()
    return BUNDLES + (0 if known in there else ENVIRONMENT)


def clock(facts: Facts, _: Profile) -> Iterator[Finding]:
    """Judge whether the device's clock can be believed; its log has the times of it."""
    if facts.clock is None:
        return
    hint = "Run there: sudo timedatectl set-ntp true; without a network: sudo date --set=TIME."
    skew = facts.clock_skew_seconds or 0.0
    if facts.clock.unix_seconds < NO_CLOCK:
        yield Finding.warning("clock", f"it is {_year(facts.clock.unix_seconds)} there", hint)
    elif abs(skew) > SKEW_SECONDS:
        side = "ahead of" if skew > 0 else "behind"
        yield Finding.warning("clock", f"{_duration(abs(skew))} {side} this machine's", hint)
    else:
        yield Finding.ok("clock", f"within {SKEW_SECONDS:.0f} s of this machine's")


def processor(facts: Facts, _: Profile) -> Iterator[Finding]:
    """Judge the governor, heat and power.

    These make a measured latency differ from the next one.
    """
    cpu = facts.processor
    if cpu is None:
        return
    if "powersave" in cpu.governors:
        yield Finding.warning(
            "governor",
            "powersave: the CPU stays at its lowest clock",
            "sudo cpupower frequency-set -g ondemand, or schedutil.",
        )
    elif cpu.governors:
        yield Finding.ok("governor", ", ".join(cpu.governors))
    if cpu.temperature_c is not None:
        text = f"{cpu.temperature_c:.0f} °C"
        if cpu.temperature_c >= HOT_C:
            yield Finding.warning("temperature", text, "Add a heat sink or a fan; the clock drops.")
        else:
            yield Finding.ok("temperature", text)
    if cpu.throttled is not None:
        yield throttle(cpu.throttled)


def throttle(bits: int) -> Finding:
    """Return what ``vcgencmd get_throttled`` says: bits 0 to 3 now, 16 to 19 since boot."""
    from edge.runtime.live.statements import throttles  # with numpy; few boards tell such bits

    now, since = throttles(bits), throttles(bits >> 16)
    said = [f"now: {', '.join(now)}"] * bool(now) + [f"since boot: {', '.join(since)}"] * bool(
        since
    )
    if not said:
        return Finding.ok("throttling", "never since boot")
    power = "under-voltage" in (*now, *since)
    return Finding.warning(
        "throttling",
        f"{'; '.join(said)} (0x{bits:x})",
        "Use the board's own power supply and a short cable."
        if power
        else "Add a heat sink or a fan.",
    )


def accelerators(facts: Facts, board: Profile) -> Iterator[Finding]:
    """Judge the board's accelerators, and others that are plugged in."""
    if facts.accelerators is None or board.estimate_only:
        return
    shown = {item.name: item.shown_by for item in facts.accelerators}
    for item in board.accelerators:
        by = next((shown[name] for name in item.detect if name in shown), None)
        if by:
            yield Finding.ok("accelerator", f"{item.name} ({by}); the service runs on the CPU")
        else:
            install = f"; install {', '.join(item.packages)}" if item.packages else ""
            yield Finding.warning(
                "accelerator",
                f"{item.name} is not seen",
                f"Is it plugged in and powered{install}? The service runs on the CPU.",
            )
    expected = {name for item in board.accelerators for name in item.detect}
    for name in sorted(set(shown) - expected):
        yield Finding.ok("accelerator", f"{_called(name)} ({shown[name]}); not used by {board.id}")


def _called(name: str) -> str:
    known: list[BoardAccelerator] = [item for board in profiles() for item in board.accelerators]
    return next((item.name for item in known if name in item.detect), name)


def _mb(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _year(unix_seconds: float) -> int:
    return 1970 + int(unix_seconds // 31_556_952)  # mean Gregorian year


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


__all__ = ["Finding", "Severity", "findings", "guess_profile", "refusals"]

CHECKS: Final = (
    model,
    architecture,
    system,
    python,
    wheels,
    memory,
    disk,
    services,
    clock,
    processor,
    cameras,
    accelerators,
    installation,
)


def findings(facts: Facts, board: Profile, live: LiveSettings | None = None) -> tuple[Finding, ...]:
    """Return everything worth knowing; an error means that a deploy would fail.

    Args:
        facts: What the device says of itself.
        board: That it is taken for.
        live: The camera and the page that are to be deployed; None for a folder of pictures.
    """
    judged = [finding for check in CHECKS for finding in check(facts, board)]
    needed = () if live is None else tuple(camera_of(facts, live))
    return (*judged, *needed, *_failed_probes(facts))


def refusals(facts: Facts) -> tuple[Finding, ...]:
    """Return what the device itself refuses of one application, until it is asked for.

    No other deploy would fail.
    """
    return tuple(states(facts))


def _failed_probes(facts: Facts) -> Iterator[Finding]:
    for name, reason in facts.errors.items():
        if "there is no" not in reason:  # said already
            yield Finding.warning(name, f"could not be looked at: {reason}", "Look by hand.")


def guess_profile(facts: Facts) -> Profile:
    """Return the board that a device was set up as, or most likely is.

    Its name and what is plugged in tell.

    Without a name that a profile knows, the generic one of its architecture; that of aarch64 for
    an architecture without any, where the findings say that it cannot be deployed to.
    """
    said = facts.installed.device if facts.installed else None
    if said is not None and said in (board.id for board in profiles()):
        return profile(said)
    model = (facts.machine.model if facts.machine else None) or ""
    shown = {item.name for item in facts.accelerators or ()}
    known = [board for board in profiles() if board.match and model.startswith(board.match)]
    fitting = [
        board
        for board in known
        if all(shown.intersection(item.detect) for item in board.accelerators)
    ]
    # Where boards differ in what is plugged in, the one that has most of it is meant.
    best = max(fitting or known, key=lambda board: len(board.accelerators), default=None)
    if best is not None:
        return best
    machine = facts.machine.name if facts.machine else ""
    return profile(
        f"generic-{machine.replace('_', '-')}" if machine in MACHINES else "generic-aarch64"
    )
