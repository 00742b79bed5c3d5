"""Keras models by TensorFlow, without conversion: what the published tables measured."""

import os
from pathlib import Path
from typing import Any, Final

from benchmarks.accelerators import cuda
from benchmarks.accelerators.base import Device, Label, Settings
from benchmarks.accelerators.cpu import cpu_device
from benchmarks.accelerators.keras_runner import KerasRunner, set_threads
from benchmarks.accelerators.packages import imported
from benchmarks.accelerators.table import ACCELERATORS
from edge.errors import EdgeError, EngineUnavailable, UsageError
from edge.runtime.refusal import refusal
from edge.runtime.session import first_line

ERRORS_ONLY: Final = "2"  # of TensorFlow's log levels


def open_cpu(model: Path, settings: Settings) -> KerasRunner:
    """On the CPU, with every GPU hidden; see ``base.Opener``."""
    return _open(_cpu, "CPU", model, settings)


def probe_cpu(settings: Settings) -> Device:
    """The CPU; see ``table.Accelerator``."""
    del settings
    return _cpu(_tensorflow("keras-cpu"))


def open_gpu(model: Path, settings: Settings) -> KerasRunner:
    """On the first GPU; see ``base.Opener``."""
    return _open(_gpu, "GPU", model, settings)


def probe_gpu(settings: Settings) -> Device:
    """The first GPU; see ``table.Accelerator``.

    Raises:
        EngineUnavailable: TensorFlow is missing, sees no GPU, or cannot compute there.
    """
    cuda.gpu()  # TensorFlow takes seconds to find out the same
    tensorflow = _tensorflow("keras-gpu")
    set_threads(tensorflow, settings.threads)  # not to be changed once it has computed
    device = _gpu(tensorflow)
    try:
        with tensorflow.device("/GPU:0"):
            found = float(tensorflow.reduce_sum(tensorflow.ones((4, 4)) @ tensorflow.ones((4, 4))))
    except Exception as error:  # each library of CUDA fails with an error of its own
        raise EngineUnavailable(
            f"TensorFlow lists {device.name}, but cannot compute there: {first_line(error)}",
            hint=_hint("keras-gpu"),
        ) from error
    if found != 64:
        raise EngineUnavailable(
            f"{device.name} adds up wrongly: {found} instead of 64", hint="Update the driver."
        )
    return device


def _open(place: Any, unit: str, model: Path, settings: Settings) -> KerasRunner:
    if not model.is_file():
        raise UsageError(f"no model file at {model}")
    tensorflow = _tensorflow(f"keras-{unit.lower()}")
    device = place(tensorflow)
    try:
        return KerasRunner(tensorflow, model, settings, device=device, unit=unit)
    except EdgeError:
        raise
    except Exception as error:  # Keras raises whatever its file readers raise
        hint = "Give a .keras file of built-in layers that model.save() wrote."
        raise refusal(model, "Keras", error, otherwise=hint) from error


def _tensorflow(path: str) -> Any:
    """TensorFlow, with Keras on top of it.

    Raises:
        EngineUnavailable: It is missing or broken.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", ERRORS_ONLY)
    os.environ["KERAS_BACKEND"] = "tensorflow"  # Keras runs on others, whose times these are not
    found = imported("tensorflow", _hint(path))
    imported("keras", _hint(path))
    return found


def _cpu(tensorflow: Any) -> Device:
    tensorflow.config.set_visible_devices([], "GPU")
    return cpu_device()


def _gpu(tensorflow: Any) -> Device:
    """The first GPU that TensorFlow lists.

    Raises:
        EngineUnavailable: It lists none.
    """
    found = tensorflow.config.list_physical_devices("GPU")
    if not found:
        raise EngineUnavailable(
            f"TensorFlow {tensorflow.__version__} lists no GPU here", hint=_hint("keras-gpu")
        )
    details = tensorflow.config.experimental.get_device_details(found[0])
    return Device(name=str(details.get("device_name", "GPU")), label=Label.HARDWARE)


def _hint(path: str) -> str:
    return f"To get it: {ACCELERATORS[path].get}."
