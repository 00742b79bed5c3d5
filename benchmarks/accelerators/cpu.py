"""The CPU of this machine as a device."""

import platform
from pathlib import Path

from benchmarks.accelerators.base import Device, Label
from benchmarks.environment import ROOT, board, cpu_model


def cpu_device(root: Path = ROOT) -> Device:
    """The CPU, as hardware.

    Args:
        root: Of the file system whose /proc is read; tests pass recorded ones.
    """
    return Device(name=cpu_name(root), label=Label.HARDWARE)


def cpu_name(root: Path = ROOT) -> str:
    """The board's name where the firmware states one, else the CPU's model name."""
    return board(root) or cpu_model(root) or platform.machine() or "unknown CPU"
