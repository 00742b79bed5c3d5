"""Results as CSV: one line per row, times in milliseconds; empty cells for what is not known."""

import csv
import io
from typing import Any, Final

from benchmarks.outputs import describe
from benchmarks.outputs.json_file import row_json
from benchmarks.result import Results
from edge.runtime.printable import csv_cell

# Column -> where it stands in the JSON form of a row.
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
    """The rows as RFC 4180 has it, with a header. Only measured rows have times."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in results.rows:
        values = row_json(row) | {"input_shape": describe.input_shape(row)}
        if values["status"] != TIMED:
            values["timing"] = None
        writer.writerow([_cell(values, place) for place in COLUMNS.values()])
    return stream.getvalue()


def _cell(value: Any, place: tuple[str, ...]) -> Any:
    for name in place:
        value = value[name] if value is not None else None
    if isinstance(value, bool):
        return str(value).lower()
    return csv_cell(value) if isinstance(value, str) else value
