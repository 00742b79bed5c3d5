"""Results as GitHub-flavoured Markdown, for a README or a pull request."""

from collections.abc import Callable
from typing import Final

import edge
from benchmarks.outputs import describe
from benchmarks.result import Results, Row, Status, Timing
from benchmarks.stats import mad, median, percentile
from edge import wording
from edge.markup import code, prose, table

_RIGHT: Final = "right"
_LEFT: Final = "left"


def markdown(results: Results) -> str:
    """A table of the rows, why some have no time, and what was measured where.

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


def _columns(results: Results) -> dict[str, tuple[str, Callable[[Row], str]]]:
    def timed(value: Callable[[Timing], float]) -> Callable[[Row], str]:
        return lambda row: _of_measured(row, value)

    return {
        "model": (_LEFT, lambda row: code(describe.model_name(row))),
        "input": (_LEFT, lambda row: _input(row)),
        "path": (_LEFT, lambda row: code(row.accelerator + describe.setting(row, results))),
        "median ms": (_RIGHT, _bold(timed(lambda found: median(found.samples)))),
        "MAD": (_RIGHT, timed(lambda found: mad(found.samples))),
        "p95": (_RIGHT, timed(lambda found: percentile(found.samples, 95))),
        "load": (_RIGHT, timed(lambda found: found.load)),
        "first": (_RIGHT, timed(lambda found: found.first)),
        "end to end": (_RIGHT, _end_to_end),
        "estimate ms (not measured)": (_RIGHT, _estimate),
        "memory MB": (_RIGHT, lambda row: wording.megabytes(row.peak_memory)),
        "size MB": (_RIGHT, lambda row: wording.megabytes(row.subject.size_bytes)),
        "top-1": (_RIGHT, lambda row: wording.percent(row.subject.top1)),
        "operators": (_RIGHT, _coverage),
        "result": (_LEFT, lambda row: describe.outcome(row)),
    }


def _of_measured(row: Row, value: Callable[[Timing], float]) -> str:
    timing = row.timing if row.status is Status.MEASURED else None
    return wording.milliseconds(None if timing is None else value(timing))


def _bold(cell: Callable[[Row], str]) -> Callable[[Row], str]:
    return lambda row: cell(row) if cell(row) == wording.UNKNOWN else f"**{cell(row)}**"


def _input(row: Row) -> str:
    return code(describe.input_shape(row)) if row.inputs else wording.UNKNOWN


def _end_to_end(row: Row) -> str:
    steps = row.end_to_end if row.status is Status.MEASURED else None
    return wording.milliseconds(None if steps is None else steps.total)


def _estimate(row: Row) -> str:
    estimated = row.status is Status.ESTIMATED
    return wording.milliseconds(row.estimate) if estimated else wording.UNKNOWN


def _coverage(row: Row) -> str:
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
