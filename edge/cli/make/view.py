"""The report of a job that made a bundle, for people."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edge.cli.output import print_folded, print_table, quoted
from edge.runtime.streams import say
from edge.wording import bounds, percent, size

if TYPE_CHECKING:
    from edge.pipeline.calibration import CalibrationAudit
    from edge.pipeline.report import Report, Training, VariantReport
    from edge.pipeline.tasks.report import TaskReport

LAST: Final = ("drop", "agrees", "latency")  # columns of a job's table


def print_export(report: "Report | TaskReport", output: Path) -> None:
    """Print what came of an export, whatever the model answers."""
    from edge.cli.identified import print_facts
    from edge.cli.make.task_view import print_task_report
    from edge.pipeline.report import Report

    print_facts(report.facts)
    if isinstance(report, Report):
        print_report(report, output)
    else:
        print_task_report(report, output)


def print_report(report: "Report", output: Path) -> None:
    """Print the table at the end of a job, and the command to type next."""
    adopted = all(variant.agreement is None for variant in report.variants)
    _print_variants(report, adopted=adopted)
    _print_lines(report)
    threads = report.variants[0].latency["threads"]
    columns = "F1: mean of the labels'" if report.output.multi_label else "95 %: interval of top-1"
    against = (
        "The file was adopted as it is: no model is known that it could differ from."
        if adopted
        else f"Drop, agrees: against {report.reference.of}."
    )
    print_folded(f"* runs by default. {columns}. {against}")
    print_folded(
        f"Latency: measured, median of one inference on this host's CPU, {threads} thread."
    )
    print_next(output)


def print_next(output: Path) -> None:
    """Print the command to type after a job that made a bundle."""
    say(f"Next: edge predict {quoted(output)} IMAGE")


def _print_variants(report: "Report", *, adopted: bool) -> None:
    """Print the table of the variants, under the scores of the model that they come from."""
    reference = report.reference
    title = f"{report.name}: {held_out_images(reference.images, reference.labelled)}"
    several = report.output.multi_label
    model = "its" if adopted else reference.of.removeprefix("the ")
    if reference.top1 is not None:
        title += f", {model} top-1 {percent(reference.top1)}"
    elif reference.multi_label is not None:
        title += f", {model} mAP {percent(reference.multi_label.mean_average_precision)}"
    rows = [
        (
            ("* " if variant.name == report.default_variant else "  ") + variant.name,
            size(variant.size_bytes),
            *(_set_cells(variant) if several else _class_cells(variant)),
            "-" if variant.drop_points is None else f"{variant.drop_points:+.1f} pt",
            percent(variant.agreement),
            f"{variant.latency_ms:.2f} ms",
        )
        for variant in report.variants
    ]
    rows += [(f"  {item.name}", "failed", "-", "-", "-", "-", "-") for item in report.failed]
    print_table(
        title,
        ("variant", "size", *(("mAP", "F1") if several else ("top-1", "95 %")), *LAST),
        rows,
        least=("drop", "latency", "size", "95 %"),
    )


def _print_lines(report: "Report") -> None:
    """Print what the table does not say: what failed, what was chosen and why, and the data."""
    from edge.dataset.folder import unused_files

    for item in report.failed:
        print_folded(item.told())
    if report.default_reason:
        print_folded(f"Default: {report.default_reason}")
    if report.held_out:
        print_folded(f"Held out: {report.held_out}")
    files = report.data.files
    if unused := unused_files(len(files.images), files.others):
        print_folded(f"Data: {unused}")
    for name, search in report.search.items():
        print_search(name, search)
    _print_training(report.training)
    print_calibration(report.calibration)
    if report.output.evidence:
        print_folded(f"Output: {report.output.evidence}.")


def held_out_images(images: int, labelled: int) -> str:
    """Say how many images were scored, and how many have a label where some have none."""
    some = f", {labelled} of them labelled" if 0 < labelled < images else ""
    return f"{images} held-out images{some}"


def _class_cells(variant: "VariantReport") -> tuple[str, str]:
    return percent(variant.top1), bounds(variant.top1_interval)


def _set_cells(variant: "VariantReport") -> tuple[str, str]:
    found = variant.multi_label
    if found is None:
        return "-", "-"
    return percent(found.mean_average_precision), percent(found.macro_f1)


def _print_training(training: "Training | None") -> None:
    """Say what was trained, and why."""
    if training is None:
        return
    passes = ", ".join(f"{phase.name} {phase.epochs}" for phase in training.phases)
    done = "trained by an earlier run" if training.cached else f"{training.seconds:.0f} s"
    passes = f"; passes: {passes}" if passes else ", without gradient steps"
    print_folded(f"Strategy: {training.strategy} ({done}{passes}).")
    if training.reason:
        print_folded(f"Why: {training.reason}")


def print_calibration(calibration: "CalibrationAudit") -> None:
    """Print one line about the calibration; what needs attention was a note before."""
    stable = [
        f"{format_} after {found['stable_after']}"
        for format_, found in calibration.observed.items()
        if found["stable_after"] is not None
    ]
    if stable:
        print_folded(
            f"Calibration: {calibration.images} images; ranges were stable: {', '.join(stable)}."
        )


def print_search(name: str, search: Mapping[str, Any]) -> None:
    """Print what a search tried; nothing beats the files on its Pareto front in all three."""
    rows = [
        (
            ("* " if item["kept"] == search["chosen"]["kept"] else "  ")
            + f"{len(item['kept'])} of {search['blocks']}",
            f"{item['drop_points']:+.2f} pt",
            f"{item['latency_ms']:.2f} ms",
            size(item["size_bytes"]),
            "yes" if item["on_front"] else "",
        )
        for item in sorted(search["candidates"], key=lambda item: len(item["kept"]))
    ]
    print_table(
        f"{name}: searched for {search['max_drop_points']:g} points on {search['images']} images",
        ("blocks in floats", "drop", "latency", "size", "Pareto front"),
        rows,
        least=("size", "latency"),
    )
    print_folded(
        "Block: a layer with weights and the operators after it. Pareto front: no other file that "
        "was tried beats these in drop, latency and size at once."
    )
