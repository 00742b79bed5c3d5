"""Results as JSON, schema 1: ``docs/benchmark-results.md`` describes every field."""

import json
import math
import re
from typing import Any, Final

from benchmarks.accelerators.base import Coverage, OperatorTime
from benchmarks.result import EndToEnd, Moment, Parity, Results, Row, Subject, Timing
from benchmarks.stats import summary, throughput

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


def row_json(row: Row) -> dict[str, Any]:
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


def _subject(subject: Subject) -> dict[str, Any]:
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
