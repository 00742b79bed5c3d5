"""Results out of a JSON file that ``json_file`` wrote, or that somebody says it did."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.accelerators.base import Coverage, Label, OperatorTime, Unit
from benchmarks.outputs.fields import HINT, Fields, load
from benchmarks.outputs.json_file import SCHEMA_VERSION
from benchmarks.result import (
    EndToEnd,
    Moment,
    Parity,
    Results,
    Row,
    Stability,
    Status,
    Subject,
    Timing,
)
from edge.errors import BundleError, UsageError
from edge.runtime.spec import Preprocessing, TensorSpec

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


def read_row(fields: Fields) -> Row:
    """One row, as ``row_json`` wrote it.

    Raises:
        UsageError: A field is missing or does not fit.
    """
    status = fields.choice("status", Status)
    timing = _optional(fields, "timing", lambda name: _timing(fields.object(name)))
    if status is Status.MEASURED and timing is None:
        fields.fail("timing", "an object, since the row says it was measured")
    return Row(
        subject=_subject(fields.object("model")),
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
        coverage=_optional(fields, "coverage", lambda name: _coverage(fields.object(name))),
        parity=_optional(fields, "parity", lambda name: _parity(fields.object(name))),
        timing=timing,
        stability=_optional(fields, "stability", lambda name: fields.choice(name, Stability)),
        estimate=_seconds(fields, "estimate_ms"),
        facts=_facts(fields),
        peak_memory=_optional(fields, "peak_memory_bytes", fields.whole),
        end_to_end=_optional(fields, "end_to_end", lambda name: _end_to_end(fields.object(name))),
        profile=tuple(_operator(item) for item in fields.objects("profile")),
        sustained=tuple(_moment(item) for item in fields.objects("sustained")),
        order=fields.whole("order"),
        # Files of edge 1.0 have neither.
        inputs=tuple(map(_input, fields.objects("inputs"))) if fields.has("inputs") else (),
        signature=_optional(fields, "signature", fields.text) or "",
    )


def _optional(fields: Fields, name: str, read: Callable[[str], Value]) -> Value | None:
    return read(name) if fields.has(name) else None


def _seconds(fields: Fields, name: str) -> float | None:
    return fields.number(name) / 1e3 if fields.has(name) else None


def _subject(fields: Fields) -> Subject:
    top1 = _optional(fields, "top1", fields.number)
    if top1 is not None and top1 > 1:
        fields.fail("top1", "a share from 0 to 1")
    contract = _optional(fields, "preprocessing", fields.object)
    return Subject(
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


def _coverage(fields: Fields) -> Coverage:
    left = fields.object("left")
    return Coverage(
        operators=fields.whole("operators"),
        accelerated=fields.whole("accelerated"),
        partitions=fields.whole("partitions"),
        left={name: left.whole(name) for name in left.values},
        reasons=fields.texts("reasons"),
    )


def _parity(fields: Fields) -> Parity:
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


def _end_to_end(fields: Fields) -> EndToEnd:
    return EndToEnd(
        decode=fields.number("decode_ms") / 1e3,
        encode=fields.number("encode_ms") / 1e3,
        invoke=fields.number("invoke_ms") / 1e3,
        post=fields.number("post_ms") / 1e3,
    )


def _operator(fields: Fields) -> OperatorTime:
    return OperatorTime(
        name=fields.text("name"),
        type=fields.text("type"),
        seconds=fields.number("ms") / 1e3,
        where=fields.text("where"),
    )


def _input(fields: Fields) -> TensorSpec:
    shape = tuple(int(extent) for extent in fields.numbers("shape"))
    return TensorSpec(name=fields.text("name"), shape=shape, dtype=fields.text("dtype"))


def _moment(fields: Fields) -> Moment:
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
