"""Findings about a device's memory, disk, clock, heat, power, cameras and accelerators."""

from collections.abc import Iterator
from typing import Final

from devices.profile import Accelerator, Profile, profiles
from edge.deploy.facts import Disk, Facts
from edge.deploy.finding import Finding
from edge.deploy.wheelhouse.environment import environment_id
from edge.deploy.wheelhouse.lock import Target, locked
from edge.errors import DeviceError

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
THROTTLED: Final = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")


def memory(facts: Facts, _: Profile) -> Iterator[Finding]:
    """What a new process can get."""
    found = facts.memory
    if found is None:
        return
    free, total = found.available_bytes + found.swap_bytes, found.total_bytes
    text = f"{_mb(found.available_bytes)} of {_mb(total)} available"
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
    """Whether the home folder can hold and run what is deployed."""
    found = facts.disk
    if found is None:
        return
    text = f"{_mb(found.free_bytes)} free at {found.path}"
    hint = "Free some space: sudo apt clean, journalctl --vacuum-size=50M, edge undeploy."
    needed = _needed(facts, board)
    if not found.writable:
        yield Finding.error(
            "disk",
            f"{found.path} cannot be written",
            "Is it mounted read-only (overlay file system: raspi-config), or of another user?",
        )
    elif found.free_bytes < needed:
        yield Finding.error("disk", f"{text}; some {_mb(needed)} are needed", hint)
    elif found.inodes and found.free_inodes < LEAST_INODES:
        yield Finding.error("disk", f"{found.free_inodes} inodes free at {found.path}", hint)
    elif found.free_bytes < SPARE_DISK:
        yield Finding.warning("disk", text, hint)
    else:
        yield Finding.ok("disk", text)
    yield from _noexec(found)


def _noexec(found: Disk) -> Iterator[Finding]:
    if found.noexec:
        yield Finding.error(
            "disk",
            f"{found.path} is mounted noexec: no library can be loaded from there",
            "Mount it without noexec (/etc/fstab), or log in as a user with another home.",
        )


def _needed(facts: Facts, board: Profile) -> int:
    """Bytes that a deploy will write; the environment may be there already."""
    try:
        known = environment_id(locked(board.engine, Target.of(facts)))
    except DeviceError:  # said among the wheels
        return BUNDLES
    there = facts.installed.environments if facts.installed else ()
    return BUNDLES + (0 if known in there else ENVIRONMENT)


def clock(facts: Facts, _: Profile) -> Iterator[Finding]:
    """Whether the device's clock can be believed; its log has the times of it."""
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
    """Governor, heat and power: what makes a measured latency differ from the next one."""
    found = facts.processor
    if found is None:
        return
    if "powersave" in found.governors:
        yield Finding.warning(
            "governor",
            "powersave: the CPU stays at its lowest clock",
            "sudo cpupower frequency-set -g ondemand, or schedutil.",
        )
    elif found.governors:
        yield Finding.ok("governor", ", ".join(found.governors))
    if found.temperature_c is not None:
        text = f"{found.temperature_c:.0f} °C"
        if found.temperature_c >= HOT_C:
            yield Finding.warning("temperature", text, "Add a heat sink or a fan; the clock drops.")
        else:
            yield Finding.ok("temperature", text)
    if found.throttled is not None:
        yield throttle(found.throttled)


def throttle(bits: int) -> Finding:
    """What ``vcgencmd get_throttled`` says: bits 0 to 3 now, 16 to 19 since boot.

    Meaning: raspberrypi.com/documentation/computers/os.html, get_throttled.
    """
    now = [name for bit, name in enumerate(THROTTLED) if bits >> bit & 1]
    since = [name for bit, name in enumerate(THROTTLED) if bits >> (bit + 16) & 1]
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


def cameras(facts: Facts, _: Profile) -> Iterator[Finding]:
    """Cameras; none is needed."""
    if facts.cameras:
        names = [*facts.cameras.libcamera, *facts.cameras.video]
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        yield Finding.ok("camera", (", ".join(names[:4]) + more) or "none (pictures come as files)")


def accelerators(facts: Facts, board: Profile) -> Iterator[Finding]:
    """The board's accelerators, and others that are plugged in."""
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
    known: list[Accelerator] = [item for board in profiles() for item in board.accelerators]
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
