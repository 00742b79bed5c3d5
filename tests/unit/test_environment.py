"""The record of the machine, from trees of files as real machines have them."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

import edge
from benchmarks.environment import (
    Sample,
    cpu_model,
    environment,
    host,
    printed_by,
    sample,
    throttle_bits,
)

RASPBERRY_PI_4 = {
    "proc/cpuinfo": "".join(
        f"processor\t: {core}\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid\n"
        "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd08\n"
        "CPU revision\t: 3\n\n"
        for core in range(4)
    )
    + "Revision\t: c03114\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n",
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    "proc/meminfo": "MemTotal:        3884380 kB\nMemFree:         2914640 kB\n"
    "MemAvailable:    3390888 kB\n",
    "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\n',
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "61342\n",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
    **{
        f"sys/devices/system/cpu/cpu{core}/{name}": f"{value}\n"
        for core in range(4)
        for name, value in {
            "cpufreq/scaling_governor": "ondemand",
            "cpufreq/scaling_cur_freq": 1500000 - 300000 * core,
            "cpufreq/cpuinfo_min_freq": 600000,
            "cpufreq/cpuinfo_max_freq": 1500000,
            "topology/physical_package_id": 0,
            "topology/core_id": core,
        }.items()
    },
}

X86_DESKTOP = {
    "proc/cpuinfo": "".join(
        f"processor\t: {cpu}\nvendor_id\t: GenuineIntel\n"
        "model name\t: 12th Gen Intel(R) Core(TM) i5-1240P\ncpu MHz\t\t: 2100.000\n"
        "flags\t\t: fpu avx2 avx_vnni\n\n"
        for cpu in range(4)
    ),
    "proc/meminfo": "MemTotal:       16052872 kB\nMemAvailable:    9052872 kB\n",
    "sys/class/thermal/thermal_zone0/type": "acpitz\n",
    "sys/class/thermal/thermal_zone0/temp": "97000\n",
    "sys/class/thermal/thermal_zone1/type": "x86_pkg_temp\n",
    "sys/class/thermal/thermal_zone1/temp": "55000\n",
    "sys/class/hwmon/hwmon0/name": "nvme\n",
    "sys/class/hwmon/hwmon0/temp1_input": "99000\n",
    "sys/class/hwmon/hwmon1/name": "coretemp\n",
    "sys/class/hwmon/hwmon1/temp1_input": "57000\n",
    **{
        f"sys/devices/system/cpu/cpu{cpu}/{name}": f"{value}\n"
        for cpu in range(4)
        for name, value in {
            "cpufreq/scaling_governor": "performance" if cpu else "powersave",
            "cpufreq/scaling_cur_freq": 3_000_000,
            "topology/physical_package_id": 0,
            "topology/core_id": cpu // 2,
            "thermal_throttle/core_throttle_count": 3,
        }.items()
    },
}

CONTAINER = {
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: Intel(R) Xeon(R)\ncpu MHz\t\t: 2793.438\n"
    "flags\t\t: fpu hypervisor avx512f\n",
    "proc/1/cgroup": "0::/kubepods/besteffort/pod1\n",
    "sys/fs/cgroup/cpu.max": "150000 100000\n",
    "sys/fs/cgroup/memory.max": "2147483648\n",
    "sys/class/dmi/id/sys_vendor": "QEMU\n",
    "sys/class/dmi/id/product_name": "Standard PC\n",
}


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def test_a_raspberry_pi(tmp_path: Path) -> None:
    found = environment(tree(tmp_path, RASPBERRY_PI_4))
    cpu = found["cpu"]
    assert cpu["model"] == "Cortex-A72"
    assert cpu["flags"] == ["fp", "asimd", "evtstrm", "crc32", "cpuid"]
    assert (cpu["logical"], cpu["physical"]) == (4, 4)
    assert cpu["governors"] == ["ondemand"]
    assert cpu["frequency_hz"] == pytest.approx(1.05e9)
    assert (cpu["minimum_frequency_hz"], cpu["maximum_frequency_hz"]) == (0.6e9, 1.5e9)
    assert found["board"] == "Raspberry Pi 4 Model B Rev 1.4"
    assert found["temperature_c"] == pytest.approx(61.342)
    assert found["throttled"] == 0x50005
    assert found["memory"] == {"total": 3884380 * 1024, "available": 3390888 * 1024, "limit": None}
    assert found["os"] == "Debian GNU/Linux 12 (bookworm)"
    assert found["virtual_machine"] is found["container"] is found["throttle_events"] is None


def test_a_desktop(tmp_path: Path) -> None:
    found = environment(tree(tmp_path, X86_DESKTOP))
    cpu = found["cpu"]
    assert cpu["model"] == "12th Gen Intel(R) Core(TM) i5-1240P"
    assert (cpu["logical"], cpu["physical"]) == (4, 2)
    assert cpu["governors"] == ["performance", "powersave"]
    assert cpu["frequency_hz"] == 3e9
    assert found["temperature_c"] == 57  # of the processor, not of the disk or the case
    assert found["temperatures_c"] == {"acpitz": 97, "x86_pkg_temp": 55, "coretemp": 57}
    assert found["throttle_events"] == 12
    assert found["throttled"] is None


def test_a_container_in_a_virtual_machine(tmp_path: Path) -> None:
    found = environment(tree(tmp_path, CONTAINER))
    assert found["virtual_machine"] == "QEMU Standard PC"
    assert found["container"] == "kubepods"
    assert found["cpu"]["quota"] == 1.5
    assert found["memory"]["limit"] == 2 * 2**30
    assert found["cpu"]["frequency_hz"] == pytest.approx(2793.438e6)


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    found = environment(tmp_path)
    assert found["temperature_c"] is found["throttled"] is found["board"] is None
    assert found["cpu"]["governors"] is found["cpu"]["frequency_hz"] is None
    assert found["cpu"]["model"] is None
    assert found["memory"] == {"total": None, "available": None, "limit": None}
    assert sample(tmp_path) == Sample(temperature_c=None, frequency_hz=None, throttled=None)


def test_a_sample(tmp_path: Path) -> None:
    root = tree(tmp_path, RASPBERRY_PI_4)
    assert sample(root) == Sample(temperature_c=61.342, frequency_hz=1.05e9, throttled=0x50005)
    (root / "sys/class/thermal/thermal_zone0/temp").write_text("-2500\n")
    assert sample(root).temperature_c == -2.5


@pytest.mark.parametrize("content", ["", "no number\n", "\xff\xfe"])
def test_files_that_hold_no_number(content: str, tmp_path: Path) -> None:
    root = tree(tmp_path, RASPBERRY_PI_4)
    for name in RASPBERRY_PI_4:
        if "temp" in name or "cur_freq" in name or "throttled" in name:
            (root / name).write_text(content)
    assert sample(root) == Sample(temperature_c=None, frequency_hz=None, throttled=None)


def test_two_kinds_of_cores(tmp_path: Path) -> None:
    """big.LITTLE: both are named, an unknown part by its number."""
    parts = "".join(f"CPU implementer : 0x41\nCPU part : {part}\n" for part in ("0xd05", "0xfff"))
    assert cpu_model(tree(tmp_path, {"proc/cpuinfo": parts})) == "Cortex-A55 + Arm 0xfff"


def test_the_firmware_tool_is_not_asked_about_a_recording(tmp_path: Path) -> None:
    assert throttle_bits(tmp_path) is None


def test_programs_that_are_missing_or_fail() -> None:
    assert printed_by("no-such-program-of-this-name") is None
    assert printed_by("false") is None
    assert printed_by("echo", "x") == "x"


def test_this_machine() -> None:
    found = environment()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["versions"]["edge"] == edge.__version__
    assert re.match(r"\d+\.\d+", found["versions"]["ai-edge-litert"])
    assert found["versions"]["numpy"] is not None
    assert found["cpu"]["logical"] == os.cpu_count()
    assert found["python"].startswith("3.")
    if hasattr(os, "sched_getaffinity"):
        assert set(found["cpu"]["affinity"]) <= set(range(found["cpu"]["logical"]))


def test_the_host_in_few_words(monkeypatch: pytest.MonkeyPatch) -> None:
    short: dict[str, Any] = dict(host())
    assert set(short) == {"machine", "system", "cpus"}
    assert short.items() <= environment().items()
