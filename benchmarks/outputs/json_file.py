"""Results as JSON, schema 1: ``docs/benchmark-results.md`` describes every field."""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from benchmarks.accelerators.base import Coverage, Label, OperatorTime, Unit
from benchmarks.result import (
    BenchmarkRow,
    EndToEnd,
    MeasuredModel,
    Moment,
    Parity,
    Results,
    Stability,
    Status,
    Timing,
)
from benchmarks.stats import summary, throughput
from edge.errors import BundleError, UsageError
from edge.runtime import checked
from edge.runtime.spec import Preprocessing, TensorSpec

Choice = TypeVar("Choice", bound=StrEnum)

MAX_RESULTS: Final = 32 << 20  # bytes; a measured run of a second takes about 20 KB
LARGEST: Final = 1e300  # so that an integer of any length becomes a float
HINT: Final = (
    "Name a file that edge benchmark --output wrote; docs/benchmark-results.md describes it."
)


class Fields:
    """A JSON object at a place of a file.

    Args:
        value: What stands there.
        file: For messages.
        place: Within the file, such as ``rows[3].timing``; empty for the whole.

    Raises:
        UsageError: It is no object.
    """

    def __init__(self, value: Any, file: Path, place: str = "") -> None:
        self._file, self._place = file, place
        if not isinstance(value, dict):
            self._fail(place or "the document", value, "an object")
        self.values: dict[str, Any] = value

    def text(self, name: str) -> str:
        """A string."""
        value = self._value(name)
        return value if isinstance(value, str) else self._fail(self._at(name), value, "a string")

    def number(self, name: str, *, signed: bool = False) -> float:
        """A finite number, not negative unless ``signed``."""
        return self._number(self._at(name), self._value(name), signed=signed)

    def whole(self, name: str) -> int:
        """An integer that is not negative."""
        value = self._value(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            self._fail(self._at(name), value, "a whole number that is not negative")
        return value

    def truth(self, name: str) -> bool:
        """True or false."""
        value = self._value(name)
        return value if isinstance(value, bool) else self._fail(self._at(name), value, "a boolean")

    def choice(self, name: str, kind: type[Choice]) -> Choice:
        """A member of an enumeration, by its value."""
        value = self._value(name)
        for member in kind:
            if value == member.value:
                return member
        return self._fail(self._at(name), value, f"one of {', '.join(kind)}")

    def numbers(self, name: str) -> tuple[float, ...]:
        """A list of finite numbers that are not negative."""
        return tuple(self._number(place, value) for place, value in self._items(name))

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(
            value if isinstance(value, str) else self._fail(place, value, "a string")
            for place, value in self._items(name)
        )

    def object(self, name: str) -> "Fields":
        """The object of that name."""
        return Fields(self._value(name), self._file, self._at(name))

    def objects(self, name: str) -> "list[Fields]":
        """A list of objects."""
        return [Fields(value, self._file, place) for place, value in self._items(name)]

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self.values.get(name) is not None

    def fail(self, name: str, expected: str) -> NoReturn:
        """Refuse the value of a field."""
        self._fail(self._at(name), self.values.get(name), expected)

    def _items(self, name: str) -> Iterator[tuple[str, Any]]:
        value = self._value(name)
        if not isinstance(value, list):
            self._fail(self._at(name), value, "a list")
        for position, item in enumerate(value):
            yield f"{self._at(name)}[{position}]", item

    def _number(self, place: str, value: Any, *, signed: bool = False) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._fail(place, value, "a number")
        if not abs(value) <= LARGEST or (value < 0 and not signed):
            self._fail(place, value, "a finite number" + ("" if signed else ", not negative"))
        return float(value)

    def _value(self, name: str) -> Any:
        if name not in self.values:
            raise UsageError(f"{self._file}: {self._at(name)} is missing", hint=HINT)
        return self.values[name]

    def _at(self, name: str) -> str:
        return f"{self._place}.{name}" if self._place else name

    def _fail(self, place: str, value: Any, expected: str) -> NoReturn:
        found = json.dumps(value, default=str)
        shown = found if len(found) <= 60 else f"{found[:57]}..."
        raise UsageError(f"{self._file}: {place} is {shown}, expected {expected}", hint=HINT)


def load(path: Path) -> Fields:
    """The JSON object that a file holds.

    Raises:
        UsageError: The file cannot be read, or holds something else.
    """
    try:
        return Fields(checked.read_json(path, max_bytes=MAX_RESULTS, finite=False), path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint=HINT) from error
    except checked.Malformed as error:
        raise UsageError(f"{path} cannot be read: {error}", hint=HINT) from error


SCHEMA_VERSION: Final = 1
# A list of numbers over several lines; within a string of JSON no line can break.
_NUMBERS: Final = re.compile(r"(?<=\[)\n\s*-?\d[^\[\]{}\"]*(?=\])")


def milliseconds(seconds: float) -> float:
    """Milliseconds, to the nanosecond that clocks resolve."""
    return _rounded(1e3 * seconds)


def _rounded(value: float) -> float:
    return round(value, 6)


def json_text(results: Results) -> str:
    """The whole run as indented JSON, each list of numbers on one line."""
    text = json.dumps(results_json(results), indent=2, ensure_ascii=False, allow_nan=False)
    return _NUMBERS.sub(lambda found: re.sub(r"\s+", " ", found.group()), text) + "\n"


def results_json(results: Results) -> dict[str, Any]:
    """The whole run as JSON values; times in milliseconds."""
    return {
        "schema_version": SCHEMA_VERSION,
        "started": results.started,
        "seed": results.seed,
        "environment": dict(results.environment),
        "protocol": dict(results.protocol),
        "missing_rows": results.missing,
        "rows": [row_json(row) for row in results.rows],
    }


def row_json(row: BenchmarkRow) -> dict[str, Any]:
    """One row; null for what was not measured."""
    return {
        "model": _subject(row.subject),
        "accelerator": row.accelerator,
        "unit": row.unit.value,
        "threads": row.threads,
        "batch": row.batch,
        "status": row.status.value,
        "reason": row.reason,
        "hint": row.hint,
        "engine": row.engine,
        "device": row.device,
        "label": row.label and row.label.value,
        "coverage": row.coverage and _coverage(row.coverage),
        "parity": row.parity and _parity(row.parity),
        "timing": row.timing and timing_json(row.timing, row.batch),
        "stability": row.stability and row.stability.value,
        "estimate_ms": None if row.estimate is None else milliseconds(row.estimate),
        "facts": {name: value for name, value in row.facts.items() if _finite(value)},
        "peak_memory_bytes": row.peak_memory,
        "end_to_end": row.end_to_end and _end_to_end(row.end_to_end),
        "profile": [_operator(item) for item in row.profile],
        "sustained": [_moment(item) for item in row.sustained],
        "order": row.order,
        "inputs": [
            {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape)}
            for spec in row.inputs
        ],
        "signature": row.signature,
    }


def timing_json(timing: Timing, batch: int) -> dict[str, Any]:
    """Raw samples, and the statistics that follow from them as they stand there."""
    samples = [milliseconds(value) for value in timing.samples]
    found = summary(samples)
    return {
        "load_ms": milliseconds(timing.load),
        "first_ms": milliseconds(timing.first),
        "runs": found.runs,
        "median_ms": _rounded(found.median),
        "mad_ms": _rounded(found.mad),
        "mean_ms": _rounded(found.mean),
        "min_ms": found.minimum,
        "p5_ms": _rounded(found.p5),
        "p90_ms": _rounded(found.p90),
        "p95_ms": _rounded(found.p95),
        "p99_ms": None if found.p99 is None else _rounded(found.p99),
        "max_ms": found.maximum,
        "images_per_second": _rounded(1e3 * throughput(samples, batch)),
        "warm_up_ms": [milliseconds(value) for value in timing.warm_up],
        "samples_ms": samples,
    }


def _finite(value: float | str) -> bool:
    return isinstance(value, str) or math.isfinite(value)


def _subject(subject: MeasuredModel) -> dict[str, Any]:
    return {
        "name": subject.name,
        "bundle": subject.bundle,
        # Where files lay on somebody's machine is nobody's business; sha256 tells which it was.
        "file": subject.path.name,
        "sha256": subject.sha256,
        "size_bytes": subject.size_bytes,
        "format": subject.format,
        "preprocessing": subject.preprocessing and subject.preprocessing.to_json(),
        "top1": subject.top1,
    }


def _coverage(coverage: Coverage) -> dict[str, Any]:
    return {
        "operators": coverage.operators,
        "accelerated": coverage.accelerated,
        "partitions": coverage.partitions,
        "left": dict(coverage.left),
        "reasons": list(coverage.reasons),
    }


def _parity(parity: Parity) -> dict[str, Any]:
    return {
        "ok": parity.ok,
        "reference": parity.reference,
        "worst": parity.worst,
        "unit": parity.unit,
        "detail": parity.detail,
    }


def _end_to_end(steps: EndToEnd) -> dict[str, Any]:
    return {
        "decode_ms": milliseconds(steps.decode),
        "encode_ms": milliseconds(steps.encode),
        "invoke_ms": milliseconds(steps.invoke),
        "post_ms": milliseconds(steps.post),
        "total_ms": milliseconds(steps.total),
    }


def _operator(item: OperatorTime) -> dict[str, Any]:
    return {
        "name": item.name,
        "type": item.type,
        "ms": milliseconds(item.seconds),
        "where": item.where,
    }


def _moment(moment: Moment) -> dict[str, Any]:
    return {
        "elapsed_seconds": _rounded(moment.elapsed),
        "median_ms": milliseconds(moment.median),
        "runs": moment.runs,
        "temperature_c": moment.temperature_c,
        "frequency_hz": moment.frequency_hz,
        "throttled": moment.throttled,
    }


Value = TypeVar("Value")


def read_results(path: Path) -> Results:
    """Read a results file. Statistics are not read: they follow from the samples.

    Raises:
        UsageError: The file cannot be read, is of another schema, or a field does not fit.
    """
    fields = load(path)
    version = fields.values.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise UsageError(
            f"{path}: schema_version is {version!r}, expected {SCHEMA_VERSION}", hint=HINT
        )
    return Results(
        started=fields.text("started"),
        environment=fields.object("environment").values,
        protocol=fields.object("protocol").values,
        seed=fields.whole("seed"),
        rows=tuple(read_row(item) for item in fields.objects("rows")),
        missing=_optional(fields, "missing_rows", fields.whole) or 0,
    )


def read_row(fields: Fields) -> BenchmarkRow:
    """One row, as ``row_json`` wrote it.

    Raises:
        UsageError: A field is missing or does not fit.
    """
    status = fields.choice("status", Status)
    timing = _optional(fields, "timing", lambda name: _timing(fields.object(name)))
    if status is Status.MEASURED and timing is None:
        fields.fail("timing", "an object, since the row says it was measured")
    return BenchmarkRow(
        subject=_read_subject(fields.object("model")),
        accelerator=fields.text("accelerator"),
        unit=fields.choice("unit", Unit),
        threads=fields.whole("threads"),
        batch=fields.whole("batch"),
        status=status,
        reason=fields.text("reason"),
        hint=fields.text("hint"),
        engine=fields.text("engine"),
        device=fields.text("device"),
        label=_optional(fields, "label", lambda name: fields.choice(name, Label)),
        coverage=_optional(fields, "coverage", lambda name: _read_coverage(fields.object(name))),
        parity=_optional(fields, "parity", lambda name: _read_parity(fields.object(name))),
        timing=timing,
        stability=_optional(fields, "stability", lambda name: fields.choice(name, Stability)),
        estimate=_seconds(fields, "estimate_ms"),
        facts=_facts(fields),
        peak_memory=_optional(fields, "peak_memory_bytes", fields.whole),
        end_to_end=_optional(
            fields, "end_to_end", lambda name: _read_end_to_end(fields.object(name))
        ),
        profile=tuple(_read_operator(item) for item in fields.objects("profile")),
        sustained=tuple(_read_moment(item) for item in fields.objects("sustained")),
        order=fields.whole("order"),
        # Files of edge 1.0 have neither.
        inputs=tuple(map(_input, fields.objects("inputs"))) if fields.has("inputs") else (),
        signature=_optional(fields, "signature", fields.text) or "",
    )


def _optional(fields: Fields, name: str, read: Callable[[str], Value]) -> Value | None:
    return read(name) if fields.has(name) else None


def _seconds(fields: Fields, name: str) -> float | None:
    return fields.number(name) / 1e3 if fields.has(name) else None


def _read_subject(fields: Fields) -> MeasuredModel:
    top1 = _optional(fields, "top1", fields.number)
    if top1 is not None and top1 > 1:
        fields.fail("top1", "a share from 0 to 1")
    contract = _optional(fields, "preprocessing", fields.object)
    return MeasuredModel(
        name=fields.text("name"),
        path=Path(fields.text("file")),
        sha256=fields.text("sha256"),
        size_bytes=fields.whole("size_bytes"),
        format=fields.text("format"),
        bundle=fields.text("bundle"),
        preprocessing=None if contract is None else _preprocessing(fields, contract.values),
        top1=top1,
    )


def _preprocessing(fields: Fields, value: Mapping[str, Any]) -> Preprocessing:
    try:
        return Preprocessing.from_json(value)
    except BundleError as error:
        fields.fail("preprocessing", f"a preprocessing contract ({error.message})")


def _timing(fields: Fields) -> Timing:
    samples = tuple(value / 1e3 for value in fields.numbers("samples_ms"))
    if not samples or min(samples) <= 0:
        fields.fail("samples_ms", "one or more times above 0")
    return Timing(
        load=fields.number("load_ms") / 1e3,
        first=fields.number("first_ms") / 1e3,
        warm_up=tuple(value / 1e3 for value in fields.numbers("warm_up_ms")),
        samples=samples,
    )


def _read_coverage(fields: Fields) -> Coverage:
    left = fields.object("left")
    return Coverage(
        operators=fields.whole("operators"),
        accelerated=fields.whole("accelerated"),
        partitions=fields.whole("partitions"),
        left={name: left.whole(name) for name in left.values},
        reasons=fields.texts("reasons"),
    )


def _read_parity(fields: Fields) -> Parity:
    return Parity(
        ok=fields.truth("ok"),
        reference=fields.text("reference"),
        worst=fields.number("worst"),
        unit=fields.text("unit"),
        detail=fields.text("detail"),
    )


def _facts(fields: Fields) -> dict[str, float | str]:
    facts = fields.object("facts")
    for name, value in facts.values.items():
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            facts.fail(name, "a number or a string")
    return dict(facts.values)


def _read_end_to_end(fields: Fields) -> EndToEnd:
    return EndToEnd(
        decode=fields.number("decode_ms") / 1e3,
        encode=fields.number("encode_ms") / 1e3,
        invoke=fields.number("invoke_ms") / 1e3,
        post=fields.number("post_ms") / 1e3,
    )


def _read_operator(fields: Fields) -> OperatorTime:
    return OperatorTime(
        name=fields.text("name"),
        type=fields.text("type"),
        seconds=fields.number("ms") / 1e3,
        where=fields.text("where"),
    )


def _input(fields: Fields) -> TensorSpec:
    shape = tuple(int(extent) for extent in fields.numbers("shape"))
    return TensorSpec(name=fields.text("name"), shape=shape, dtype=fields.text("dtype"))


def _read_moment(fields: Fields) -> Moment:
    return Moment(
        elapsed=fields.number("elapsed_seconds"),
        median=fields.number("median_ms") / 1e3,
        runs=fields.whole("runs"),
        temperature_c=_optional(
            fields, "temperature_c", lambda name: fields.number(name, signed=True)
        ),
        frequency_hz=_optional(fields, "frequency_hz", fields.number),
        throttled=_optional(fields, "throttled", fields.whole),
    )
