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
        threads: CPU threads of one inference.
        batch: Images of one inference; replaces an open or resizable first extent.
        delegate: Shared library of a TFLite external delegate.
        options: Of the delegate or compiler, such as ``{"device": "usb"}``.
        full_delegation: Refuse a model of which an operator stays on the CPU.
        shapes: Of inputs that the model leaves open, by name; see ``benchmarks.input_shape``.
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
        name: As its driver states it, such as ``Tesla A100`` or the CPU's model name.
        label: What its times are worth.
    """

    name: str
    label: Label


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Where the operators of a model ran, as the engine states after loading it.

    Attributes:
        operators: Of the whole model.
        accelerated: Of these, on the path's own kernels: the accelerator, or the CPU's delegate.
        partitions: Into which the accelerated ones fall.
        left: Operator types that stayed on the CPU (or on reference kernels), and how many.
        reasons: Why, as far as the engine says, one sentence each.
    """

    operators: int
    accelerated: int
    partitions: int
    left: Mapping[str, int] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()

    @property
    def full(self) -> bool:
        """Whether nothing stayed behind."""
        return self.accelerated == self.operators


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorTime:
    """Time of one operator within an inference.

    Attributes:
        name: Of the operator or of its output.
        type: Of the operator, such as ``CONV_2D``.
        seconds: Mean of the profiled inferences.
        where: Processor or execution provider.
    """

    name: str
    type: str
    seconds: float
    where: str = ""


class Runner(Protocol):
    """A loaded model on one processor.

    Attributes:
        engine: Interpreter and version, such as ``ai-edge-litert 2.3.0``.
        inputs: In the order in which ``run`` takes them, with no extent left open.
        outputs: In the order in which ``run`` returns them.
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
        """Where it runs."""
        ...

    def coverage(self) -> Coverage | None:
        """Where the operators ran; None where the engine cannot tell. After the first ``run``."""
        ...

    def profile(self, tensors: tuple[NDArray[Any], ...], runs: int) -> tuple[OperatorTime, ...]:
        """Times per operator, in the order of execution; empty where the engine has no profiler."""
        ...


class Opener(Protocol):
    """Loads a model; the class that ``table`` names."""

    def __call__(self, model: Path, settings: EngineSettings) -> Runner:
        """Load.

        Raises:
            EngineUnavailable: Package, driver or processor is missing; the hint says what to do.
            ModelLoadError: The file does not load, or not wholly where that is asked.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a compiler's performance model says; nothing was run.

    Attributes:
        engine: Compiler and version.
        device: Name of the processor and its configuration, clock included.
        seconds: Of one inference; None where the model gives none.
        coverage: What the processor would run.
        facts: Other figures with their unit in the name, such as ``sram_kib``.
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
