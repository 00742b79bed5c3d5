"""Results into files, as JSON, CSV or Markdown: the name decides."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import edge
from benchmarks.outputs import describe
from benchmarks.outputs.json_file import json_text, row_json
from benchmarks.result import BenchmarkRow, Results, Status, Timing
from benchmarks.stats import mad, median, percentile
from edge import wording
from edge.markup import code, prose, table
from edge.runtime.place import check_file, write_output
from edge.runtime.printable import csv_cell

# Column -> the names that lead to it in the JSON form of a row.
COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "bundle": ("model", "bundle"),
    "model": ("model", "name"),
    "sha256": ("model", "sha256"),
    "size_bytes": ("model", "size_bytes"),
    "top1": ("model", "top1"),
    "accelerator": ("accelerator",),
    "unit": ("unit",),
    "threads": ("threads",),
    "batch": ("batch",),
    "input_shape": ("input_shape",),
    "status": ("status",),
    "label": ("label",),
    "stability": ("stability",),
    "engine": ("engine",),
    "device": ("device",),
    "runs": ("timing", "runs"),
    "median_ms": ("timing", "median_ms"),
    "mad_ms": ("timing", "mad_ms"),
    "mean_ms": ("timing", "mean_ms"),
    "min_ms": ("timing", "min_ms"),
    "p90_ms": ("timing", "p90_ms"),
    "p95_ms": ("timing", "p95_ms"),
    "p99_ms": ("timing", "p99_ms"),
    "max_ms": ("timing", "max_ms"),
    "images_per_second": ("timing", "images_per_second"),
    "load_ms": ("timing", "load_ms"),
    "first_ms": ("timing", "first_ms"),
    "estimate_ms": ("estimate_ms",),
    "peak_memory_bytes": ("peak_memory_bytes",),
    "end_to_end_ms": ("end_to_end", "total_ms"),
    "operators": ("coverage", "operators"),
    "accelerated": ("coverage", "accelerated"),
    "partitions": ("coverage", "partitions"),
    "parity_ok": ("parity", "ok"),
    "parity_reference": ("parity", "reference"),
    "parity_worst": ("parity", "worst"),
    "parity_unit": ("parity", "unit"),
    "order": ("order",),
    "reason": ("reason",),
    "hint": ("hint",),
}
TIMED: Final = "measured"


def csv_text(results: Results) -> str:
    """Return the rows as RFC 4180 has it, with a header; only measured rows have times."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in results.rows:
        values = row_json(row) | {"input_shape": describe.input_shape(row)}
        if values["status"] != TIMED:
            values["timing"] = None
        writer.writerow([_cell(values, names) for names in COLUMNS.values()])
    return stream.getvalue()


def _cell(value: Any, names: tuple[str, ...]) -> Any:
    for name in names:
        value = value[name] if value is not None else None
    if isinstance(value, bool):
        return str(value).lower()
    return csv_cell(value) if isinstance(value, str) else value


_RIGHT: Final = "right"
_LEFT: Final = "left"


def markdown(results: Results) -> str:
    """Return a table of the rows, why some have no time, and what was measured where.

    Columns that no row fills are left out, except those that say what a time is worth.
    """
    columns = _columns(results)
    cells = {title: [cell(row) for row in results.rows] for title, (_, cell) in columns.items()}
    always = {"model", "path", "median ms", "result"}
    kept = [
        title
        for title, column in cells.items()
        if title in always or any(value != wording.UNKNOWN for value in column)
    ]
    rows = list(zip(*(cells[title] for title in kept), strict=True))
    parts = [
        table({title: columns[title][0] for title in kept}, rows),
        _reasons(results),
        _footer(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _columns(results: Results) -> dict[str, tuple[str, Callable[[BenchmarkRow], str]]]:
    def timed(value: Callable[[Timing], float]) -> Callable[[BenchmarkRow], str]:
        return lambda row: _of_measured(row, value)

    return {
        "model": (_LEFT, lambda row: code(describe.model_name(row))),
        "input": (_LEFT, lambda row: _input(row)),
        "path": (_LEFT, lambda row: code(row.accelerator + describe.setting(row, results))),
        "median ms": (_RIGHT, _bold(timed(lambda timing: median(timing.samples)))),
        "MAD": (_RIGHT, timed(lambda timing: mad(timing.samples))),
        "p95": (_RIGHT, timed(lambda timing: percentile(timing.samples, 95))),
        "load": (_RIGHT, timed(lambda timing: timing.load)),
        "first": (_RIGHT, timed(lambda timing: timing.first)),
        "end to end": (_RIGHT, _end_to_end),
        "estimate ms (not measured)": (_RIGHT, _estimate),
        "memory MB": (_RIGHT, lambda row: wording.megabytes(row.peak_memory)),
        "size MB": (_RIGHT, lambda row: wording.megabytes(row.model.size_bytes)),
        "top-1": (_RIGHT, lambda row: wording.percent(row.model.top1)),
        "operators": (_RIGHT, _coverage),
        "result": (_LEFT, lambda row: describe.outcome(row)),
    }


def _of_measured(row: BenchmarkRow, value: Callable[[Timing], float]) -> str:
    timing = row.timing if row.status is Status.MEASURED else None
    return wording.milliseconds(None if timing is None else value(timing))


def _bold(cell: Callable[[BenchmarkRow], str]) -> Callable[[BenchmarkRow], str]:
    return lambda row: cell(row) if cell(row) == wording.UNKNOWN else f"**{cell(row)}**"


def _input(row: BenchmarkRow) -> str:
    return code(describe.input_shape(row)) if row.inputs else wording.UNKNOWN


def _end_to_end(row: BenchmarkRow) -> str:
    steps = row.end_to_end if row.status is Status.MEASURED else None
    return wording.milliseconds(None if steps is None else steps.total)


def _estimate(row: BenchmarkRow) -> str:
    estimated = row.status is Status.ESTIMATED
    return wording.milliseconds(row.estimate) if estimated else wording.UNKNOWN


def _coverage(row: BenchmarkRow) -> str:
    partial = row.coverage is not None and not row.coverage.full
    return f"⚠️ {describe.coverage(row)}" if partial else describe.coverage(row)


def _reasons(results: Results) -> str:
    lines = []
    for row in results.rows:
        told = [describe.why(row)] if describe.why(row) else []
        if row.coverage is not None and row.coverage.left:
            left = ", ".join(f"{count} {kind}" for kind, count in row.coverage.left.items())
            told.append(f"Not on the path's own kernels: {left}.")
        if told:
            name = code(f"{describe.model_name(row)} {row.accelerator}", 80)
            lines.append(f"- {name}{describe.setting(row, results)}: {prose(' '.join(told))}")
    return "\n".join(lines)


def _footer(results: Results) -> str:
    engines = dict.fromkeys(row.engine for row in results.rows if row.engine)
    parts = [
        prose(describe.machine(results.environment), 200),
        describe.shared_setting(results.rows),
        describe.busy(results.environment),
        "milliseconds of one inference; MAD: median absolute deviation",
        prose(", ".join(engines), 300),
        f"not finished: {results.missing} rows are missing" if results.missing else "",
        f"started {prose(results.started, 40)}",
        f"edge {edge.__version__}",
    ]
    return f"<sub>{' · '.join(part for part in parts if part)}</sub>"


FORMS: Final[dict[str, Callable[[Results], str]]] = {
    ".json": json_text,
    ".csv": csv_text,
    ".md": markdown,
}


def write_results(path: Path, results: Results) -> None:
    """Write JSON, CSV or Markdown, by the suffix.

    Raises:
        UsageError: No form has that suffix.
        OutputError: The file cannot be written.
    """
    check_file(path, tuple(FORMS))
    write_output(path, FORMS[path.suffix.lower()](results))
