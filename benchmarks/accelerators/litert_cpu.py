"""TFLite models on the CPU: LiteRT, and the older tflite-runtime."""

from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from benchmarks.accelerators import litert_profile
from benchmarks.accelerators.base import Device, OperatorTime, Settings
from benchmarks.accelerators.cpu import cpu_device
from benchmarks.accelerators.tflite_runner import LITERT, TfliteRunner, import_interpreter
from edge.errors import InferenceError

TFLITE_RUNTIME: Final = "tflite-runtime"


class LitertRunner(TfliteRunner):
    """The interpreter of ai-edge-litert, beside which there is a profiler."""

    def profile(self, tensors: tuple[NDArray[Any], ...], runs: int) -> tuple[OperatorTime, ...]:
        """By LiteRT's own profiler, which loads the file again.

        Empty for a release whose profiler is not known here, and for a model that it does not
        take: with a state, or with a batch other than the file's.
        """
        first = self.signatures[0][0] if self.signatures else ""  # the one that it profiles
        if not litert_profile.available() or first != self.signature:
            return ()
        threads = self._settings.threads
        try:
            steps = litert_profile.steps(self._model, tensors, threads=threads, runs=runs)
        except InferenceError:
            return ()
        return tuple(
            OperatorTime(
                name=str(step.index) if step.delegated else self._output_name(step.index),
                type=step.type,
                seconds=step.seconds,
                where="XNNPACK" if step.delegated else "built-in kernel",
            )
            for step in steps
        )

    def _output_name(self, operator: int) -> str:
        """Name of the first output of an operator of the main graph."""
        output = self.graph()[operator].outputs[0]
        return str(self._interpreter._get_tensor_details(output, 0)["name"])


def open_litert(model: Path, settings: Settings) -> TfliteRunner:
    """Load a .tflite file with ai-edge-litert; see ``base.Opener``."""
    module, engine = import_interpreter(LITERT)
    return LitertRunner(module, model, settings, engine=engine, device=cpu_device())


def probe_litert(settings: Settings) -> Device:
    """The CPU.

    Raises:
        EngineUnavailable: ai-edge-litert is missing or broken.
    """
    del settings
    import_interpreter(LITERT)
    return cpu_device()


def open_tflite_runtime(model: Path, settings: Settings) -> TfliteRunner:
    """Load a .tflite file with tflite-runtime; see ``base.Opener``."""
    module, engine = import_interpreter(TFLITE_RUNTIME)
    return TfliteRunner(module, model, settings, engine=engine, device=cpu_device())


def probe_tflite_runtime(settings: Settings) -> Device:
    """The CPU.

    Raises:
        EngineUnavailable: tflite-runtime is missing or broken.
    """
    del settings
    import_interpreter(TFLITE_RUNTIME)
    return cpu_device()
