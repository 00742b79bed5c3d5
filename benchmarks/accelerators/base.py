"""What a path to a processor says of itself, and what it must be able to do.

Standard library, numpy and ``edge.runtime`` only: a worker runs in any Python environment.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from edge.runtime.spec import TensorSpec


class Unit(StrEnum):
    """The kind of processor."""

    CPU = "cpu"
    GPU = "gpu"
    NPU = "npu"


class Label(StrEnum):
    """What stands behind a time."""

    HARDWARE = "hardware"  # the processor itself, measured
    SOFTWARE_GPU = "software-gpu"  # a GPU driver that computes on the CPU: no statement on speed
    SIMULATOR = "simulator"  # results of the processor, times of the simulator
    ESTIMATE = "estimate"  # computed by a compiler's performance model; nothing ran


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """How a model is opened.

    Attributes:
        threads: The number of CPU threads of one inference.
        batch: The number of images of one inference; it replaces an open or resizable first extent.
        delegate: The shared library of a TFLite external delegate.
        options: The options of the delegate or compiler, such as ``{"device": "usb"}``.
        full_delegation: Whether a model is refused if one of its operators stays on the CPU.
        shapes: The shapes of inputs that the model leaves open, by name; see
            ``benchmarks.input_shape``.
    """

    threads: int = 1
    batch: int = 1
    delegate: Path | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    full_delegation: bool = False
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A processor that answers.

    Attributes:
        name: What its driver calls it, such as ``Tesla A100`` or the CPU's model name.
        label: What its times are worth.
    """

    name: str
    label: Label


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Where the operators of a model ran, as the engine states after loading it.

    Attributes:
        operators: The number of operators of the whole model.
        accelerated: How many of these run on the path's own kernels, which are those of the
            accelerator or the CPU's delegate.
        partitions: The number of parts into which the accelerated ones fall.
        left: Operator types that stayed on the CPU (or on reference kernels), and how many.
        reasons: Why they stayed, as far as the engine says; one sentence each.
    """

    operators: int
    accelerated: int
    partitions: int
    left: Mapping[str, int] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()

    @property
    def full(self) -> bool:
        """Return whether nothing stayed behind."""
        return self.accelerated == self.operators


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorTime:
    """The time of one operator within an inference.

    Attributes:
        name: The name of the operator or of its output.
        type: The type of the operator, such as ``CONV_2D``.
        seconds: The mean time of the profiled inferences.
        where: The processor or execution provider.
    """

    name: str
    type: str
    seconds: float
    where: str = ""


class Runner(Protocol):
    """A loaded model on one processor.

    Attributes:
        engine: The interpreter and its version, such as ``ai-edge-litert 2.3.0``.
        inputs: The inputs in the order in which ``run`` takes them, with no extent left open.
        outputs: The outputs in the order in which ``run`` returns them.
    """

    engine: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def run(self, *tensors: NDArray[Any]) -> list[NDArray[Any]]:
        """Run once. Returns when the outputs lie in the host's memory, never before.

        Raises:
            InferenceError: The engine failed.
        """
        ...

    def device(self) -> Device:
        """Return where it runs."""
        ...

    def coverage(self) -> Coverage | None:
        """Return where the operators ran, after the first ``run``; None where nothing tells."""
        ...

    def profile(self, tensors: tuple[NDArray[Any], ...], runs: int) -> tuple[OperatorTime, ...]:
        """Return the time of each operator, in the order of execution; empty without a profiler."""
        ...


class Opener(Protocol):
    """Loads a model; the class that ``table`` names."""

    def __call__(self, model: Path, settings: EngineSettings) -> Runner:
        """Load a model.

        Raises:
            EngineUnavailable: The package, driver or processor is missing; the hint says what
                to do.
            ModelLoadError: The file does not load, or not wholly where that is asked for.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a compiler's performance model says; nothing was run.

    Attributes:
        engine: The compiler and its version.
        device: The name of the processor and its configuration, clock included.
        seconds: The time of one inference; None where the performance model gives none.
        coverage: What the processor would run.
        facts: Other figures, with their unit in the name, such as ``sram_kib``.
        notes: What the figure leaves out, one sentence each.
        inputs: What an inference gets, with every extent.
    """

    engine: str
    device: str
    seconds: float | None
    coverage: Coverage
    facts: Mapping[str, float | str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    inputs: tuple[TensorSpec, ...] = ()
