"""The processors of this machine: its CPU, the first NVIDIA GPU, and what Vulkan drivers offer.

The drivers are asked through their C interfaces. The constants and the head of
``VkPhysicalDeviceProperties`` are those of the Vulkan 1.0 specification, which later versions keep.
"""

import ctypes
import platform
from pathlib import Path
from typing import Final

from benchmarks.accelerators.base import Device, Label
from benchmarks.environment import ROOT, board, cpu_model
from edge.errors import EngineUnavailable


def cpu_device(root: Path = ROOT) -> Device:
    """Return the CPU, as hardware.

    Args:
        root: The file system whose /proc is read; tests pass recorded ones.
    """
    return Device(name=cpu_name(root), label=Label.HARDWARE)


def cpu_name(root: Path = ROOT) -> str:
    """Return the board's name where the firmware states one, else the CPU's model name."""
    return board(root) or cpu_model(root) or platform.machine() or "unknown CPU"


CUDA_DRIVER: Final = "libcuda.so.1"
CUDA_NAME_BYTES: Final = 256


def nvidia_gpu(index: int = 0) -> Device:
    """Return the GPU of that index among those that ``CUDA_VISIBLE_DEVICES`` shows.

    Raises:
        EngineUnavailable: There is no driver, or no such GPU.
    """
    try:
        driver = ctypes.CDLL(CUDA_DRIVER)
    except OSError as error:
        raise EngineUnavailable(
            "no NVIDIA driver is installed", hint="Use a machine with an NVIDIA GPU and its driver."
        ) from error
    handle = ctypes.c_int()
    name = ctypes.create_string_buffer(CUDA_NAME_BYTES)
    failed = (
        driver.cuInit(0)
        or driver.cuDeviceGet(ctypes.byref(handle), index)
        or driver.cuDeviceGetName(name, CUDA_NAME_BYTES, handle)
    )
    if failed:
        raise EngineUnavailable(
            f"the NVIDIA driver shows no GPU {index} (CUDA error {failed})",
            hint="See what nvidia-smi lists, and whether CUDA_VISIBLE_DEVICES hides it.",
        )
    return Device(name=name.value.decode(errors="replace"), label=Label.HARDWARE)


LOADER: Final = "libvulkan.so.1"
INSTANCE_CREATE_INFO: Final = 1  # VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO
TYPE_CPU: Final = 4  # VK_PHYSICAL_DEVICE_TYPE_CPU
NAME_BYTES: Final = 256  # VK_MAX_PHYSICAL_DEVICE_NAME_SIZE
REST_BYTES: Final = 4096  # more than the rest of the properties takes: 540 bytes


class _CreateInfo(ctypes.Structure):
    """``VkInstanceCreateInfo``: no layers, no extensions."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("flags", ctypes.c_uint32),
        ("application", ctypes.c_void_p),
        ("layer_count", ctypes.c_uint32),
        ("layers", ctypes.c_void_p),
        ("extension_count", ctypes.c_uint32),
        ("extensions", ctypes.c_void_p),
    ]


class _Properties(ctypes.Structure):
    """``VkPhysicalDeviceProperties`` up to the name."""

    _fields_ = [
        ("api_version", ctypes.c_uint32),
        ("driver_version", ctypes.c_uint32),
        ("vendor", ctypes.c_uint32),
        ("device", ctypes.c_uint32),
        ("type", ctypes.c_int),
        ("name", ctypes.c_char * NAME_BYTES),
        ("rest", ctypes.c_char * REST_BYTES),
    ]


def vulkan_devices() -> list[tuple[str, bool]]:
    """Return the name of each device, and whether it computes on the CPU.

    There is none without a loader or driver. Call it in a process that does not use TensorFlow:
    Mesa's CPU driver loads an LLVM whose options end up among those of TensorFlow's, and its next
    compilation with XLA crashes.
    """
    try:
        loader = ctypes.CDLL(LOADER)
    except OSError:
        return []
    instance = ctypes.c_void_p()
    info = _CreateInfo(type=INSTANCE_CREATE_INFO)
    if loader.vkCreateInstance(ctypes.byref(info), None, ctypes.byref(instance)):
        return []
    try:
        return [_vulkan_device(loader, handle) for handle in _handles(loader, instance)]
    finally:
        loader.vkDestroyInstance(instance, None)


def _handles(loader: ctypes.CDLL, instance: ctypes.c_void_p) -> list[ctypes.c_void_p]:
    count = ctypes.c_uint32()
    loader.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), None)
    handles = (ctypes.c_void_p * count.value)()
    loader.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), handles)
    return [ctypes.c_void_p(handle) for handle in handles[: count.value]]


def _vulkan_device(loader: ctypes.CDLL, handle: ctypes.c_void_p) -> tuple[str, bool]:
    properties = _Properties()
    loader.vkGetPhysicalDeviceProperties(handle, ctypes.byref(properties))
    return properties.name.decode(errors="replace"), properties.type == TYPE_CPU
