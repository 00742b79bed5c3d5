"""The report of an export of a model that is no classifier, for people."""

from pathlib import Path
from typing import TYPE_CHECKING

from edge.cli.make.view import print_calibration, print_next, print_search
from edge.cli.output import print_folded, print_table
from edge.wording import bounds, percent, size

if TYPE_CHECKING:
    from edge.pipeline.tasks.report import TaskReport


def print_task_report(report: "TaskReport", output: Path) -> None:
    """Print the table at the end of an export, and the command to type next."""
    _print_variants(report)
    for item in report.failed:
        print_folded(item.told())
    if report.default_reason:
        print_folded(f"Default: {report.default_reason}")
    for name, search in report.search.items():
        print_search(name, search)
    print_calibration(report.calibration)
    threads = report.variants[0].latency["threads"]
    against = (
        "The file was adopted as it is: no file is known that it could differ from."
        if report.reference.is_adopted
        else "Agrees: how much of its answers and the float file's are the same; 95 %: interval."
    )
    print_folded(f"* runs by default. {against}")
    print_folded(
        "Latency: measured, median of one inference without the decoder on this host's CPU, "
        f"{threads} thread."
    )
    print_next(output)


def _print_variants(report: "TaskReport") -> None:
    rows = [
        (
            ("* " if item.name == report.default_variant else "  ") + item.name,
            size(item.size_bytes),
            percent(item.agreement),
            bounds(item.agreement_interval),
            str(item.found),
            f"{item.latency_ms:.2f} ms",
        )
        for item in report.variants
    ]
    rows += [(f"  {item.name}", "failed", "-", "-", "-", "-") for item in report.failed]
    print_table(
        f"{report.name}, {report.task}: {report.reference.images} held-out images",
        ("variant", "size", "agrees", "95 %", "results", "latency"),
        rows,
        least=("latency", "size", "95 %"),
    )
