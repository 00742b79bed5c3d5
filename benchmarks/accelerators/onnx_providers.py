"""The execution providers of ONNX Runtime, and what is to be known of each."""

import platform
from collections.abc import Callable
from typing import Any, Final

from benchmarks.accelerators import cuda
from benchmarks.accelerators.base import Device, Label
from benchmarks.accelerators.cpu import cpu_device, cpu_name
from benchmarks.accelerators.onnx_runner import CPU, Provider
from benchmarks.accelerators.packages import imported, version
from edge.errors import EngineUnavailable

CUDA: Final = "CUDAExecutionProvider"
QNN: Final = "QNNExecutionProvider"
FIRST_GPU: Final = {"device_id": "0"}


def cpu(module: Any, hint: str) -> Provider:
    """The CPU; every build has it."""
    del hint
    return Provider(
        name=CPU, engine=f"onnxruntime {module.__version__}", device=cpu_device, options={}
    )


def cuda_gpu(module: Any, hint: str) -> Provider:
    """CUDA on the first GPU; convolution algorithms searched as by default."""
    del hint
    return Provider(
        name=CUDA,
        engine=_engine(module, "onnxruntime-gpu"),
        device=cuda.gpu,
        options=FIRST_GPU,
    )


def tensorrt(module: Any, hint: str) -> Provider:
    """TensorRT on the first GPU; CUDA takes what it leaves, as ONNX Runtime's manual advises."""
    del hint
    return Provider(
        name="TensorrtExecutionProvider",
        engine=_engine(module, "onnxruntime-gpu"),
        device=cuda.gpu,
        options=FIRST_GPU,
        helpers=(CUDA,),
        fixed=True,
    )


def webgpu(module: Any, hint: str) -> Provider:
    """WebGPU by Dawn, over Vulkan on Linux."""
    del hint
    return Provider(
        name="WebGpuExecutionProvider",
        engine=_engine(module, "onnxruntime-webgpu"),
        device=_webgpu_device,
        options={},
    )


def openvino(module: Any, hint: str) -> Provider:
    """OpenVINO on Intel's NPU."""
    del hint
    return Provider(
        name="OpenVINOExecutionProvider",
        engine=_engine(module, "onnxruntime-openvino"),
        device=lambda: Device(name="Intel NPU", label=Label.HARDWARE),
        options={"device_type": "NPU"},
        fixed=True,
    )


def qnn(module: Any, hint: str) -> Provider:
    """Qualcomm's HTP; on x86-64 the package holds an emulator of it.

    Raises:
        EngineUnavailable: The package is missing, or finds no device.
    """
    package = imported("onnxruntime_qnn", hint)
    if QNN not in {device.ep_name for device in module.get_ep_devices()}:
        module.register_execution_provider_library(QNN, package.get_library_path())
    found = [device for device in module.get_ep_devices() if device.ep_name == QNN]
    emulated = platform.machine().lower() in ("x86_64", "amd64")
    npus = [item for item in found if item.device.type == module.OrtHardwareDeviceType.NPU]
    chosen = npus[:1] or (found[:1] if emulated else [])
    if not chosen:
        raise EngineUnavailable("onnxruntime-qnn finds no Qualcomm NPU here", hint=hint)
    backend = {"backend_path": package.get_qnn_htp_path()}
    return Provider(
        name=QNN,
        engine=f"{_engine(module, 'onnxruntime')} with {version('onnxruntime-qnn')}",
        device=lambda: _htp(emulated=emulated),
        options=backend,
        add=lambda options: options.add_provider_for_devices(chosen, backend),
        fixed=True,
    )


PROVIDERS: Final[dict[str, Callable[[Any, str], Provider]]] = {
    "cpu": cpu,
    "cuda": cuda_gpu,
    "tensorrt": tensorrt,
    "webgpu": webgpu,
    "qnn": qnn,
    "openvino": openvino,
}
"""By the name of the path without ``onnxruntime-``; called with the module and how to get it."""


def _engine(module: Any, package: str) -> str:
    """The module's own version: packages of other versions may lie about, overwritten."""
    name = version(package, "onnxruntime").partition(" ")[0]
    return f"{name} {module.__version__}"


def _htp(*, emulated: bool) -> Device:
    if emulated:
        return Device(name=f"Qualcomm HTP emulator on {cpu_name()}", label=Label.SIMULATOR)
    return Device(name="Qualcomm HTP", label=Label.HARDWARE)


def _webgpu_device() -> Device:
    """The adapter; Dawn takes a GPU before a driver that computes on the CPU."""
    from benchmarks.accelerators.vulkan import devices

    found = devices()
    for name, is_cpu in found:
        if not is_cpu:
            return Device(name=name, label=Label.HARDWARE)
    if found:
        return Device(name=found[0][0], label=Label.SOFTWARE_GPU)
    return Device(name="the system's default WebGPU adapter", label=Label.HARDWARE)
