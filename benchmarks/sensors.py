"""What the kernel tells of the processor's clock and heat. Standard library only.

Paths: Documentation/admin-guide/pm/cpufreq.rst, driver-api/thermal/sysfs-api.rst and
hwmon/sysfs-interface.rst of the Linux kernel.
"""

import re
import shutil
import statistics
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

CPUS: Final = "sys/devices/system/cpu"
# Thermal zones of processors: x86_pkg_temp, cpu-thermal (Raspberry Pi), CPU-therm (Jetson), soc...
_PROCESSOR: Final = re.compile(r"cpu|pkg|soc|core", re.IGNORECASE)
_HWMON: Final = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
_COMMAND_SECONDS: Final = 5.0


def text(path: Path) -> str | None:
    """What a file of the kernel says, without the white space around; None where it is not."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \t\r\n") or None
    except OSError:  # not there, not permitted, or the driver answers with an error
        return None


def number(path: Path) -> float | None:
    """A file that holds one number; None where there is none."""
    try:
        return float(text(path) or "")
    except ValueError:
        return None


def command(*arguments: str) -> str | None:
    """What a program prints; None where it is missing or fails."""
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
    """One folder per logical CPU, in their order."""
    folders = [path for path in (root / CPUS).glob("cpu[0-9]*") if path.name[3:].isdigit()]
    yield from sorted(folders, key=lambda path: int(path.name[3:]))


def temperatures_c(root: Path) -> Mapping[str, float]:
    """Degrees Celsius of every thermal zone and processor sensor, by its name."""
    found: dict[str, float] = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        _note(found, text(zone / "type") or zone.name, number(zone / "temp"))
    for chip in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        name = text(chip / "name") or ""
        if name in _HWMON:
            _note(found, name, number(chip / "temp1_input"))
    return found


def _note(found: dict[str, float], name: str, millidegrees: float | None) -> None:
    if millidegrees is not None:
        found[name] = max(found.get(name, -300.0), millidegrees / 1000)


def temperature_c(root: Path) -> float | None:
    """The hottest sensor of the processor; of the whole machine where none is named so."""
    found = temperatures_c(root)
    processor = [value for name, value in found.items() if _PROCESSOR.search(name)]
    processor += [value for name, value in found.items() if name in _HWMON]
    return max(processor or found.values(), default=None)


def frequencies_hz(root: Path, name: str) -> list[float]:
    """Of every CPU that tells: ``scaling_cur_freq``, ``cpuinfo_min_freq`` or ``..._max_freq``."""
    values = (number(folder / "cpufreq" / name) for folder in cpu_folders(root))
    return [1e3 * value for value in values if value is not None]


def frequency_hz(root: Path) -> float | None:
    """Mean clock of the CPUs now; by /proc/cpuinfo where there is no cpufreq."""
    found = frequencies_hz(root, "scaling_cur_freq")
    if not found:
        stated = re.findall(r"^cpu MHz\s*:\s*([\d.]+)", text(root / "proc/cpuinfo") or "", re.M)
        found = [1e6 * float(value) for value in stated]
    return statistics.fmean(found) if found else None


def governors(root: Path) -> list[str]:
    """Names of the cpufreq governors in use, each once; empty without cpufreq."""
    names = (text(folder / "cpufreq/scaling_governor") for folder in cpu_folders(root))
    return sorted({name for name in names if name})


def throttle_bits(root: Path) -> int | None:
    """Raspberry Pi firmware's ``get_throttled``; None on other machines.

    Bits 0..3: under-voltage, clock capped, throttled, soft temperature limit, now; 16..19 the
    same since boot (raspberrypi.com/documentation, ``vcgencmd``).
    """
    stated = text(root / "sys/devices/platform/soc/soc:firmware/get_throttled")
    if stated is None and root == Path("/"):
        stated = (command("vcgencmd", "get_throttled") or "").removeprefix("throttled=")
    try:
        return int(stated or "", 16)
    except ValueError:
        return None


def throttle_events(root: Path) -> int | None:
    """Times that x86 cores lowered their clock for heat since boot; None on other machines."""
    counts = [
        number(folder / "thermal_throttle/core_throttle_count") for folder in cpu_folders(root)
    ]
    known = [int(count) for count in counts if count is not None]
    return sum(known) if known else None
