"""What a benchmark measured, for people."""

import re
from typing import Final

from benchmarks.outputs import describe
from benchmarks.result import BenchmarkRow, Results, Status
from benchmarks.stats import summary
from edge import wording
from edge.cli.output import print_folded, print_table
from edge.runtime.streams import say

COLUMNS: Final = ("median", "MAD", "p95", "load", "first", "MB", "operators", "result")

LEGEND: Final = {  # what a word of the table means, where it occurs
    "MB": "MB: the most memory that loading and running took, beyond the engine's own.",
    "partial": "Partial: some operators do not run on the path's own kernels.",
    "drifting": "Drifting: the speed changed during the measurement, so the median is no steady "
    "one.",
    "noisy": "Noisy: the samples scatter widely around one level.",
    "too few": "Too few: the samples are too few to tell whether the speed was steady.",
}


def print_rows(results: Results) -> None:
    """Print a table of every row, under the name of its model; rows without a time say why below.

    Estimates stand in a table of their own, never in a column with measurements.
    """
    lines: list[tuple[str, ...]] = []
    others = [row for row in results.rows if row.status is not Status.ESTIMATED]
    for name, rows in describe.by_model(others).items():
        shapes = {found for row in rows if (found := describe.input_shape(row))}
        lines.append((" ".join((name, *sorted(shapes))), *[""] * len(COLUMNS)))
        lines.extend(_line(row, results) for row in rows)
    if lines:
        shown = print_table(
            f"{describe.machine(results.environment)}: {describe.shared_setting(results.rows)}; "
            "milliseconds",
            ("model, path", *COLUMNS),
            lines,
            least=("load", "first", "MAD", "MB", "operators", "p95"),
        )
        _print_legend(shown)
    _print_estimates(results)
    _print_details(results)
    _print_reasons(results)
    if busy := describe.busy(results.environment):
        print_folded(
            f"note: {busy}. Each row was measured at another moment: do not compare rows with one "
            "another; measure on a quiet machine, or two models in turn with --against."
        )


def _print_legend(table: str) -> None:
    """Explain the words that occur in a table, and no others."""
    found = [said for word, said in LEGEND.items() if re.search(rf"\b{word}\b", table)]
    if found:
        print_folded(" ".join(found))
        say()


def _line(row: BenchmarkRow, results: Results) -> tuple[str, ...]:
    times = [wording.UNKNOWN] * 5
    if row.status is Status.MEASURED and row.timing is not None:
        found = summary(row.timing.samples)
        seconds = (found.median, found.mad, found.p95, row.timing.load, row.timing.first)
        times = [wording.milliseconds(value) for value in seconds]
    return (
        f"  {row.accelerator}{describe.setting(row, results)}",
        *times,
        wording.megabytes(row.peak_memory),
        describe.coverage(row),
        describe.outcome(row),
    )


def _print_estimates(results: Results) -> None:
    rows = [
        (
            f"{describe.model_name(row)} {describe.input_shape(row)}".strip()
            + f", {row.accelerator}{describe.setting(row, results)}",
            wording.milliseconds(row.estimate),
            describe.coverage(row),
            row.device,
        )
        for row in results.rows
        if row.status is Status.ESTIMATED
    ]
    if rows:
        columns = ("model, path", "estimate", "operators", "of")
        title = "Estimates of a compiler, nothing was measured; milliseconds"
        print_table(title, columns, rows, least=("operators",))


def _print_reasons(results: Results) -> None:
    for row in results.rows:
        reason = describe.why(row)
        if reason or describe.unmeasured(row):
            name = f"{describe.model_name(row)}, {row.accelerator}{describe.setting(row, results)}"
            print_folded(f"{name}: {describe.outcome(row)}" + (f": {reason}" if reason else ""))


APART: Final = 2.0  # times: beyond that two measurements of one inference contradict each other
OPERATORS: Final = 10  # of a profile, the slowest


def _print_details(results: Results) -> None:
    """Print steps from picture to answer, slowest operators and sustained runs, where measured."""
    rows = [row for row in results.rows if row.status is Status.MEASURED]
    _print_steps(rows, results)
    for row in rows:
        if row.profile:
            _print_profile(row, results)
    _print_sustained(rows, results)


def _name(row: BenchmarkRow, results: Results) -> str:
    return f"{describe.model_name(row)}, {row.accelerator}{describe.setting(row, results)}"


def _print_steps(rows: list[BenchmarkRow], results: Results) -> None:
    lines = []
    for row in rows:
        if row.end_to_end is not None:
            steps = row.end_to_end
            seconds = (steps.decode, steps.encode, steps.invoke, steps.post, steps.total)
            times = (wording.milliseconds(value) for value in seconds)
            lines.append((_name(row, results), *times))
    if lines:
        print_table(
            "From image file to answer; median milliseconds of each step",
            ("model, path", "decode", "encode", "invoke", "post", "total"),
            lines,
            least=("post", "encode"),
        )
        _print_other_speeds(rows, results)


def _print_other_speeds(rows: list[BenchmarkRow], results: Results) -> None:
    """Name the rows whose inference took another time here than in the first table."""
    for row in rows:
        if row.end_to_end is None or row.timing is None:
            continue
        invoke, alone = row.end_to_end.invoke, summary(row.timing.samples).median
        if max(invoke, alone) > APART * min(invoke, alone):
            print_folded(
                f"note: {_name(row, results)}: invoke took {wording.milliseconds(invoke)} ms here "
                f"and {wording.milliseconds(alone)} ms (median) in the first table. Each is "
                "measured in a process of its own, at another moment, and here each inference "
                "follows the decoding of a picture. So large a difference mostly means that other "
                "work ran: measure again on a quiet machine."
            )


def _print_profile(row: BenchmarkRow, results: Results) -> None:
    total = sum(item.seconds for item in row.profile)
    slowest = sorted(row.profile, key=lambda item: -item.seconds)
    lines = [
        (
            item.type,
            wording.milliseconds(item.seconds),
            wording.percent(item.seconds / total if total else None),
            item.where,
            item.name if len(item.name) <= 40 else f"…{item.name[-39:]}",
        )
        for item in slowest[:OPERATORS]
    ]
    hidden = len(slowest) - len(lines)
    print_table(
        f"{_name(row, results)}: slowest operators, milliseconds"
        + (f"; {hidden} more: --json" if hidden else ""),
        ("type", "mean", "share", "where", "operator"),
        lines,
        least=("where", "share"),
    )


def _print_sustained(rows: list[BenchmarkRow], results: Results) -> None:
    lines = []
    for row in rows:
        if not row.sustained:
            continue
        first, last = row.sustained[0], row.sustained[-1]
        slowest = max(row.sustained, key=lambda moment: moment.median)
        heat = [m.temperature_c for m in row.sustained if m.temperature_c is not None]
        lines.append(
            (
                _name(row, results),
                wording.significant(last.elapsed / 60),
                *(wording.milliseconds(moment.median) for moment in (first, last, slowest)),
                f"{last.median / first.median:.2f}",
                f"{max(heat):.0f} °C" if heat else wording.UNKNOWN,
            )
        )
    if lines:
        print_table(
            "Sustained; median milliseconds",
            ("model, path", "minutes", "first", "last", "slowest", "last / first", "hottest"),
            lines,
            least=("hottest", "minutes", "slowest"),
        )
