"""An ONNX model on one execution provider: never a silent run on the CPU."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from numpy.typing import NDArray

from benchmarks.accelerators.base import Coverage, Device, EngineSettings, OperatorTime
from benchmarks.accelerators.onnx_profile import (
    Kernel,
    assignments,
    coverage,
    inferences,
    operator_times,
)
from benchmarks.input_shape import bound, check_outputs, closed
from benchmarks.inputs import tensors
from edge.errors import ModelLoadError
from edge.runtime.backends.onnx import OnnxSession
from edge.runtime.spec import TensorSpec

CPU: Final = "CPUExecutionProvider"
RECORD: Final = "session.record_ep_graph_assignment_info"
NO_FALLBACK: Final = "session.disable_cpu_ep_fallback"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """An execution provider.

    Attributes:
        name: The name that ONNX Runtime has for it.
        engine: The package and its version.
        device: Says where it runs.
        options: The options of the provider.
        helpers: Other providers of the same processor that may take what it leaves.
        add: Adds it to the session's options, where it comes from a library of its own.
        fixed: Whether it wants every extent known before it compiles.
    """

    name: str
    engine: str
    device: Callable[[], Device]
    options: Mapping[str, str]
    helpers: tuple[str, ...] = ()
    add: Callable[[Any], None] | None = None
    fixed: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Return all that stand for the processor."""
        return (self.name, *self.helpers)


class OnnxRunner:
    """A ``base.Runner`` over ``OnnxSession``."""

    def __init__(
        self, module: Any, model: Path, settings: EngineSettings, provider: Provider
    ) -> None:
        """Load; ONNX Runtime's own errors come through as they are.

        Raises:
            ModelLoadError: The model is fixed at another batch, or the provider takes none of it.
        """
        self._provider = provider
        self._open: Callable[..., OnnxSession] = partial(
            _session,
            module,
            model,
            settings,
            provider,
            _open_extents(module, model, settings) if provider.fixed else {},
        )
        self._loaded = self._open()
        self.engine = self._loaded.engine
        self.inputs = _closed(self._loaded, settings)
        self.outputs = self._loaded.outputs
        check_outputs(model.name, self.outputs, settings.batch)
        self._parts = assignments(self._loaded.session)
        # Layout changes hide operators from the assignments, so ask what ran before refusing.
        if provider.name not in dict(self._parts or ()) and not self._ran_here():
            if provider.name == CPU:
                raise ModelLoadError(
                    f"{model.name} computes nothing: its graph has no operators, or they work on "
                    "constants alone and were done away with when it was loaded",
                    hint="Export the model again; edge inspect shows what the file holds.",
                )
            raise ModelLoadError(
                f"{provider.name} takes no operator of {model.name}: all would run on the CPU",
                hint="Measure it on the CPU, or convert it to operators of that accelerator.",
            )

    def run(self, *tensors: NDArray[Any]) -> list[NDArray[Any]]:
        """Run once; see ``base.Runner``. ONNX Runtime's ``run`` copies the outputs to the host."""
        return self._loaded.run(*tensors)

    def device(self) -> Device:
        """See ``base.Runner``."""
        return self._provider.device()

    def coverage(self) -> Coverage | None:
        """See ``base.Runner``; on an accelerator it costs a session and an inference more."""
        if self._provider.name == CPU and self._parts is not None:
            operators = sum(count for _, count in self._parts)
            return Coverage(operators=operators, accelerated=operators, partitions=1)
        return coverage(self._parts, self._kernels(self._inputs(), 1)[0], self._provider.names)

    def profile(self, tensors: tuple[NDArray[Any], ...], runs: int) -> tuple[OperatorTime, ...]:
        """See ``base.Runner``; of the CPU alone, in a session that does nothing else.

        ONNX Runtime's profiler times the launch of a GPU's kernels, not the kernels, and shows
        what a provider compiled as one piece.
        """
        if self._provider.name != CPU:
            return ()
        return operator_times(self._kernels(tensors, runs))

    def _ran_here(self) -> bool:
        kernels = self._kernels(self._inputs(), 1)[0]
        return any(kernel.provider == self._provider.name for kernel in kernels)

    def _inputs(self) -> tuple[NDArray[Any], ...]:
        return tensors(self.inputs, 1, None)  # whose extents are all known

    def _kernels(
        self, inputs: tuple[NDArray[Any], ...], runs: int
    ) -> tuple[tuple[Kernel, ...], ...]:
        """Return the kernels of so many inferences, after one to warm up."""
        with TemporaryDirectory(prefix="edge-profile-") as folder:

            def profiled(options: Any) -> None:
                options.enable_profiling = True
                options.profile_file_prefix = str(Path(folder) / "profile")

            session = self._open(profiled)
            for _ in range(runs + 1):
                session.run(*inputs)
            return inferences(Path(session.session.end_profiling()))[1:]


def _session(
    module: Any,
    model: Path,
    settings: EngineSettings,
    provider: Provider,
    extents: Mapping[str, int],
    configure: Callable[[Any], None] | None = None,
) -> OnnxSession:
    """Open a session on that provider; the CPU runs the rest, if full delegation is not asked."""

    def set_options(options: Any) -> None:
        options.add_session_config_entry(RECORD, "1")
        if settings.full_delegation and provider.name != CPU:
            options.add_session_config_entry(NO_FALLBACK, "1")
        for name, extent in extents.items():
            options.add_free_dimension_override_by_name(name, extent)
        if provider.add is not None:
            provider.add(options)
        if configure is not None:
            configure(options)

    named: list[Any] = [(provider.name, dict(provider.options)), *provider.helpers]
    return OnnxSession(
        module,
        model,
        threads=settings.threads,
        engine=provider.engine,
        providers=None if provider.add else named,
        configure=set_options,
    )


def _closed(session: OnnxSession, settings: EngineSettings) -> tuple[TensorSpec, ...]:
    """Return the inputs with every extent known; errors as ``closed`` and ``bound``."""
    axes = [item.shape for item in session.session.get_inputs()]
    inputs, given, sequences = bound(session.inputs, axes, settings.shapes)
    return closed(inputs, settings.batch, shapes=given, sequences=sequences)


def _open_extents(module: Any, model: Path, settings: EngineSettings) -> dict[str, int]:
    """Find values for the named open extents of the inputs, by loading without optimizing."""

    def plain(options: Any) -> None:
        level = module.GraphOptimizationLevel
        options.graph_optimization_level = level.ORT_DISABLE_ALL

    session = OnnxSession(module, model, threads=1, engine="", configure=plain)
    known = _closed(session, settings)
    return {
        name: extent
        for item, spec in zip(session.session.get_inputs(), known, strict=True)
        for name, extent in zip(item.shape, spec.shape, strict=True)
        if isinstance(name, str)
    }
