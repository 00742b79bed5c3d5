"""Results as JSON, schema 1: ``docs/benchmark-results.md`` describes every field.

``benchmarks.result`` says what each field may be; statistics are written for the reader of the file
and not read again, since they follow from the samples.
"""

import json
import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks.result import BenchmarkRow, Results, Timing, milliseconds
from benchmarks.stats import summary, throughput
from edge import schema
from edge.errors import UsageError
from edge.runtime import checked

SCHEMA_VERSION: Final = 1
MAX_RESULTS: Final = 32 << 20  # bytes; a measured run of a second takes about 20 KB
HINT: Final = (
    "Name a file that edge benchmark --output wrote; docs/benchmark-results.md describes it."
)
# A list of numbers over several lines; within a string of JSON no line can break.
_NUMBERS: Final = re.compile(r"(?<=\[)\n\s*-?\d[^\[\]{}\"]*(?=\])")


def json_text(results: Results) -> str:
    """Return the whole run as indented JSON, each list of numbers on one line."""
    text = json.dumps(results_json(results), indent=2, ensure_ascii=False, allow_nan=False)
    return _NUMBERS.sub(lambda numbers: re.sub(r"\s+", " ", numbers.group()), text) + "\n"


def results_json(results: Results) -> dict[str, Any]:
    """Return the whole run as JSON values; times in milliseconds."""
    value = schema.to_json(replace(results, rows=()))
    return {
        "schema_version": SCHEMA_VERSION,
        **value,
        "rows": [row_json(row) for row in results.rows],
    }


def row_json(row: BenchmarkRow) -> dict[str, Any]:
    """Return one row as JSON values; null for what was not measured."""
    value: dict[str, Any] = schema.to_json(replace(row, timing=None))
    del value["usage"]
    if row.timing is not None:
        value["timing"] = timing_json(row.timing, row.batch)
    return value


def timing_json(timing: Timing, batch: int) -> dict[str, Any]:
    """Return the samples, and the statistics that follow from them as they stand there."""
    samples = [milliseconds(value) for value in timing.samples]
    statistics = summary(samples)
    return {
        "load_ms": milliseconds(timing.load),
        "first_ms": milliseconds(timing.first),
        "runs": statistics.runs,
        "median_ms": _rounded(statistics.median),
        "mad_ms": _rounded(statistics.mad),
        "mean_ms": _rounded(statistics.mean),
        "min_ms": statistics.minimum,
        "p5_ms": _rounded(statistics.p5),
        "p90_ms": _rounded(statistics.p90),
        "p95_ms": _rounded(statistics.p95),
        "p99_ms": None if statistics.p99 is None else _rounded(statistics.p99),
        "max_ms": statistics.maximum,
        "images_per_second": _rounded(1e3 * throughput(samples, batch)),
        "warm_up_ms": [milliseconds(value) for value in timing.warm_up],
        "samples_ms": samples,
    }


def _rounded(value: float) -> float:
    return round(value, 6)


def read_results(path: Path) -> Results:
    """Read a results file. Statistics are not read: they follow from the samples.

    Raises:
        UsageError: The file cannot be read, is of another schema, or a field does not fit.
    """
    try:
        return schema.read(
            Results,
            path,
            "the results file",
            version=SCHEMA_VERSION,
            extra="ignore",
            hint=HINT,
            max_bytes=MAX_RESULTS,
        )
    except UsageError as error:
        if "networks" in members_of(path):
            raise UsageError(
                f"{path} is a results file of edge zoo measure, not of edge benchmark",
                hint=f"Show it with: edge zoo {path}",
            ) from error
        raise


def members_of(path: Path) -> Collection[str]:
    """Return the names in a JSON file, which say what kind of results it is; none if unreadable."""
    try:
        value = checked.read_json(path, max_bytes=MAX_RESULTS, finite=False)
    except (OSError, checked.Malformed):
        return ()
    return value.keys() if isinstance(value, dict) else ()
