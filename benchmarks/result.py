"""What a benchmark found: one row per model, path and setting. Seconds and bytes throughout."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from benchmarks.accelerators.base import Coverage, Label, OperatorTime, Unit
from edge.runtime.spec import Preprocessing, TensorSpec


class Status(StrEnum):
    """What became of a row."""

    MEASURED = "measured"
    ESTIMATED = "estimated"
    UNAVAILABLE = "not available"  # package, driver or processor is missing
    REFUSED = "refused"  # the path does not take the model, or not wholly where that was asked
    WRONG = "wrong results"  # ran, but does not answer as the CPU does: its time is not shown
    FAILED = "failed"  # crashed, hung, or an error of the engine


class Stability(StrEnum):
    """Whether the samples are of one steady state."""

    STABLE = "stable"
    NOISY = "noisy"  # wide scatter around one level
    DRIFTING = "drifting"  # the level moved while it was measured
    TOO_FEW = "too few"  # nothing can be said


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredModel:
    """A model file to measure.

    Attributes:
        name: Of the row: the variant, or the file's name.
        path: The file.
        sha256: Of the file, hex.
        size_bytes: Of the file.
        format: Suffix without the dot.
        bundle: Name of the bundle that it stands in; empty for a lone file.
        preprocessing: How it takes images, RGB 0..255; None for a lone file, whose inputs are
            generated.
        top1: Accuracy that the bundle's report states, 0..1; None without.
    """

    name: str
    path: Path
    sha256: str
    size_bytes: int
    format: str
    bundle: str = ""
    preprocessing: Preprocessing | None = None
    top1: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Measured times of one process, seconds; nothing is left out.

    Attributes:
        load: From the file to a session that is ready.
        first: The first inference.
        warm_up: Inferences until the steady phase began, after the first.
        samples: Every steady inference, in order.
    """

    load: float
    first: float
    warm_up: tuple[float, ...]
    samples: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndToEnd:
    """Median seconds of each step from an image file to an answer."""

    decode: float  # of the file, with resizing: the preprocessing contract
    encode: float  # pixels to the input tensor
    invoke: float
    post: float  # outputs to scores and labels

    @property
    def total(self) -> float:
        """Sum of the steps, seconds."""
        return self.decode + self.encode + self.invoke + self.post


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One point of a sustained run.

    Attributes:
        elapsed: Since the steady phase began, seconds.
        median: Of the inferences since the point before, seconds.
        runs: How many these are.
        temperature_c: Of the processor, degrees Celsius; None where nothing tells.
        frequency_hz: Mean of the cores' clocks; None where nothing tells.
        throttled: Raspberry Pi firmware's throttle bits; None elsewhere.
    """

    elapsed: float
    median: float
    runs: int
    temperature_c: float | None = None
    frequency_hz: float | None = None
    throttled: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How the outputs compare with those of the CPU path on the same input.

    Attributes:
        ok: Whether they are the same but for rounding.
        reference: Name of the path that was compared with.
        worst: Largest difference of an element, in the unit that ``unit`` names.
        unit: ``quantization steps`` or ``of the output's range``.
        detail: What was found, one sentence.
    """

    ok: bool
    reference: str
    worst: float
    unit: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkRow:
    """One model on one path with one setting.

    Attributes:
        subject: The model.
        accelerator: Name of the path.
        unit: Kind of processor.
        threads: CPU threads.
        batch: Images of one inference.
        status: What became of it.
        reason: Why there is no time, or what to know about it, one sentence; may be empty.
        hint: The way out, one sentence; may be empty.
        engine: Interpreter and version; empty if none was reached.
        device: Processor; empty if none was reached.
        label: What the time is worth; None if none was reached.
        coverage: Where the operators ran; None where the engine cannot tell.
        parity: None on the path that is the reference itself.
        timing: None unless measured.
        stability: None unless measured.
        estimate: Seconds of an estimated row.
        facts: Other figures of an estimate.
        peak_memory: Of a process that loads the model and runs it, bytes, without what the
            engine alone takes; None where not measured.
        end_to_end: None where not measured.
        profile: Per operator; empty where not measured.
        sustained: Empty where not measured.
        order: Position in the random order in which the rows were measured.
        inputs: What an inference got, with every extent; empty if no engine was reached.
        signature: Of a TFLite file: the one that was measured; empty where the file names none.
        usage: Whether it is the command that was refused, and not the model.
    """

    subject: MeasuredModel
    accelerator: str
    unit: Unit
    threads: int
    batch: int
    status: Status
    reason: str = ""
    hint: str = ""
    engine: str = ""
    device: str = ""
    label: Label | None = None
    coverage: Coverage | None = None
    parity: Parity | None = None
    timing: Timing | None = None
    stability: Stability | None = None
    estimate: float | None = None
    facts: Mapping[str, float | str] = field(default_factory=dict)
    peak_memory: int | None = None
    end_to_end: EndToEnd | None = None
    profile: tuple[OperatorTime, ...] = ()
    sustained: tuple[Moment, ...] = ()
    order: int = 0
    inputs: tuple[TensorSpec, ...] = ()
    signature: str = ""
    usage: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """A whole run.

    Attributes:
        started: UTC, ISO 8601.
        environment: Record of the machine (``benchmarks.environment``), JSON values.
        protocol: Of every row, JSON values.
        seed: Of the random order.
        rows: In the order in which they are shown.
        missing: Rows that were not measured yet when it was interrupted.
    """

    started: str
    environment: Mapping[str, Any]
    protocol: Mapping[str, Any]
    seed: int
    rows: tuple[BenchmarkRow, ...]
    missing: int = 0
