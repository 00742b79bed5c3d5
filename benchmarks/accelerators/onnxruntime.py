"""ONNX models by ONNX Runtime: the paths of the table, one execution provider each.

``get_available_providers`` lists what the package was built with, and ``get_providers`` of a
session what it was asked for: neither proves that a provider works. So each is tried on a tiny
model.
"""

import platform
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.accelerators.base import Device, EngineSettings, Label
from benchmarks.accelerators.engine import captured, imported, version
from benchmarks.accelerators.onnx_runner import CPU, OnnxRunner, Provider
from benchmarks.accelerators.processors import cpu_device, cpu_name, nvidia_gpu
from benchmarks.accelerators.table import ACCELERATORS
from benchmarks.accelerators.tiny_models import check_tiny_onnx, tiny_onnx, tiny_onnx_input
from edge.errors import EdgeError, EngineUnavailable, ModelLoadError, UsageError
from edge.runtime.refusal import refusal, stated
from edge.runtime.session import first_line

PREFIX: Final = "onnxruntime-"
UNMADE: Final = re.compile(r"(?:Failed to load library \S+ with error: |\[OpenVINO\] )(.+)")
NO_FALLBACK: Final = "fallback to CPU EP has been explicitly disabled"


def open_cpu(model: Path, settings: EngineSettings) -> OnnxRunner:
    """Load a model on the CPU; see ``base.Opener``."""
    return _open("cpu", model, settings)


def probe_cpu(settings: EngineSettings) -> Device:
    """Return the CPU; see ``table.Accelerator``."""
    return _probe("cpu", settings)


def open_cuda(model: Path, settings: EngineSettings) -> OnnxRunner:
    """Load a model on the first NVIDIA GPU; see ``base.Opener``."""
    return _open("cuda", model, settings)


def probe_cuda(settings: EngineSettings) -> Device:
    """Return the first NVIDIA GPU; see ``table.Accelerator``."""
    return _probe("cuda", settings)


def open_tensorrt(model: Path, settings: EngineSettings) -> OnnxRunner:
    """Load a model on the first NVIDIA GPU by TensorRT, and by CUDA what that leaves."""
    return _open("tensorrt", model, settings)


def probe_tensorrt(settings: EngineSettings) -> Device:
    """Return the first NVIDIA GPU; see ``table.Accelerator``."""
    return _probe("tensorrt", settings)


def open_webgpu(model: Path, settings: EngineSettings) -> OnnxRunner:
    """Load a model on the GPU that WebGPU chooses; see ``base.Opener``."""
    return _open("webgpu", model, settings)


def probe_webgpu(settings: EngineSettings) -> Device:
    """Return the GPU that WebGPU chooses; see ``table.Accelerator``."""
    return _probe("webgpu", settings)


def open_qnn(model: Path, settings: EngineSettings) -> OnnxRunner:
    """Load a model on Qualcomm's HTP, or its emulator; see ``base.Opener``."""
    return _open("qnn", model, settings)


def probe_qnn(settings: EngineSettings) -> Device:
    """Return Qualcomm's HTP, or its emulator; see ``table.Accelerator``."""
    return _probe("qnn", settings)


def open_openvino(model: Path, settings: EngineSettings) -> OnnxRunner:
    """Load a model on Intel's NPU by OpenVINO; see ``base.Opener``."""
    return _open("openvino", model, settings)


def probe_openvino(settings: EngineSettings) -> Device:
    """Return Intel's NPU; see ``table.Accelerator``."""
    return _probe("openvino", settings)


def _open(path: str, model: Path, settings: EngineSettings) -> OnnxRunner:
    """Load a model on that path; what fails is the accelerator's fault if it fails on any model."""
    if not model.is_file():
        raise UsageError(f"no model file at {model}")
    module, provider = _provider(path)
    try:
        return OnnxRunner(module, model, settings, provider)
    except Exception as error:  # each provider raises types of its own
        _require(path, module, provider, settings)
        if isinstance(error, EdgeError):
            raise
        raise _refusal(model, provider, settings, error) from error


def _probe(path: str, settings: EngineSettings) -> Device:
    """Return where a tiny model runs.

    Raises:
        EngineUnavailable: It runs nowhere; the hint says what is needed.
    """
    module, provider = _provider(path)
    _require(path, module, provider, settings)
    return provider.device()


def _provider(path: str) -> tuple[Any, Provider]:
    """Return ONNX Runtime's module and the path's provider.

    Raises:
        EngineUnavailable: The package is missing, or built without that provider.
    """
    hint = _hint(path)
    module = imported("onnxruntime", hint)
    provider = PROVIDERS[path](module, hint)
    available = module.get_available_providers()
    if provider.name not in available:
        raise EngineUnavailable(
            f"{provider.engine} has no {provider.name}; it has {', '.join(available)}", hint=hint
        )
    return module, provider


def _require(path: str, module: Any, provider: Provider, settings: EngineSettings) -> None:
    """Run the tiny model, wholly on the provider.

    Raises:
        EngineUnavailable: It does not run, or not there, or wrongly.
    """
    strict = EngineSettings(threads=settings.threads, full_delegation=True)
    try:
        with tiny_onnx() as model, captured() as log:
            (output,) = OnnxRunner(module, model, strict, provider).run(tiny_onnx_input())
    except Exception as error:
        raise EngineUnavailable(
            f"{provider.engine} is installed, but {provider.name} does not work here: "
            f"{_logged(log.text) or _cause(error)}",
            hint=_hint(path),
        ) from error
    check_tiny_onnx(output, provider.name)


def _refusal(
    model: Path, provider: Provider, settings: EngineSettings, error: Exception
) -> EdgeError:
    if settings.full_delegation and NO_FALLBACK in str(error):
        return ModelLoadError(
            f"{provider.name} does not take every operator of {model.name}",
            hint="Without --require-full-delegation the row says which ones it leaves to the CPU.",
        )
    return refusal(model, provider.engine, error)


def _logged(log: str) -> str:
    """Return why a provider could not be made: ONNX Runtime logs it and goes on without."""
    unmade = UNMADE.search(log)
    return first_line(RuntimeError(unmade[1])) if unmade else ""


def _cause(error: Exception) -> str:
    """Return the statement itself, without the C++ place and condition that stand before it."""
    if isinstance(error, EdgeError):
        return error.message
    if NO_FALLBACK in str(error):
        return "it does not run a model of one convolution"
    return stated(error)


def _hint(path: str) -> str:
    return f"To get it: {ACCELERATORS[PREFIX + path].get}."


CUDA: Final = "CUDAExecutionProvider"
QNN: Final = "QNNExecutionProvider"
FIRST_GPU: Final = {"device_id": "0"}


def cpu(module: Any, hint: str) -> Provider:
    """Return the CPU; every build has it."""
    del hint
    return Provider(
        name=CPU, engine=f"onnxruntime {module.__version__}", device=cpu_device, options={}
    )


def cuda_gpu(module: Any, hint: str) -> Provider:
    """Return CUDA on the first GPU, which searches convolution algorithms as by default."""
    del hint
    return Provider(
        name=CUDA,
        engine=_engine(module, "onnxruntime-gpu"),
        device=nvidia_gpu,
        options=FIRST_GPU,
    )


def tensorrt(module: Any, hint: str) -> Provider:
    """Return TensorRT on the first GPU; CUDA takes what it leaves, as ORT's manual advises."""
    del hint
    return Provider(
        name="TensorrtExecutionProvider",
        engine=_engine(module, "onnxruntime-gpu"),
        device=nvidia_gpu,
        options=FIRST_GPU,
        helpers=(CUDA,),
        fixed=True,
    )


def webgpu(module: Any, hint: str) -> Provider:
    """Return WebGPU by Dawn, over Vulkan on Linux."""
    del hint
    return Provider(
        name="WebGpuExecutionProvider",
        engine=_engine(module, "onnxruntime-webgpu"),
        device=_webgpu_device,
        options={},
    )


def openvino(module: Any, hint: str) -> Provider:
    """Return OpenVINO on Intel's NPU."""
    del hint
    return Provider(
        name="OpenVINOExecutionProvider",
        engine=_engine(module, "onnxruntime-openvino"),
        device=lambda: Device(name="Intel NPU", label=Label.HARDWARE),
        options={"device_type": "NPU"},
        fixed=True,
    )


def qnn(module: Any, hint: str) -> Provider:
    """Return Qualcomm's HTP; on x86-64 the package holds an emulator of it.

    Raises:
        EngineUnavailable: The package is missing, or finds no device.
    """
    package = imported("onnxruntime_qnn", hint)
    if QNN not in {device.ep_name for device in module.get_ep_devices()}:
        module.register_execution_provider_library(QNN, package.get_library_path())
    devices = [device for device in module.get_ep_devices() if device.ep_name == QNN]
    emulated = platform.machine().lower() in ("x86_64", "amd64")
    npus = [item for item in devices if item.device.type == module.OrtHardwareDeviceType.NPU]
    chosen = npus[:1] or (devices[:1] if emulated else [])
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
    """Return the module's own version: packages of other versions may lie about, overwritten."""
    name = version(package, "onnxruntime").partition(" ")[0]
    return f"{name} {module.__version__}"


def _htp(*, emulated: bool) -> Device:
    if emulated:
        return Device(name=f"Qualcomm HTP emulator on {cpu_name()}", label=Label.SIMULATOR)
    return Device(name="Qualcomm HTP", label=Label.HARDWARE)


def _webgpu_device() -> Device:
    """Return the adapter; Dawn takes a GPU before a driver that computes on the CPU."""
    from benchmarks.accelerators.processors import vulkan_devices

    devices = vulkan_devices()
    for name, is_cpu in devices:
        if not is_cpu:
            return Device(name=name, label=Label.HARDWARE)
    if devices:
        return Device(name=devices[0][0], label=Label.SOFTWARE_GPU)
    return Device(name="the system's default WebGPU adapter", label=Label.HARDWARE)
