"""TFLite models in an interpreter on the CPU: LiteRT, and the older tflite-runtime."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from benchmarks.accelerators import litert_profile
from benchmarks.accelerators.base import Coverage, Device, EngineSettings, OperatorTime
from benchmarks.accelerators.engine import imported, version
from benchmarks.accelerators.processors import cpu_device
from benchmarks.input_shape import closed
from edge.errors import InferenceError, ModelLoadError, UsageError
from edge.modelfile.delegation import DELEGATE, InterpreterNode, delegation, nodes_of
from edge.runtime.backends.litert import LiteRTSession, tensor_spec
from edge.runtime.refusal import refusal
from edge.runtime.spec import TensorSpec

LITERT: Final = "ai-edge-litert"
MAIN: Final = 0  # the subgraph that the interpreter runs
REASON: Final = "XNNPACK does not take them; TFLite's built-in kernels compute them."
# tflite-runtime 2.14 is its last release: built against numpy 1, and for no Python after 3.11.
EXTRA: Final = {"tflite-runtime": " 'numpy<2', with Python 3.11 or older"}


class TfliteRunner(LiteRTSession):
    """A ``base.Runner``; ``run`` is the session's, which returns when the outputs are computed."""

    def __init__(
        self,
        module: Any,
        model: Path,
        settings: EngineSettings,
        *,
        engine: str,
        device: Device,
        delegates: Sequence[Any] = (),
    ) -> None:
        """Load, resize to the batch, allocate.

        Args:
            module: The module of the interpreter.
            model: A .tflite file.
            settings: The threads and the batch.
            engine: The interpreter and its version.
            device: Where it runs.
            delegates: The external delegates, loaded.

        Raises:
            ModelLoadError: The file does not load, or not with that batch.
        """
        if not model.is_file():
            raise UsageError(f"no model file at {model}")
        self._model, self._settings = model, settings
        self.signatures: tuple[tuple[str, int], ...] = ()
        self.signature = ""
        options: dict[str, Any] = {}
        if delegates:
            options["experimental_delegates"] = list(delegates)
        try:
            super().__init__(module, model, threads=settings.threads, engine=engine, **options)
        except (RuntimeError, ValueError, TypeError) as error:
            raise _refusal(model, engine, settings, error) from error
        self._device = device
        self.inputs = self._closed
        outputs = zip(self.outputs, self._interpreter.get_output_details(), strict=True)
        self.outputs = tuple(
            replace(spec, shape=tuple(int(extent) for extent in detail["shape"]))
            for spec, detail in outputs
        )
        check_answers(self.outputs, settings.batch, f"{model.name} in {engine}")

    def _before_allocation(self) -> None:
        """Resize to the batch, and see what the delegates took.

        They come first; the interpreter's own delegate, XNNPACK, gets the rest on allocation.
        """
        self.signatures = signatures(self._interpreter)
        self.signature = next((key for key, graph in self.signatures if graph == MAIN), "")
        self.delegated = sum(node.type == DELEGATE for node in self.graph())
        details = self._interpreter.get_input_details()
        specs = tuple(tensor_spec(detail) for detail in details)
        self._closed = closed(
            specs, self._settings.batch, resizable=True, shapes=self._settings.shapes
        )
        for detail, spec in zip(details, self._closed, strict=True):
            if spec.shape != tuple(detail["shape"]):
                self._interpreter.resize_tensor_input(detail["index"], spec.shape)

    def device(self) -> Device:
        """See ``base.Runner``."""
        return self._device

    def graph(self) -> tuple[InterpreterNode, ...]:
        """Return the main graph's nodes, those that stand for partitions included."""
        return nodes_of(self._interpreter)

    def coverage(self) -> Coverage | None:
        """Return what a delegate took; operators of control-flow bodies do not count."""
        return delegated_coverage(self.graph(), (REASON,))

    def profile(self, tensors: tuple[NDArray[Any], ...], runs: int) -> tuple[OperatorTime, ...]:
        """Return nothing: Python's interpreter has no way to its profiler."""
        del tensors, runs
        return ()


def delegated_coverage(graph: Sequence[InterpreterNode], reasons: tuple[str, ...] = ()) -> Coverage:
    """Return what delegates took of a graph.

    Args:
        graph: All nodes, those of type ``DELEGATE`` included.
        reasons: Why delegates left the others, one sentence each.
    """
    divided = delegation(graph)
    return Coverage(
        operators=divided.operators,
        accelerated=divided.delegated,
        partitions=divided.partitions,
        left=divided.left,
        reasons=reasons if divided.left else (),
    )


def signatures(interpreter: Any) -> tuple[tuple[str, int], ...]:
    """Return the key and subgraph of each signature, in the file's order; empty without any."""
    try:
        keys = interpreter.get_signature_list()
        runners = [interpreter.get_signature_runner(key) for key in keys]
        graphs = [int(runner._subgraph_index) for runner in runners]
    except (AttributeError, RuntimeError, ValueError):  # an older release
        return ()
    return tuple(zip(map(str, keys), graphs, strict=True))


def check_answers(outputs: tuple[TensorSpec, ...], batch: int, described: str) -> None:
    """Refuse a model that takes a batch and folds it into one answer.

    Args:
        outputs: The outputs, with every extent known.
        batch: The number of images of one inference.
        described: The model and the engine, for the message.

    Raises:
        ModelLoadError: An output does not have an entry per image.
    """
    for spec in outputs if batch > 1 else ():
        if not spec.shape or spec.shape[0] != batch:
            raise ModelLoadError(
                f"{described} does not answer for a batch of {batch}: its output {spec.name} has "
                f"the shape {spec.shape}",
                hint="Ask for --batch 1.",
            )


def import_interpreter(package: str) -> tuple[Any, str]:
    """Return the interpreter's module, and its name with version.

    Args:
        package: ``ai-edge-litert`` or ``tflite-runtime``.

    Raises:
        EngineUnavailable: The package is missing or broken.
    """
    hint = f"Install it with pip: {package}{EXTRA.get(package, '')}."
    return imported(f"{package.replace('-', '_')}.interpreter", hint), version(package)


def _refusal(
    model: Path, engine: str, settings: EngineSettings, error: Exception
) -> ModelLoadError:
    hint = ""
    if settings.shapes:
        hint = "It may not take that --input-shape; name the one that it gets in use."
    elif settings.batch != 1:
        hint = f"It may not take a batch of {settings.batch}; try --batch 1."
    elif settings.delegate is not None:
        hint = "The delegate may want another precision, or a file that its own compiler wrote."
    return refusal(model, engine, error, otherwise=hint)


TFLITE_RUNTIME: Final = "tflite-runtime"


class LitertRunner(TfliteRunner):
    """The interpreter of ai-edge-litert, beside which there is a profiler."""

    def profile(self, tensors: tuple[NDArray[Any], ...], runs: int) -> tuple[OperatorTime, ...]:
        """Return the times by LiteRT's own profiler, which loads the file again.

        There are none for a release whose profiler is not known here, and for a model that it
        does not take: one with a state, or with a batch other than the file's.
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
        """Return the name of the first output of an operator of the main graph."""
        output = self.graph()[operator].outputs[0]
        return str(self._interpreter._get_tensor_details(output, 0)["name"])


def open_litert(model: Path, settings: EngineSettings) -> TfliteRunner:
    """Load a .tflite file with ai-edge-litert; see ``base.Opener``."""
    module, engine = import_interpreter(LITERT)
    return LitertRunner(module, model, settings, engine=engine, device=cpu_device())


def probe_litert(settings: EngineSettings) -> Device:
    """Return the CPU.

    Raises:
        EngineUnavailable: ai-edge-litert is missing or broken.
    """
    del settings
    import_interpreter(LITERT)
    return cpu_device()


def open_tflite_runtime(model: Path, settings: EngineSettings) -> TfliteRunner:
    """Load a .tflite file with tflite-runtime; see ``base.Opener``."""
    module, engine = import_interpreter(TFLITE_RUNTIME)
    return TfliteRunner(module, model, settings, engine=engine, device=cpu_device())


def probe_tflite_runtime(settings: EngineSettings) -> Device:
    """Return the CPU.

    Raises:
        EngineUnavailable: tflite-runtime is missing or broken.
    """
    del settings
    import_interpreter(TFLITE_RUNTIME)
    return cpu_device()
