"""The table of paths. A new one is a module and a row here; commands and docs follow from it."""

from dataclasses import dataclass
from typing import Final

from benchmarks.accelerators.base import Unit
from edge.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One path from a model file to a processor.

    Attributes:
        name: The engine and the processor, such as ``litert-gpu``.
        unit: The kind of processor.
        formats: The suffixes of the model files that it takes, without the dot.
        packages: What pip installs to get the engine.
        open: ``module:callable`` of ours, a ``base.Opener``; for an estimate a function
            ``(model, settings) -> base.Estimate``. Called in a worker process.
        probe: ``module:function`` of ours, ``(settings) -> base.Device``, which raises
            ``EngineUnavailable`` with the reason and the way out. Called in a worker process.
        get: How to get it where it is missing, in one sentence.
        estimate: Whether it computes a time instead of measuring one.
    """

    name: str
    unit: Unit
    formats: tuple[str, ...]
    packages: tuple[str, ...]
    open: str
    probe: str
    get: str
    estimate: bool = False


def _row(
    name: str,
    unit: Unit,
    formats: str,
    packages: str,
    engine: str,
    get: str,
    *,
    estimate: bool = False,
) -> Accelerator:
    """Return a row whose callables are ``module:open_X`` and ``module:probe_X``.

    Args:
        engine: ``module:X``.
    """
    module, _, suffix = engine.partition(":")
    return Accelerator(
        name=name,
        unit=unit,
        formats=tuple(formats.split()),
        packages=tuple(packages.split()),
        open=f"benchmarks.accelerators.{module}:open_{suffix}",
        probe=f"benchmarks.accelerators.{module}:probe_{suffix}",
        get=get,
        estimate=estimate,
    )


# The first row of a format and unit is the one that is measured by default.
_ROWS: Final = (
    _row(
        "litert-cpu",
        Unit.CPU,
        "tflite",
        "ai-edge-litert",
        "litert_cpu:litert",
        "pip install ai-edge-litert",
    ),
    _row(
        "tflite-runtime-cpu",
        Unit.CPU,
        "tflite",
        "tflite-runtime",
        "litert_cpu:tflite_runtime",
        "pip install tflite-runtime 'numpy<2' into a Python 3.11 environment of its own, and name "
        "its python with --python tflite-runtime-cpu=PATH",
    ),
    _row(
        "litert-gpu",
        Unit.GPU,
        "tflite",
        "ai-edge-litert",
        "litert_gpu:gpu",
        "pip install ai-edge-litert, on a machine with a Vulkan driver",
    ),
    _row(
        "litert-npu",
        Unit.NPU,
        "tflite",
        "ai-edge-litert ai-edge-litert-sdk-intel openvino",
        "litert_npu:npu",
        "pip install ai-edge-litert and the SDK package of the NPU's vendor, same version",
    ),
    _row(
        "tflite-delegate",
        Unit.NPU,
        "tflite",
        "ai-edge-litert",
        "delegate:delegate",
        "name the vendor's library with --delegate LIB.so (Coral: libedgetpu.so.1)",
    ),
    _row(
        "ethos-u",
        Unit.NPU,
        "tflite",
        "ethos-u-vela",
        "ethos_u:ethos_u",
        "pip install ethos-u-vela",
        estimate=True,
    ),
    _row(
        "onnxruntime-cpu",
        Unit.CPU,
        "onnx",
        "onnxruntime",
        "onnxruntime:cpu",
        "pip install onnxruntime",
    ),
    _row(
        "onnxruntime-cuda",
        Unit.GPU,
        "onnx",
        "onnxruntime-gpu",
        "onnxruntime:cuda",
        "pip install onnxruntime-gpu with CUDA and cuDNN, in an environment without onnxruntime",
    ),
    _row(
        "onnxruntime-tensorrt",
        Unit.GPU,
        "onnx",
        "onnxruntime-gpu",
        "onnxruntime:tensorrt",
        "pip install onnxruntime-gpu tensorrt, in an environment without onnxruntime",
    ),
    _row(
        "onnxruntime-webgpu",
        Unit.GPU,
        "onnx",
        "onnxruntime-webgpu",
        "onnxruntime:webgpu",
        "pip install onnxruntime-webgpu into an environment without onnxruntime, on a machine "
        "with a Vulkan driver",
    ),
    _row(
        "onnxruntime-qnn",
        Unit.NPU,
        "onnx",
        "onnxruntime onnxruntime-qnn",
        "onnxruntime:qnn",
        "pip install onnxruntime onnxruntime-qnn",
    ),
    _row(
        "onnxruntime-openvino",
        Unit.NPU,
        "onnx",
        "onnxruntime-openvino",
        "onnxruntime:openvino",
        "pip install onnxruntime-openvino, in an environment without onnxruntime",
    ),
    _row(
        "openvino-cpu",
        Unit.CPU,
        "onnx tflite",
        "openvino",
        "openvino:cpu",
        "pip install openvino",
    ),
    _row(
        "openvino-gpu",
        Unit.GPU,
        "onnx tflite",
        "openvino",
        "openvino:gpu",
        "pip install openvino, on a machine with an Intel GPU and its compute runtime",
    ),
    _row(
        "openvino-npu",
        Unit.NPU,
        "onnx tflite",
        "openvino",
        "openvino:npu",
        "pip install openvino, on a machine with an Intel NPU and its driver",
    ),
    _row("keras-cpu", Unit.CPU, "keras", "tensorflow", "keras:cpu", "pip install tensorflow"),
    _row(
        "keras-gpu",
        Unit.GPU,
        "keras",
        "tensorflow[and-cuda]",
        "keras:gpu",
        "pip install 'tensorflow[and-cuda]', on a machine with an NVIDIA GPU",
    ),
)

ACCELERATORS: Final[dict[str, Accelerator]] = {row.name: row for row in _ROWS}


def accelerator(name: str) -> Accelerator:
    """Return the row of that name.

    Raises:
        UsageError: There is no such path.
    """
    row = ACCELERATORS.get(name)
    if row is None:
        raise UsageError(f"unknown accelerator {name!r}", hint=f"Known: {', '.join(ACCELERATORS)}.")
    return row
