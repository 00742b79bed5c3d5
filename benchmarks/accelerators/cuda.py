"""The NVIDIA GPU, asked of its driver."""

import ctypes

from benchmarks.accelerators.base import Device, Label
from edge.errors import EngineUnavailable

DRIVER = "libcuda.so.1"
NAME_BYTES = 256


def gpu(index: int = 0) -> Device:
    """The GPU of that index among those that ``CUDA_VISIBLE_DEVICES`` shows.

    Raises:
        EngineUnavailable: No driver, or no such GPU.
    """
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError as error:
        raise EngineUnavailable(
            "no NVIDIA driver is installed", hint="Use a machine with an NVIDIA GPU and its driver."
        ) from error
    handle = ctypes.c_int()
    name = ctypes.create_string_buffer(NAME_BYTES)
    failed = (
        driver.cuInit(0)
        or driver.cuDeviceGet(ctypes.byref(handle), index)
        or driver.cuDeviceGetName(name, NAME_BYTES, handle)
    )
    if failed:
        raise EngineUnavailable(
            f"the NVIDIA driver shows no GPU {index} (CUDA error {failed})",
            hint="See what nvidia-smi lists, and whether CUDA_VISIBLE_DEVICES hides it.",
        )
    return Device(name=name.value.decode(errors="replace"), label=Label.HARDWARE)
