"""Keras models by TensorFlow, without conversion: what the published tables measured.

A model runs as one compiled TensorFlow function in inference mode. TensorFlow's profiler writes a
trace of all that its threads did: an operator's event is called ``NAME:TYPE``, and those of one
inference lie on the threads that ran them.
"""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.accelerators.base import Coverage, Device, EngineSettings, Label, OperatorTime
from benchmarks.accelerators.engine import imported
from benchmarks.accelerators.processors import cpu_device, nvidia_gpu
from benchmarks.accelerators.table import ACCELERATORS
from benchmarks.input_shape import closed
from edge.errors import EdgeError, EngineUnavailable, InferenceError, ModelLoadError, UsageError
from edge.runtime.refusal import refusal
from edge.runtime.session import first_line
from edge.runtime.spec import TensorSpec

# Nodes of TensorFlow's graphs that feed, read, copy and order.
NO_OPERATORS: Final = (
    *("_Arg", "_Retval", "_Send", "_Recv", "_HostSend", "_HostRecv"),
    *("Const", "Identity", "NoOp", "ReadVariableOp"),
)


class KerasRunner:
    """A ``base.Runner``; ``run`` copies the outputs to the host, which waits for them."""

    def __init__(
        self, tensorflow: Any, model: Path, settings: EngineSettings, *, device: Device, unit: str
    ) -> None:
        """Load and trace; the errors of Keras come through as they are.

        Args:
            tensorflow: The module.
            model: A .keras file.
            settings: The threads and the batch.
            device: Where it runs.
            unit: ``CPU`` or ``GPU``.

        Raises:
            ModelLoadError: The model states no inputs, or is fixed at another batch.
        """
        import keras

        set_threads(tensorflow, settings.threads)
        self.engine = f"keras {keras.__version__} on tensorflow {tensorflow.__version__}"
        self._tensorflow, self._device, self._unit = tensorflow, device, unit
        self._model = keras.saving.load_model(model, compile=False)
        if not getattr(self._model, "inputs", None):
            raise ModelLoadError(
                f"{model.name} does not state its inputs: it has never been built",
                hint="Call it once on a batch before model.save().",
            )
        stated = tuple(_spec(tensor) for tensor in self._model.inputs)
        self.inputs = closed(stated, settings.batch, shapes=settings.shapes)
        self.outputs = tuple(_spec(tensor) for tensor in self._model.outputs)
        self._call = self._traced()

    def run(self, *tensors: NDArray[Any]) -> list[NDArray[Any]]:
        """Run once; see ``base.Runner``."""
        try:
            convert = self._tensorflow.convert_to_tensor
            return [output.numpy() for output in self._call(*map(convert, tensors))]
        except Exception as error:  # its exception classes share no public base
            raise InferenceError(f"{self.engine} failed: {first_line(error)}") from error

    def device(self) -> Device:
        """See ``base.Runner``."""
        return self._device

    def coverage(self) -> Coverage | None:
        """Return the operators of TensorFlow's graph, as it was divided between the devices."""
        graphs = self._partition_graphs()
        if not graphs:
            return None
        nodes = [node for graph in graphs for node in graph.node if node.op not in NO_OPERATORS]
        left = Counter(node.op for node in nodes if f"device:{self._unit}:" not in node.device)
        return Coverage(
            operators=len(nodes),
            accelerated=len(nodes) - left.total(),
            partitions=sum(
                any(f"device:{self._unit}:" in node.device for node in graph.node)
                for graph in graphs
            ),
            left=dict(left.most_common()),
            reasons=("TensorFlow has no kernel for them there",) if left else (),
        )

    def profile(self, tensors: tuple[NDArray[Any], ...], runs: int) -> tuple[OperatorTime, ...]:
        """See ``base.Runner``; of the CPU alone, since the host's times of a GPU are launches."""
        if self._unit != "CPU":
            return ()
        return profiled(self._tensorflow, lambda: self.run(*tensors), runs)

    def _traced(self) -> Any:
        """Return the model as a graph for the inputs' extents; converts to flat outputs."""
        tensorflow, model = self._tensorflow, self._model

        def call(*inputs: Any) -> Any:
            with tensorflow.device(f"/{self._unit}:0"):
                given = inputs[0] if len(inputs) == 1 else list(inputs)
                return tensorflow.nest.flatten(model(given, training=False))

        signature = [tensorflow.TensorSpec(spec.shape, spec.dtype) for spec in self.inputs]
        return tensorflow.function(call, autograph=False).get_concrete_function(*signature)

    def _partition_graphs(self) -> list[Any]:
        """Return one graph per device, of a function that is traced and run anew to record them."""
        from tensorflow.python.eager import context

        call = self._traced()
        empty = [np.zeros(spec.shape, spec.dtype) for spec in self.inputs]
        context.enable_run_metadata()
        try:
            call(*map(self._tensorflow.convert_to_tensor, empty))
            metadata = context.export_run_metadata()
        finally:
            context.disable_run_metadata()
        # Functions that ran before are listed as well, this one last.
        return [graph for item in metadata.function_graphs[-1:] for graph in item.partition_graphs]


def set_threads(tensorflow: Any, threads: int) -> None:
    """Set the number of threads, which TensorFlow takes once in a process.

    Raises:
        InferenceError: TensorFlow has begun to compute with another number of them.
    """
    threading = tensorflow.config.threading
    try:
        threading.set_intra_op_parallelism_threads(threads)
        threading.set_inter_op_parallelism_threads(1)
    except RuntimeError as error:
        if threading.get_intra_op_parallelism_threads() != threads:
            raise InferenceError(
                f"TensorFlow already computes with another number of threads than {threads}",
                hint="Open each setting in a process of its own.",
            ) from error


def _spec(tensor: Any) -> TensorSpec:
    return TensorSpec(
        name=str(tensor.name),
        shape=tuple(-1 if extent is None else int(extent) for extent in tensor.shape),
        dtype=str(tensor.dtype),
    )


PICOSECOND: Final = 1e-12
OPERATOR_THREADS: Final = "tf_Compute"  # of the pool that runs operators
NO_OPERATOR_EVENTS: Final = ("ThreadpoolListener", "ExecutorState", "Eager", "KernelAndDevice")


def profiled(tensorflow: Any, run: Callable[[], object], runs: int) -> tuple[OperatorTime, ...]:
    """Return the mean time of each operator, in the order in which they first began.

    Args:
        tensorflow: The module.
        run: Runs one inference.
        runs: The number of profiled inferences, after one to warm up.
    """
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    profiler = tensorflow.profiler.experimental
    options = profiler.ProfilerOptions(
        host_tracer_level=2, python_tracer_level=0, device_tracer_level=0
    )
    run()
    with TemporaryDirectory(prefix="edge-profile-") as folder:
        with profiler.Profile(folder, options):
            for _ in range(runs):
                run()
        space = xplane_pb2.XSpace()
        for file in Path(folder).rglob("*.xplane.pb"):
            space.MergeFromString(file.read_bytes())
    return _means(_operators(space), runs)


def _operators(space: Any) -> list[tuple[float, str, float]]:
    """Return the start (arbitrary unit), ``NAME:TYPE`` and seconds of each event of an operator."""
    operators = []
    for plane in space.planes:
        for line in plane.lines:
            if not line.name.startswith(OPERATOR_THREADS):
                continue
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name
                if ":" in name and not name.startswith(NO_OPERATOR_EVENTS):
                    start = line.timestamp_ns * 1000 + event.offset_ps
                    operators.append((start, name, event.duration_ps * PICOSECOND))
    return sorted(operators)


def _means(events: list[tuple[float, str, float]], runs: int) -> tuple[OperatorTime, ...]:
    total: dict[str, float] = {}
    for _, name, seconds in events:
        total[name] = total.get(name, 0.0) + seconds
    return tuple(
        OperatorTime(
            name=name.rpartition(":")[0],
            type=name.rpartition(":")[2],
            seconds=seconds / runs,
            where="CPU",
        )
        for name, seconds in total.items()
    )


ERRORS_ONLY: Final = "2"  # of TensorFlow's log levels


def open_cpu(model: Path, settings: EngineSettings) -> KerasRunner:
    """Load a model on the CPU, with every GPU hidden; see ``base.Opener``."""
    return _open(_cpu, "CPU", model, settings)


def probe_cpu(settings: EngineSettings) -> Device:
    """Return the CPU; see ``table.Accelerator``."""
    del settings
    return _cpu(_tensorflow("keras-cpu"))


def open_gpu(model: Path, settings: EngineSettings) -> KerasRunner:
    """Load a model on the first GPU; see ``base.Opener``."""
    return _open(_gpu, "GPU", model, settings)


def probe_gpu(settings: EngineSettings) -> Device:
    """Return the first GPU; see ``table.Accelerator``.

    Raises:
        EngineUnavailable: TensorFlow is missing, sees no GPU, or cannot compute there.
    """
    nvidia_gpu()  # TensorFlow takes seconds to find out the same
    tensorflow = _tensorflow("keras-gpu")
    set_threads(tensorflow, settings.threads)  # not to be changed once it has computed
    device = _gpu(tensorflow)
    try:
        with tensorflow.device("/GPU:0"):
            total = float(tensorflow.reduce_sum(tensorflow.ones((4, 4)) @ tensorflow.ones((4, 4))))
    except Exception as error:  # each library of CUDA fails with an error of its own
        raise EngineUnavailable(
            f"TensorFlow lists {device.name}, but cannot compute there: {first_line(error)}",
            hint=_hint("keras-gpu"),
        ) from error
    if total != 64:
        raise EngineUnavailable(
            f"{device.name} adds up wrongly: {total} instead of 64", hint="Update the driver."
        )
    return device


def _open(find: Any, unit: str, model: Path, settings: EngineSettings) -> KerasRunner:
    if not model.is_file():
        raise UsageError(f"no model file at {model}")
    tensorflow = _tensorflow(f"keras-{unit.lower()}")
    device = find(tensorflow)
    try:
        return KerasRunner(tensorflow, model, settings, device=device, unit=unit)
    except EdgeError:
        raise
    except Exception as error:  # Keras raises whatever its file readers raise
        hint = "Give a .keras file of built-in layers that model.save() wrote."
        raise refusal(model, "Keras", error, otherwise=hint) from error


def _tensorflow(path: str) -> Any:
    """Import TensorFlow, with Keras on top of it.

    Raises:
        EngineUnavailable: It is missing or broken.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", ERRORS_ONLY)
    os.environ["KERAS_BACKEND"] = "tensorflow"  # Keras runs on others, whose times these are not
    tensorflow = imported("tensorflow", _hint(path))
    imported("keras", _hint(path))
    return tensorflow


def _cpu(tensorflow: Any) -> Device:
    tensorflow.config.set_visible_devices([], "GPU")
    return cpu_device()


def _gpu(tensorflow: Any) -> Device:
    """Return the first GPU that TensorFlow lists.

    Raises:
        EngineUnavailable: It lists none.
    """
    gpus = tensorflow.config.list_physical_devices("GPU")
    if not gpus:
        raise EngineUnavailable(
            f"TensorFlow {tensorflow.__version__} lists no GPU here", hint=_hint("keras-gpu")
        )
    details = tensorflow.config.experimental.get_device_details(gpus[0])
    return Device(name=str(details.get("device_name", "GPU")), label=Label.HARDWARE)


def _hint(path: str) -> str:
    return f"To get it: {ACCELERATORS[path].get}."
