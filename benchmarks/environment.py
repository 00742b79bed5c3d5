"""The machine that measurements are made on, and what its kernel tells of clock and heat.

Standard library and the table of paths only. Paths: Documentation/admin-guide/pm/cpufreq.rst,
driver-api/thermal/sysfs-api.rst and hwmon/sysfs-interface.rst of the Linux kernel.
"""

import importlib.metadata
import os
import platform
import re
import shutil
import statistics
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import edge
from benchmarks.accelerators.table import ACCELERATORS

ROOT: Final = Path("/")
_PACKAGES: Final = ("numpy", "keras")  # besides those of the table
# Arm writes no names into /proc/cpuinfo: "CPU part" by Arm's MIDR_EL1, implementer 0x41.
_ARM_PARTS: Final = {
    0xD03: "Cortex-A53",
    0xD04: "Cortex-A35",
    0xD05: "Cortex-A55",
    0xD07: "Cortex-A57",
    0xD08: "Cortex-A72",
    0xD09: "Cortex-A73",
    0xD0A: "Cortex-A75",
    0xD0B: "Cortex-A76",
    0xD0C: "Neoverse N1",
    0xD40: "Neoverse V1",
    0xD41: "Cortex-A78",
    0xD42: "Cortex-A78AE",
    0xD49: "Neoverse N2",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The state of the processor at one moment; None where nothing tells.

    Attributes:
        temperature_c: The temperature in degrees Celsius.
        frequency_hz: The mean of the CPUs' clocks.
        throttled: The throttle bits of the Raspberry Pi's firmware.
    """

    temperature_c: float | None
    frequency_hz: float | None
    throttled: int | None


def sample(root: Path = ROOT) -> Sample:
    """Return the processor now, for a sustained run."""
    return Sample(
        temperature_c=temperature_c(root),
        frequency_hz=frequency_hz(root),
        throttled=throttle_bits(root),
    )


def host() -> Mapping[str, Any]:
    """Describe where latencies are measured, in the few words that reports carry."""
    return {
        "machine": platform.machine(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
    }


def environment(root: Path = ROOT) -> Mapping[str, Any]:
    """Return all that is known of the machine, as JSON values; None for what nothing tells.

    Args:
        root: The file system whose /proc and /sys are read; tests pass recorded ones.
    """
    return {
        **host(),
        "cpu": _cpu(root),
        "temperature_c": temperature_c(root),
        "temperatures_c": dict(temperatures_c(root)) or None,
        "throttled": throttle_bits(root),
        "throttle_events": throttle_events(root),
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "memory": _memory(root),
        "os": _field(root / "etc/os-release", "PRETTY_NAME", "="),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()).strip() or None,
        "python": platform.python_version(),
        "board": board(root),
        "virtual_machine": _virtual_machine(root),
        "container": _container(root),
        "versions": _versions(),
        "gpus": _gpus() if root == ROOT else None,
    }


def _cpu(root: Path) -> dict[str, Any]:
    flags = _field(root / "proc/cpuinfo", "flags") or _field(root / "proc/cpuinfo", "Features")
    minimum = frequencies_hz(root, "cpuinfo_min_freq")
    maximum = frequencies_hz(root, "cpuinfo_max_freq")
    return {
        "model": cpu_model(root),
        "flags": flags.split() if flags else None,
        "logical": len(list(cpu_folders(root))) or os.cpu_count(),
        "physical": _physical_cores(root),
        "affinity": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "quota": _quota(root),
        "governors": governors(root) or None,
        "frequency_hz": frequency_hz(root),
        "minimum_frequency_hz": min(minimum, default=None),
        "maximum_frequency_hz": max(maximum, default=None),
    }


def board(root: Path = ROOT) -> str | None:
    """Return the name of a board whose firmware states it, such as a Raspberry Pi."""
    return kernel_text(root / "proc/device-tree/model")


def cpu_model(root: Path = ROOT) -> str | None:
    """Return the name of the processor; of an Arm one, by the numbers that the kernel gives."""
    cpuinfo = root / "proc/cpuinfo"
    named = _field(cpuinfo, "model name")
    if named:
        return " ".join(named.split())
    stated = kernel_text(cpuinfo) or ""
    parts = [int(part, 16) for part in re.findall(r"^CPU part\s*:\s*0x([0-9a-f]+)", stated, re.M)]
    if _field(cpuinfo, "CPU implementer") == "0x41" and parts:
        return " + ".join(_ARM_PARTS.get(part, f"Arm {part:#x}") for part in dict.fromkeys(parts))
    return platform.processor() or None if root == ROOT else None


def _field(path: Path, name: str, separator: str = ":") -> str | None:
    """Return the first value of that name in lines ``name: value``."""
    for line in (kernel_text(path) or "").splitlines():
        key, separated, value = line.partition(separator)
        if separated and key.strip() == name:
            return value.strip().strip('"') or None
    return None


def _physical_cores(root: Path) -> int | None:
    cores = set()
    for folder in cpu_folders(root):
        place = [
            kernel_text(folder / "topology" / name) for name in ("physical_package_id", "core_id")
        ]
        if None not in place:
            cores.add(tuple(place))
    return len(cores) or None


def _quota(root: Path) -> float | None:
    """Return the CPUs that the control group allows (``cpu.max``); None without a limit."""
    allowed, _, period = (kernel_text(root / "sys/fs/cgroup/cpu.max") or "max 1").partition(" ")
    return int(allowed) / int(period) if allowed.isdigit() and period.isdigit() else None


def _memory(root: Path) -> dict[str, int | None]:
    def size(name: str) -> int | None:
        value = _field(root / "proc/meminfo", name)
        return int(value.split()[0]) * 1024 if value else None

    limit = kernel_number(root / "sys/fs/cgroup/memory.max")
    return {
        "total": size("MemTotal"),
        "available": size("MemAvailable"),
        "limit": None if limit is None else int(limit),
    }


def _virtual_machine(root: Path) -> str | None:
    """Return the hypervisor's name for the machine; None on bare metal."""
    flags = _field(root / "proc/cpuinfo", "flags") or ""
    if "hypervisor" not in flags.split():
        return None
    names = [kernel_text(root / "sys/class/dmi/id" / n) for n in ("sys_vendor", "product_name")]
    return " ".join(name for name in names if name) or "unknown"


def _container(root: Path) -> str | None:
    """Return the kind of container, as far as its files tell; None outside of one."""
    if (root / ".dockerenv").exists():
        return "docker"
    if (root / "run/.containerenv").exists():
        return "podman"
    groups = kernel_text(root / "proc/1/cgroup") or ""
    runtime = re.search(r"docker|kubepods|lxc|containerd", groups)
    return runtime.group() if runtime else None


def _versions() -> dict[str, str | None]:
    """Return the versions of edge and every engine of the table; None where one is missing."""
    packages = (name.split("[")[0] for row in ACCELERATORS.values() for name in row.packages)
    versions: dict[str, str | None] = {"edge": edge.__version__}
    for package in dict.fromkeys((*packages, *_PACKAGES)):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def _gpus() -> list[str] | None:
    """Return the name and driver of NVIDIA's GPUs; None where its tool is missing."""
    query = ("--query-gpu=name,driver_version", "--format=csv,noheader")
    listed = printed_by("nvidia-smi", *query)
    return listed.splitlines() if listed else None


CPUS: Final = "sys/devices/system/cpu"
# Thermal zones of processors: x86_pkg_temp, cpu-thermal (Raspberry Pi), CPU-therm (Jetson), soc...
_PROCESSOR: Final = re.compile(r"cpu|pkg|soc|core", re.IGNORECASE)
_HWMON: Final = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
_COMMAND_SECONDS: Final = 5.0


def kernel_text(path: Path) -> str | None:
    """Return the text of a file of the kernel, without the space around; None without one."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \t\r\n") or None
    except OSError:  # not there, not permitted, or the driver answers with an error
        return None


def kernel_number(path: Path) -> float | None:
    """Return the number that a file holds; None where there is none."""
    try:
        return float(kernel_text(path) or "")
    except ValueError:
        return None


def printed_by(*arguments: str) -> str | None:
    """Return what a program prints; None where it is missing or fails."""
    if shutil.which(arguments[0]) is None:
        return None
    try:
        done = subprocess.run(
            arguments, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def cpu_folders(root: Path) -> Iterator[Path]:
    """Give one folder for each logical CPU, in their order."""
    folders = [path for path in (root / CPUS).glob("cpu[0-9]*") if path.name[3:].isdigit()]
    yield from sorted(folders, key=lambda path: int(path.name[3:]))


def temperatures_c(root: Path) -> Mapping[str, float]:
    """Return the degrees Celsius of every thermal zone and processor sensor, by its name."""
    degrees: dict[str, float] = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        _note(degrees, kernel_text(zone / "type") or zone.name, kernel_number(zone / "temp"))
    for chip in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        name = kernel_text(chip / "name") or ""
        if name in _HWMON:
            _note(degrees, name, kernel_number(chip / "temp1_input"))
    return degrees


def _note(degrees: dict[str, float], name: str, millidegrees: float | None) -> None:
    if millidegrees is not None:
        degrees[name] = max(degrees.get(name, -300.0), millidegrees / 1000)


def temperature_c(root: Path) -> float | None:
    """Return the hottest sensor of the processor; of the whole machine where none is named so."""
    degrees = temperatures_c(root)
    processor = [value for name, value in degrees.items() if _PROCESSOR.search(name)]
    processor += [value for name, value in degrees.items() if name in _HWMON]
    return max(processor or degrees.values(), default=None)


def frequencies_hz(root: Path, name: str) -> list[float]:
    """Return ``scaling_cur_freq``, ``cpuinfo_min_freq`` or ``..._max_freq`` of the CPUs in Hz."""
    values = (kernel_number(folder / "cpufreq" / name) for folder in cpu_folders(root))
    return [1e3 * value for value in values if value is not None]


def frequency_hz(root: Path) -> float | None:
    """Return the mean clock of the CPUs now; by /proc/cpuinfo where there is no cpufreq."""
    clocks = frequencies_hz(root, "scaling_cur_freq")
    if not clocks:
        stated = re.findall(
            r"^cpu MHz\s*:\s*([\d.]+)", kernel_text(root / "proc/cpuinfo") or "", re.M
        )
        clocks = [1e6 * float(value) for value in stated]
    return statistics.fmean(clocks) if clocks else None


def governors(root: Path) -> list[str]:
    """Return the names of the cpufreq governors in use, each once; empty without cpufreq."""
    names = (kernel_text(folder / "cpufreq/scaling_governor") for folder in cpu_folders(root))
    return sorted({name for name in names if name})


def throttle_bits(root: Path) -> int | None:
    """Return the Raspberry Pi firmware's ``get_throttled``; None on other machines.

    Bits 0..3: under-voltage, clock capped, throttled, soft temperature limit, now; 16..19 the
    same since boot (raspberrypi.com/documentation, ``vcgencmd``).
    """
    stated = kernel_text(root / "sys/devices/platform/soc/soc:firmware/get_throttled")
    if stated is None and root == Path("/"):
        stated = (printed_by("vcgencmd", "get_throttled") or "").removeprefix("throttled=")
    try:
        return int(stated or "", 16)
    except ValueError:
        return None


def throttle_events(root: Path) -> int | None:
    """Return how often x86 cores lowered their clock for heat since boot; None elsewhere."""
    counts = [
        kernel_number(folder / "thermal_throttle/core_throttle_count")
        for folder in cpu_folders(root)
    ]
    known = [int(count) for count in counts if count is not None]
    return sum(known) if known else None
