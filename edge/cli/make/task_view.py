"""The report of an export of a model that is no classifier, for people."""

from pathlib import Path
from typing import TYPE_CHECKING

from edge.cli.make.view import (
    marked,
    print_calibration,
    print_default,
    print_faults,
    print_next,
    print_searches,
)
from edge.cli.output import print_folded, print_table
from edge.wording import bounds, counted, percent, size

if TYPE_CHECKING:
    from edge.pipeline.tasks.report import TaskReport, TaskVariant


def print_task_report(report: "TaskReport", output: Path | None) -> None:
    """Print the table at the end of an export, and the command to type next."""
    _print_variants(report)
    for item in report.failed:
        print_folded(item.told())
    print_faults(report.variants, report.notes)
    print_default(report.default_reason, report.variants)
    if report.selection:
        print_folded(f"Held out: {report.held_out}")
    print_searches(report.search, report.reference.images)
    print_calibration(report.calibration)
    threads = report.variants[0].latency["threads"]
    against = (
        "The file was adopted as it is: no file is known that it could differ from."
        if report.reference.is_adopted
        else "Agrees: how much of its answers and the float file's are the same."
    )
    print_folded(f"* runs by default. {against}")
    print_folded(
        "Latency: measured, median of one inference without the decoder on this host's CPU, "
        f"{threads} thread."
    )
    print_next(output)


def _print_variants(report: "TaskReport") -> None:
    reference, metric = report.reference, report.reference.metric
    rows = [
        (
            marked(item, report.default_variant),
            size(item.size_bytes),
            *((percent(item.score), bounds(item.interval), _drop(item)) if metric else ()),
            percent(item.agreement),
            str(item.found),
            f"{item.latency_ms:.2f} ms",
        )
        for item in report.variants
    ]
    columns = (*((metric, "95 %", "drop") if metric else ()), "agrees", "results", "latency")
    rows += [(f"  {item.name}", "failed", *["-"] * len(columns)) for item in report.failed]
    annotated = f", {reference.annotated} of them annotated" if metric else ""
    print_table(
        f"{report.name}, {report.task}: {counted(reference.images, 'held-out image')}{annotated}",
        ("variant", "size", *columns),
        rows,
        least=("latency", "size", "95 %", "results"),
    )


def _drop(item: "TaskVariant") -> str:
    return "-" if item.drop_points is None else f"{item.drop_points:+.1f} pt"
