"""What a device says of itself, as one line of JSON. Sent on stdin to ``python3 -``.

It imports nothing but the standard library and runs on Python 3.7 and later, so that a device
whose Python is too old for edge can say so. Every probe has a time limit; one that fails leaves
its reason in ``errors``. Nothing is changed on the device.

Sources: proc(5), os-release(5), statvfs(3), loginctl(1); cpufreq and thermal sysfs of the kernel;
``vcgencmd get_throttled`` at raspberrypi.com/documentation/computers/os.html.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import os
import platform
import re
import shutil
import signal
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 1
COMMAND_SECONDS = 8  # systemctl --user takes 3 on a loaded emulated board
PROBE_SECONDS = 25
MOST_CHARACTERS = 1 << 20  # a file; what lies here is short, or was put here by somebody
MOST_OF_STATE = 1 << 16  # bytes; a longer state.json is damaged
ERRORS: dict[str, str] = {}  # probe or program -> why it told nothing
PYTHONS = ("python3.11", "python3.12", "python3.13")
TOOLS = ("ssh-keygen", "systemctl", "loginctl", "tar", "vcgencmd", "ffmpeg")
CSI_PROGRAMS = ("rpicam-vid", "libcamera-vid")
CSI_LISTERS = ("rpicam-hello", "libcamera-hello")
# As edge.runtime.cameras.v4l2 has them; numbers of requests are the same on x86-64 and Arm.
CAPABILITY_BYTES = 104
QUERYCAP = 0x80685600  # _IOR('V', 0, struct v4l2_capability)
ENUM_FMT = 0xC0405602  # _IOWR('V', 2, struct v4l2_fmtdesc)
MOST_FORMATS = 64
FORMATS = (b"MJPG", b"JPEG", b"YUYV", b"NV12", b"RGB3", b"BGR3", b"GREY")
NO_CAMERAS = ("bcm2835-isp", "bcm2835-codec", "pispbe", "rpivid", "rpi-hevc-dec")
# Wheels of numpy, Pillow and the interpreters take these from the system.
LIBRARIES = ("libstdc++.so.6", "libgcc_s.so.1", "libz.so.1")
USB = {"1a6e:089a": "coral-usb", "18d1:9302": "coral-usb"}  # before and after its first use
PCI = {"1ac1:089a": "coral-pci", "1e60:2864": "hailo", "1e60:45c4": "hailo"}
NODES = {
    "apex_*": "coral-pci",
    "hailo[0-9]*": "hailo",
    "galcore": "vivante-npu",
    "ethosu*": "ethos-u",
    "nvhost-gpu": "nvidia-tegra",
    "nvgpu": "nvidia-tegra",
    "nvidia0": "nvidia",
}


def text(path: str | Path) -> str | None:
    """Return a file's text without zeros and white space at its ends; None where it is not."""
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as stream:
            return stream.read(MOST_CHARACTERS).strip("\0 \t\r\n") or None
    except OSError:
        return None


def content(path: Path) -> str | None:
    """Return a small file's bytes in base64.

    It is None where there is none, empty where it cannot be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            return ""
        with path.open("rb") as stream:
            read = stream.read(MOST_OF_STATE + 1)
    except FileNotFoundError:
        return None
    except OSError:
        return ""
    return base64.b64encode(read).decode() if len(read) <= MOST_OF_STATE else ""


def ran(*arguments: str) -> str | None:
    """Return what a program prints, both streams; None where it is missing or fails."""
    if shutil.which(arguments[0]) is None:
        return None
    quiet: Any = {"stdin": subprocess.DEVNULL, "capture_output": True, "check": False}
    try:
        done = subprocess.run(arguments, timeout=COMMAND_SECONDS, **quiet)
    except subprocess.TimeoutExpired:
        ERRORS[arguments[0]] = f"no answer within {COMMAND_SECONDS} s"
        return None
    said = (done.stdout + done.stderr).decode("utf-8", "replace")
    return said.strip() if done.returncode == 0 else None


def names(folder: Path) -> list[str]:
    """Return the names in a folder, sorted; none where there is no folder."""
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def machine() -> dict[str, Any]:
    """Return the kernel's instruction set, bits of Python's pointers, CPUs, page size, board."""
    return {
        "name": platform.machine(),
        "kernel": platform.release(),
        "bits": 8 * struct.calcsize("P"),
        "cores": len(os.sched_getaffinity(0)),
        "page_bytes": os.sysconf("SC_PAGE_SIZE"),
        "model": text("/proc/device-tree/model"),
    }


def system() -> dict[str, str]:
    """Return the identity of the operating system."""
    stated = dict(re.findall(r'^(\w+)="?(.*?)"?$', text("/etc/os-release") or "", re.MULTILINE))
    wanted = {"id": "ID", "version": "VERSION_ID", "name": "PRETTY_NAME"}
    return {name: stated.get(field, "") for name, field in wanted.items()}


def python() -> dict[str, Any]:
    """Return this Python, and others that run here, by path."""
    here = Path(sys.executable).resolve()
    beside = {path for path in map(shutil.which, PYTHONS) if path and Path(path).resolve() != here}
    asked = {path: ran(path, "--version") for path in sorted(beside)}
    others = {path: said.split()[-1] for path, said in asked.items() if said}
    version = ".".join(map(str, sys.version_info[:3]))
    return {"version": version, "path": sys.executable, "others": others}


def libraries() -> dict[str, Any]:
    """Return the version of glibc, and which shared libraries can be loaded."""
    try:
        glibc = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):  # musl knows no such name
        glibc = ""
    loaded = dict.fromkeys(LIBRARIES, False)
    for name in LIBRARIES:
        with contextlib.suppress(OSError):
            loaded[name] = bool(ctypes.CDLL(name))
    return {"glibc": glibc.replace("glibc ", "") or None, "found": loaded}


def memory() -> dict[str, int]:
    """Return the bytes of memory, of swap, and what a new process could get."""
    stated = dict(re.findall(r"^(\w+):\s+(\d+) kB", text("/proc/meminfo") or "", re.MULTILINE))
    return {
        "total_bytes": 1024 * int(stated["MemTotal"]),
        "available_bytes": 1024 * int(stated["MemAvailable"]),
        "swap_bytes": 1024 * int(stated.get("SwapTotal", 0)),
    }


def disk() -> dict[str, Any]:
    """Return the room at home for this user, and whether it can be written and run from."""
    home = Path.home()
    stats = os.statvfs(home)
    return {
        "path": str(home),
        "total_bytes": stats.f_frsize * stats.f_blocks,
        "free_bytes": stats.f_frsize * stats.f_bavail,
        "inodes": stats.f_files,
        "free_inodes": stats.f_favail,
        "writable": os.access(home, os.W_OK | os.X_OK) and not stats.f_flag & os.ST_RDONLY,
        "noexec": bool(stats.f_flag & os.ST_NOEXEC),
    }


def clock() -> dict[str, Any]:
    """Return the Unix seconds, the seconds since boot, and whether a time server was heard.

    The last one is None where that is not known.
    """
    return {
        "unix_seconds": time.time(),
        "uptime_seconds": float((text("/proc/uptime") or "0").split()[0]),
        # systemd-timesyncd's; timedatectl would ask over D-Bus and may wait long
        "synchronized": Path("/run/systemd/timesync/synchronized").exists() or None,
    }


def processor() -> dict[str, Any]:
    """Return clock governors, the hottest sensor (degrees Celsius), throttle bits of a Pi."""
    cpus = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    sensors = map(text, Path("/sys/class/thermal").glob("thermal_zone*/temp"))
    degrees = [int(value) / 1000 for value in sensors if value and value.lstrip("-").isdigit()]
    return {
        "governors": sorted({name for name in map(text, cpus) if name}),
        "temperature_c": max(degrees, default=None),
        "throttled": throttled(ran("vcgencmd", "get_throttled") or ""),
    }


def throttled(said: str) -> int | None:
    """Return the bits of ``throttled=0x50005``, what vcgencmd prints; None if it does not."""
    match = re.search(r"throttled=0x([0-9a-fA-F]+)", said)
    return int(match.group(1), 16) if match else None


def cameras() -> dict[str, Any]:
    """Return the cameras that libcamera lists, and devices of Video4Linux.

    Of the latter, those that capture, and those that this login may not open. ``group`` says
    whether the running manager of this user's services is in the group video, None where there is
    no such group or no manager runs; ``listed`` whether the next one will be.
    """
    program = next(filter(None, map(shutil.which, CSI_PROGRAMS)), None)
    said = ""
    for asked in (*CSI_LISTERS, program):
        said = said or (ran(asked, "--list-cameras") if asked else None) or ""
    devices = [node.name for node in sorted(Path("/dev").glob("video[0-9]*"))]
    labels = {name: text(f"/sys/class/video4linux/{name}/name") or "" for name in devices}
    shown = {f"/dev/{name}": f"/dev/{name} {label}".strip() for name, label in labels.items()}
    captures = {path: captures_pictures(path) for path in shown}
    gid = group_id("video")
    groups = manager_groups()
    return {
        "libcamera": listed_cameras(said),
        "video": list(shown.values()),
        "capture": [path for path in shown if captures[path]],
        "forbidden": [path for path in shown if captures[path] is None],
        "program": program,
        "group": None if gid is None or groups is None else gid in groups,
        "listed": gid is not None and gid in listed_groups(),
    }


def captures_pictures(path: str) -> bool | None:
    """Return whether a device of Video4Linux is a camera that can be read; None if forbidden.

    By the rules of ``edge.runtime.cameras.v4l2``; a device is asked and not changed.
    """
    import fcntl  # not everywhere that Python is

    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError:
        return None
    except OSError:
        return False
    try:
        answer = bytearray(CAPABILITY_BYTES)
        fcntl.ioctl(descriptor, QUERYCAP, answer)
        return is_camera(answer) and any(
            fcntl.ioctl(descriptor, ENUM_FMT, struct.pack("=II56x", index, 1))[44:48] in FORMATS
            for index in range(MOST_FORMATS)
        )
    except OSError:  # there is no further format, or it is no such device
        return False
    finally:
        os.close(descriptor)


def is_camera(answer: bytes | bytearray) -> bool:
    """Read struct v4l2_capability: its own pictures, streamed, and no step of a chain of devices.

    See VIDIOC_QUERYCAP at docs.kernel.org/userspace-api/media/v4l.
    """
    whole, own = struct.unpack_from("=II", answer, 84)
    flags = own if whole & 0x80000000 else whole
    driver = bytes(answer[:16]).partition(b"\0")[0].decode("latin-1")
    return flags & 0x24000001 == 0x04000001 and driver not in NO_CAMERAS


def group_id(name: str) -> int | None:
    """Return the number of a group; None where there is none of that name."""
    import grp  # not everywhere that Python is

    with contextlib.suppress(KeyError):
        return grp.getgrnam(name).gr_gid
    return None


def listed_groups() -> list[int]:
    """Return the groups that this user will have with the next login."""
    import pwd  # not everywhere that Python is

    login = pwd.getpwuid(os.getuid())
    return os.getgrouplist(login.pw_name, login.pw_gid)


def manager_groups(processes: Path = Path("/proc")) -> list[int] | None:
    """Return the groups of the running manager of this user's services; None where none runs.

    They are those of its start, whatever ``id`` says by now, and services have no others.
    """
    for status in processes.glob("[0-9]*/status"):
        fields = dict(re.findall(r"^(\w+):[ \t]*(.*)$", text(status) or "", re.MULTILINE))
        uid = fields.get("Uid", "").split()[:1] == [str(os.getuid())]
        if not uid or fields.get("Name") != "systemd":
            continue
        words = (text(status.parent / "cmdline") or "").split("\0")
        if "--user" in words[1:]:
            return [int(number) for number in fields.get("Groups", "").split()]
    return None


def listed_cameras(said: str) -> list[str]:
    """Return the sensors of ``rpicam-hello --list-cameras``.

    They stand in lines such as ``0 : imx708 [4608x2592 ...]``.
    """
    return re.findall(r"^\s*\d+ : (\S+) \[", said, re.MULTILINE)


def accelerators() -> list[dict[str, str]]:
    """Return the processors besides the CPU, each with what showed it."""
    seen = []
    for bus, known, fields in (
        ("usb", USB, ("idVendor", "idProduct")),
        ("pci", PCI, ("vendor", "device")),
    ):
        for device in sorted(Path("/sys/bus", bus, "devices").glob("*")):
            ids = [(text(device / field) or "").replace("0x", "", 1) for field in fields]
            if ":".join(ids) in known:
                seen.append({"name": known[":".join(ids)], "shown_by": f"{bus} {':'.join(ids)}"})
    for pattern, name in NODES.items():
        seen += [
            {"name": name, "shown_by": str(node)} for node in sorted(Path("/dev").glob(pattern))
        ]
    return seen


def user() -> dict[str, Any]:
    """Return who is logged in, whether systemd runs services of theirs, also after they log out."""
    import pwd  # not everywhere that Python is

    name = pwd.getpwuid(os.getuid()).pw_name
    runtime = os.environ.setdefault("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    manager = Path(runtime).is_dir() and ran("systemctl", "--user", "show", "--property=Version")
    systemd = bool(manager) or Path("/run/systemd/system").is_dir()
    said = ran("loginctl", "show-user", name, "--property=Linger", "--value")
    kept = said == "yes" if said else Path("/var/lib/systemd/linger", name).exists()
    return {
        "name": name,
        "uid": os.getuid(),
        "root": os.getuid() == 0,
        "systemd": systemd,
        "manager": bool(manager),
        "linger": kept if systemd else None,
        "sudo": os.getuid() == 0 or ran("sudo", "-n", "true") is not None,
        "tools": {tool: shutil.which(tool) for tool in TOOLS},
    }


def unsafe(home: Path) -> list[str]:
    """Return why edge's folder of this user is not this user's alone, a clause each.

    There is none where it is.

    Whoever may write to a folder above it can put another one in its place.
    """
    root = home / ".local/share/edge"
    inside = [root, root / "control", root / "envs", root / "apps"]
    inside += [root / "apps" / name for name in names(root / "apps")]
    reasons = []
    for place in [home, home / ".local", home / ".local/share", *inside]:
        try:
            seen = os.lstat(str(place))
        except OSError:
            continue
        above = place not in inside
        if above and stat.S_ISLNK(seen.st_mode):
            with contextlib.suppress(OSError):
                seen = place.stat()  # a home on another disk, say
        owners = (os.getuid(), 0) if above else (os.getuid(),)
        shared = seen.st_mode & 0o022 and not seen.st_mode & stat.S_ISVTX
        if not stat.S_ISDIR(seen.st_mode):
            kind = "a link" if stat.S_ISLNK(seen.st_mode) else "a file"
            reasons.append(f"{place} is {kind} where a folder should be")
        elif seen.st_uid not in owners:
            reasons.append(f"{place} belongs to another user (uid {seen.st_uid})")
        elif above and shared:
            reasons.append(f"{place} can be written by others (mode {seen.st_mode & 0o7777:04o})")
    return reasons


def exposed(root: Path) -> list[Path]:
    """Return what lies in a folder, itself included, and can be read or written by other users."""
    paths = []
    for folder, _, files in os.walk(str(root)):
        for path in [Path(folder), *(Path(folder) / name for name in files)]:
            with contextlib.suppress(OSError):
                mode = os.lstat(str(path)).st_mode
                if not stat.S_ISLNK(mode) and mode & 0o077:
                    paths.append(path)
    return paths


def open_to_others(root: Path) -> list[str]:
    """Return what ``exposed`` finds, in one clause; empty where it finds nothing."""
    bare = exposed(root)
    if not bare:
        return []
    mode = stat.S_IMODE(os.lstat(str(bare[0])).st_mode)
    shown = f"{bare[0]} (mode {mode:04o})"
    return [f"other users have rights to {len(bare)} files and folders, such as {shown}"]


def installed() -> dict[str, Any]:
    """Return what lies in edge's folder of this user, and what of it is broken."""
    root = Path.home() / ".local/share/edge"
    control = root / "control/current"
    broken = control.is_symlink() and not control.exists()
    return {
        "root": str(root),
        "control": control.resolve().name if control.exists() else None,
        "problems": ["control/current leads nowhere"] if broken else [],
        "unsafe": unsafe(Path.home()),
        "exposed": open_to_others(root),
        "signers": (root / "signers").is_file(),
        "device": text(root / "device"),
        "environments": [name for name in names(root / "envs") if not name.startswith(".")],
        "apps": {name: app(root / "apps" / name) for name in names(root / "apps")},
    }


def app(path: Path) -> dict[str, Any]:
    """One application: the release that ``current`` names, what is broken, what was left over.

    Whether its state is damaged is for the host to say, by the rule of ``edge.device.state``.
    """
    current, problems = path / "current", []
    target = os.readlink(current) if current.is_symlink() else None  # noqa: PTH115  (3.9)
    if target is None and current.exists():
        problems.append("current is no link")
    if target is not None and not (current / "release.json").is_file():
        problems.append(f"current leads to {target}, which is not whole")
    releases = [name for name in names(path / "releases") if not name.startswith(".")]
    for name in releases:
        if not (path / "releases" / name / "release.json").is_file():
            problems.append(f"release {name} is not whole")
    hidden = [name for name in names(path) if name.startswith(".") and name.endswith(".tmp")]
    return {
        "current": Path(target).name if target else None,
        "releases": releases,
        "state": content(path / "state.json"),
        "highest": content(path / "highest-version"),
        "problems": problems,
        "leftovers": [f"incoming/{name}" for name in names(path / "incoming")] + hidden,
    }


# In this order, so that the clock is read first.
PROBES: Any = [clock, machine, system, python, libraries, memory, disk, processor]
PROBES += [cameras, accelerators, user, installed]


class Late(Exception):
    """A probe had its time. No OSError, which probes expect and pass over."""


def late(*_: object) -> None:
    """End a probe that had its time."""
    raise Late(f"no answer within {PROBE_SECONDS} s")


def main() -> None:
    """Print what every probe found."""
    answers: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "errors": ERRORS}
    signal.signal(signal.SIGALRM, late)
    for probe in PROBES:
        signal.setitimer(signal.ITIMER_REAL, PROBE_SECONDS)
        try:
            answers[probe.__name__] = probe()
        except Exception as error:  # a device whose probe fails must still be able to say so
            answers[probe.__name__] = None
            ERRORS[probe.__name__] = f"{type(error).__name__}: {error}"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
