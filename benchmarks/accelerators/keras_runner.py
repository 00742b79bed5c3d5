"""A Keras model as one compiled TensorFlow function in inference mode."""

from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.accelerators.base import Coverage, Device, OperatorTime, Settings
from benchmarks.accelerators.batch import closed
from benchmarks.accelerators.keras_profile import profiled
from edge.errors import InferenceError, ModelLoadError
from edge.runtime.session import first_line
from edge.runtime.spec import TensorSpec

# Of TensorFlow's graphs: what feeds, reads, copies and orders.
NO_OPERATORS: Final = (
    *("_Arg", "_Retval", "_Send", "_Recv", "_HostSend", "_HostRecv"),
    *("Const", "Identity", "NoOp", "ReadVariableOp"),
)


class KerasRunner:
    """A ``base.Runner``; ``run`` copies the outputs to the host, which waits for them."""

    def __init__(
        self, tensorflow: Any, model: Path, settings: Settings, *, device: Device, unit: str
    ) -> None:
        """Load and trace; the errors of Keras come through as they are.

        Args:
            tensorflow: The module.
            model: A .keras file.
            settings: Threads and batch.
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
        """Operators of TensorFlow's graph, as it was divided between the devices."""
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
        """The model as a graph for the inputs' extents; converts to flat outputs."""
        tensorflow, model = self._tensorflow, self._model

        def call(*inputs: Any) -> Any:
            with tensorflow.device(f"/{self._unit}:0"):
                given = inputs[0] if len(inputs) == 1 else list(inputs)
                return tensorflow.nest.flatten(model(given, training=False))

        signature = [tensorflow.TensorSpec(spec.shape, spec.dtype) for spec in self.inputs]
        return tensorflow.function(call, autograph=False).get_concrete_function(*signature)

    def _partition_graphs(self) -> list[Any]:
        """One graph per device, of a function that is traced and run anew to record them."""
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
    """TensorFlow takes them once per process.

    Raises:
        InferenceError: It has begun to compute with another number of them.
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
