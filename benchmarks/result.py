"""What a benchmark measured: one row per model, path and setting.

Seconds and bytes throughout; the annotations say what stands in a results file instead, such as
milliseconds. ``benchmarks.outputs.json_file`` reads and writes that file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from benchmarks.accelerators.base import Coverage, Label, OperatorTime, Unit
from edge import schema
from edge.errors import BundleError
from edge.runtime.contract import Preprocessing
from edge.runtime.spec import TensorSpec
from edge.runtime.tasks.table import DecoderSpec


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


def milliseconds(seconds: float) -> float:
    """Return milliseconds, to the nanosecond that clocks resolve."""
    return round(1e3 * seconds, 6)


Milliseconds = Annotated[float, schema.As(schema.Amount, lambda ms: ms / 1e3, milliseconds)]


def _contract(value: Mapping[str, Any]) -> Preprocessing:
    try:
        return Preprocessing.from_json(value)
    except BundleError as error:
        raise ValueError(f"it is no preprocessing contract: {error.message}") from error


def _decoder(value: Any) -> DecoderSpec:
    try:
        return DecoderSpec.from_json(value)
    except BundleError as error:
        raise ValueError(f"it is no decoder: {error.message}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredModel:
    """A model file to measure.

    Attributes:
        name: The name of the variant, or of the file.
        bundle: The name of the bundle that the file stands in; empty for a lone file.
        path: The file. Results keep its name only: where files lay on somebody's machine is
            nobody's business, and sha256 tells which it was.
        sha256: The sha256 of the file, in hex.
        size_bytes: The size of the file.
        format: The suffix without the dot.
        preprocessing: How the model takes images, RGB 0..255; None for a lone file, whose inputs
            are generated.
        top1: The accuracy that the bundle's report states, 0..1; None without one.
        decoder: What reads the outputs; None for a classifier, and for a lone file.
    """

    __pydantic_config__: ClassVar[Any] = schema.names(path="file")

    name: str
    bundle: str = ""
    path: Annotated[Path, schema.As(str, Path, lambda path: path.name)]
    sha256: str
    size_bytes: schema.Count
    format: str
    preprocessing: (
        Annotated[Preprocessing, schema.As(dict[str, Any], _contract, Preprocessing.to_json)] | None
    ) = None
    top1: schema.Share | None = None
    decoder: (
        Annotated[DecoderSpec, schema.As(dict[str, Any], _decoder, DecoderSpec.to_json)] | None
    ) = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Measured times of one process, seconds; nothing is left out.

    Attributes:
        load: The time from the file to a session that is ready.
        first: The time of the first inference.
        warm_up: The times of the inferences until the steady phase began, after the first.
        samples: The times of all inferences of the steady phase, in order.
    """

    __pydantic_config__: ClassVar[Any] = schema.names(
        load="load_ms", first="first_ms", warm_up="warm_up_ms", samples="samples_ms"
    )

    load: Milliseconds
    first: Milliseconds
    warm_up: tuple[Milliseconds, ...]
    samples: Annotated[
        tuple[Milliseconds, ...],
        schema.Expect("one or more times above 0", lambda times: min(times, default=0) > 0),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndToEnd:
    """Median seconds of each step from an image file to an answer.

    Attributes:
        decode: Decoding of the file, with resizing: the preprocessing contract.
        encode: From pixels to the input tensor.
        invoke: The inference.
        post: From outputs to an answer: the best class, or what the decoder gives.
    """

    __pydantic_config__: ClassVar[Any] = schema.names(
        decode="decode_ms", encode="encode_ms", invoke="invoke_ms", post="post_ms"
    )

    decode: Milliseconds
    encode: Milliseconds
    invoke: Milliseconds
    post: Milliseconds

    @property
    def total(self) -> float:
        """The sum of the steps, seconds."""
        return self.decode + self.encode + self.invoke + self.post


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoredEndToEnd(EndToEnd):
    """An ``EndToEnd`` as results have it, with the sum of the steps, which nothing reads."""

    total_ms: Milliseconds | None = None

    @classmethod
    def write(cls, steps: EndToEnd) -> "_StoredEndToEnd":
        return cls(
            decode=steps.decode,
            encode=steps.encode,
            invoke=steps.invoke,
            post=steps.post,
            total_ms=steps.total,
        )

    def read(self) -> EndToEnd:
        return EndToEnd(decode=self.decode, encode=self.encode, invoke=self.invoke, post=self.post)


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoredTiming(Timing):
    """A ``Timing`` as results have it, with the statistics, which follow from the samples."""

    runs: schema.Count | None = None
    median_ms: schema.Amount | None = None
    mad_ms: schema.Amount | None = None
    mean_ms: schema.Amount | None = None
    min_ms: schema.Amount | None = None
    p5_ms: schema.Amount | None = None
    p90_ms: schema.Amount | None = None
    p95_ms: schema.Amount | None = None
    p99_ms: schema.Amount | None = None
    max_ms: schema.Amount | None = None
    images_per_second: schema.Amount | None = None

    def read(self) -> Timing:
        return Timing(load=self.load, first=self.first, warm_up=self.warm_up, samples=self.samples)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One point of a sustained run.

    Attributes:
        elapsed: Seconds since the steady phase began.
        median: The median of the inferences since the point before, seconds.
        runs: The number of these inferences.
        temperature_c: The temperature of the processor, degrees Celsius; None where nothing tells.
        frequency_hz: The mean of the cores' clocks; None where nothing tells.
        throttled: The throttle bits of a Raspberry Pi's firmware; None elsewhere.
    """

    __pydantic_config__: ClassVar[Any] = schema.names(elapsed="elapsed_seconds", median="median_ms")

    elapsed: Annotated[float, schema.As(schema.Amount, float, lambda seconds: round(seconds, 6))]
    median: Milliseconds
    runs: schema.Count
    temperature_c: float | None = None
    frequency_hz: schema.Amount | None = None
    throttled: schema.Count | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How the outputs compare with those of the CPU path on the same input.

    Attributes:
        ok: Whether they are the same but for rounding.
        reference: The name of the path that they were compared with.
        worst: The largest difference of an element, in the unit that ``unit`` names.
        unit: ``quantization steps`` or ``of the output's range``.
        detail: What was seen, one sentence.
    """

    ok: bool
    reference: str
    worst: schema.Amount
    unit: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoredOperator:
    """An ``OperatorTime`` as results have it."""

    name: str
    type: str
    ms: schema.Amount
    where: str

    @classmethod
    def write(cls, time: OperatorTime) -> "_StoredOperator":
        return cls(name=time.name, type=time.type, ms=milliseconds(time.seconds), where=time.where)

    def read(self) -> OperatorTime:
        return OperatorTime(name=self.name, type=self.type, seconds=self.ms / 1e3, where=self.where)


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoredInput:
    """A ``TensorSpec`` as results have it: how it is quantized is not kept."""

    name: str
    dtype: str
    shape: tuple[schema.Count, ...]

    @classmethod
    def write(cls, spec: TensorSpec) -> "_StoredInput":
        return cls(name=spec.name, dtype=spec.dtype, shape=spec.shape)

    def read(self) -> TensorSpec:
        return TensorSpec(name=self.name, shape=self.shape, dtype=self.dtype)


_Fact = int | float | str
_Operator = Annotated[
    OperatorTime, schema.As(_StoredOperator, _StoredOperator.read, _StoredOperator.write)
]
_Input = Annotated[TensorSpec, schema.As(_StoredInput, _StoredInput.read, _StoredInput.write)]


def _finite(facts: Mapping[str, _Fact]) -> dict[str, _Fact]:
    """The facts that JSON can state: Vela gives NaN for a float model."""
    return {
        name: value for name, value in facts.items() if isinstance(value, str) or isfinite(value)
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkRow:
    """One model on one path with one setting.

    Attributes:
        model: The model.
        accelerator: The name of the path.
        unit: The kind of processor.
        threads: CPU threads.
        batch: Images of one inference.
        status: What became of the row.
        reason: Why there is no time, or what to know about it, one sentence; may be empty.
        hint: The way out, one sentence; may be empty.
        engine: Interpreter and version; empty if none was reached.
        device: The processor; empty if none was reached.
        label: What the time is worth; None if no processor was reached.
        coverage: Where the operators ran; None where the engine cannot tell.
        parity: None on the path that is the reference itself.
        timing: None unless measured.
        stability: None unless measured.
        estimate: Seconds of an estimated row.
        facts: Other figures of an estimate.
        peak_memory: Bytes that loading and running the model takes in a process of its own,
            without what the engine alone takes; None where not measured.
        end_to_end: None where not measured.
        profile: Times per operator; empty where not measured.
        sustained: Empty where not measured.
        order: The position in the random order in which the rows were measured.
        inputs: What an inference got, with every extent; empty if no engine was reached, and in
            files of edge 1.0.
        signature: The signature of a TFLite file that was measured; empty where the file names
            none, and in files of edge 1.0.
        usage: Whether it is the command that was refused, and not the model; results files do
            not keep it.
    """

    __pydantic_config__: ClassVar[Any] = schema.names(
        estimate="estimate_ms", peak_memory="peak_memory_bytes"
    )

    model: MeasuredModel
    accelerator: str
    unit: Unit
    threads: schema.Count
    batch: schema.Count
    status: Status
    reason: str = ""
    hint: str = ""
    engine: str = ""
    device: str = ""
    label: Label | None = None
    coverage: Coverage | None = None
    parity: Parity | None = None
    timing: Annotated[Timing, schema.As(_StoredTiming, _StoredTiming.read)] | None = None
    stability: Stability | None = None
    estimate: Milliseconds | None = None
    facts: Annotated[Mapping[str, _Fact], schema.As(Mapping[str, _Fact], dict, _finite)] = field(
        default_factory=dict
    )
    peak_memory: schema.Count | None = None
    end_to_end: (
        Annotated[EndToEnd, schema.As(_StoredEndToEnd, _StoredEndToEnd.read, _StoredEndToEnd.write)]
        | None
    ) = None
    profile: tuple[_Operator, ...] = ()
    sustained: tuple[Moment, ...] = ()
    order: schema.Count = 0
    inputs: tuple[_Input, ...] = ()
    signature: str = ""
    usage: bool = False


def _read(row: BenchmarkRow) -> BenchmarkRow:
    if row.status is Status.MEASURED and row.timing is None:
        raise ValueError("timing is null, though the row says that it was measured")
    return replace(row, usage=False)


StoredRow = Annotated[BenchmarkRow, schema.As(BenchmarkRow, _read)]


# Files keep the records of machine and options as they are, since an earlier or a later edge may
# record other facts; what is known of them has to be of the right type.
_Hertz = schema.Amount | None
_Bytes = schema.Count | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cpu:
    """The processor."""

    model: str | None = None
    flags: tuple[str, ...] | None = None
    logical: schema.Count | None = None
    physical: schema.Count | None = None
    affinity: tuple[schema.Count, ...] | None = None
    quota: schema.Amount | None = None
    governors: tuple[str, ...] | None = None
    frequency_hz: _Hertz = None
    minimum_frequency_hz: _Hertz = None
    maximum_frequency_hz: _Hertz = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Memory:
    """The memory of the machine."""

    total: _Bytes = None
    available: _Bytes = None
    limit: _Bytes = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Environment:
    """The record of ``benchmarks.environment.environment``."""

    machine: str | None = None
    system: str | None = None
    cpus: schema.Count | None = None
    cpu: _Cpu | None = None
    temperature_c: float | None = None
    temperatures_c: Mapping[str, float] | None = None
    throttled: schema.Count | None = None
    throttle_events: schema.Count | None = None
    load_average: tuple[schema.Amount, ...] | None = None
    memory: _Memory | None = None
    os: str | None = None
    kernel: str | None = None
    libc: str | None = None
    python: str | None = None
    board: str | None = None
    virtual_machine: str | None = None
    container: str | None = None
    versions: Mapping[str, str | None] | None = None
    gpus: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    """The record of ``benchmarks.plan.BenchmarkPlan.to_json``."""

    runs: schema.PositiveInt | None = None
    min_seconds: schema.Amount | None = None
    max_seconds: schema.Amount | None = None
    warm_up_seconds: schema.Amount | None = None
    cool_down_seconds: schema.Amount | None = None
    sustained_seconds: schema.Amount | None = None
    pictures: schema.Count | Literal["generated"] | None = None
    delegate: str | None = None
    options: Mapping[str, str] | None = None
    batch: schema.PositiveInt | None = None
    profile: bool | None = None
    input_shapes: Mapping[str, tuple[int, ...]] | None = None


EnvironmentRecord = Annotated[Mapping[str, Any], schema.Known(_Environment)]
ProtocolRecord = Annotated[Mapping[str, Any], schema.Known(_Options)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """A whole run.

    Attributes:
        started: When it began, UTC, ISO 8601.
        seed: The seed of the random order.
        environment: The record of the machine (``benchmarks.environment``), JSON values.
        protocol: The protocol of every row, JSON values.
        missing: Rows that were not measured yet when the run was interrupted.
        rows: The rows, in the order in which they are shown.
    """

    __pydantic_config__: ClassVar[Any] = schema.names(missing="missing_rows")

    started: str
    seed: schema.Count
    environment: EnvironmentRecord
    protocol: ProtocolRecord
    missing: schema.Count = 0
    rows: tuple[StoredRow, ...]
