"""The name of this machine's processor."""

import platform
from pathlib import Path
from typing import Final

from benchmarks.accelerators.base import Device, Label

BOARD: Final = Path("/proc/device-tree/model")  # boards with a device tree, such as Raspberry Pi
CPU_INFO: Final = Path("/proc/cpuinfo")


def cpu_device(board: Path = BOARD, cpu_info: Path = CPU_INFO) -> Device:
    """The CPU, as hardware.

    Args:
        board: Device tree's model file.
        cpu_info: Linux's list of processors.
    """
    return Device(name=cpu_name(board, cpu_info), label=Label.HARDWARE)


def cpu_name(board: Path = BOARD, cpu_info: Path = CPU_INFO) -> str:
    """The board's name where the firmware states one, else the CPU's model name.

    Arm kernels list no model name, but their boards have a device tree.
    """
    if named := _text(board).strip("\0 \n"):
        return named
    for line in _text(cpu_info).splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() == "model name" and value.strip():
            return " ".join(value.split())
    return platform.processor() or platform.machine() or "unknown CPU"


def _text(path: Path) -> str:
    """The file's text; empty where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
