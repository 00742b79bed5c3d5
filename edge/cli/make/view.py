"""The report of a job that made a bundle, for people."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from edge.cli.output import print_folded, print_table, quoted
from edge.runtime.streams import say
from edge.wording import bounds, counted, listed, percent, size

if TYPE_CHECKING:
    from edge.pipeline.calibration import CalibrationAudit
    from edge.pipeline.report import Report, Training, VariantReport, WrittenFile
    from edge.pipeline.tasks.report import TaskReport

LAST: Final = ("drop", "agrees", "latency")  # columns of a job's table


@contextmanager
def shown_where_refused(*, json: bool) -> Iterator[None]:
    """Print what was measured of files that ``--strict`` refuses, before the error."""
    from edge.errors import StrictRefusal

    try:
        yield
    except StrictRefusal as refusal:
        if not json:
            print_export(cast("Report | TaskReport", refusal.report), None)
        raise


def print_export(report: "Report | TaskReport", output: Path | None) -> None:
    """Print what came of a job, whatever the model answers.

    Args:
        report: The report.
        output: The bundle; None where none was written.
    """
    from edge.cli.identified import print_facts
    from edge.cli.make.task_view import print_task_report
    from edge.pipeline.report import Report

    print_facts(report.facts)
    if isinstance(report, Report):
        print_report(report, output)
    else:
        print_task_report(report, output)


def print_report(report: "Report", output: Path | None) -> None:
    """Print the table at the end of a job, and the command to type next."""
    adopted = all(variant.agreement is None for variant in report.variants)
    _print_variants(report, adopted=adopted)
    _print_lines(report)
    threads = report.variants[0].latency["threads"]
    columns = "F1: mean of the labels'" if report.output.multi_label else "95 %: interval of top-1"
    against = (
        "The file was adopted as it is: no model is known that it could differ from."
        if adopted
        else f"Drop, agrees: against {report.reference.told}"
    )
    print_folded(f"* runs by default. {columns}. {against}")
    print_folded(
        f"Latency: measured, median of one inference on this host's CPU, {threads} thread."
    )
    print_next(output)


def print_next(output: Path | None) -> None:
    """Print the command to type after a job that made a bundle."""
    if output is not None:
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
            marked(variant, report.default_variant),
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
    print_faults(report.variants, report.notes)
    print_default(report.default_reason, report.variants)
    if report.held_out:
        print_folded(f"Held out: {report.held_out}")
    files = report.data.files
    if unused := unused_files(len(files.images), files.others):
        print_folded(f"Data: {unused}")
    print_searches(report.search, report.reference.images)
    _print_training(report.training)
    print_calibration(report.calibration)
    if report.output.evidence and report.command != "export":  # which said it at its start
        print_folded(f"Output: {report.output.evidence}.")


def marked(variant: "WrittenFile", default: str) -> str:
    """Return the name of a file with its marks: * runs by default, ! has a fault."""
    star, warning = "*" * (variant.name == default), "!" * bool(variant.faults)
    return f"{star + warning:2}{variant.name}"


def print_faults(variants: "Sequence[WrittenFile]", notes: Sequence[str] = ()) -> None:
    """Say what the mark ! means, where a file has it.

    Args:
        variants: The files.
        notes: The notes of the report. Those on faults were not said before: what they add to a
            fault, such as the way out, is said here.
    """
    for item in variants:
        told = []
        for fault in item.faults:
            whole = next((n for n in notes if n.startswith(f"{item.name} {fault}")), "")
            told.append(whole.removeprefix(f"{item.name} ") or fault)
        if told:
            print_folded(f"! {item.name} {'; it '.join(told)}.")


def note_faults(report: "Report | TaskReport") -> None:
    """Say the faults of files on standard error, where no table says them."""
    from edge.pipeline.choice import fault_notes

    for text in fault_notes(report.notes, report.variants):
        say(f"note: {text}", err=True)


def print_default(reason: str, variants: "Sequence[WrittenFile]") -> None:
    """Say why the default is what it is; faults that were just told are not told again."""
    for item in variants:
        for fault in item.faults:
            reason = reason.replace(f"{item.name} {fault}", f"{item.name} has the fault above (!)")
    if reason:
        print_folded(f"Default: {reason}")


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


def print_searches(searches: "Mapping[str, Any]", images: int) -> None:
    """Print what each search tried, and once what the columns mean.

    Args:
        searches: What was tried, by mixed variant; see ``converters.search.Search``.
        images: How many images were scored.
    """
    for name, search in searches.items():
        _print_search(name, search, images)
    if searches:
        print_folded(
            "Block: a layer with weights and the operators after it. Time to float: of an "
            "inference, over that of the float file of the format, timed in turn. Pareto front: no "
            "other file that was tried beats these in drop, time and size at once. *: chosen on "
            "these images."
        )


def _print_search(name: str, search: Mapping[str, Any], images: int) -> None:
    """Print what a search tried; nothing beats the files on its Pareto front in all three.

    Args:
        name: The mixed variant.
        search: What was tried; see ``converters.search.Search``.
        images: How many images were scored.
    """
    rows = [
        (
            ("* " if item["kept"] == search["chosen"]["kept"] else "  ")
            + f"{len(item['kept'])} of {search['blocks']}",
            f"{item['drop_points']:+.2f} pt",
            f"{item['latency_ratio']:.2f}",
            "{:.2f}-{:.2f}".format(*item["latency_ratio_interval"]),
            size(item["size_bytes"]),
            "yes" if item["on_front"] else "",
        )
        for item in sorted(search["candidates"], key=lambda item: len(item["kept"]))
    ]
    print_table(
        f"{name}: searched for {search['max_drop_points']:g} points on {search['images']} of the "
        f"{images} scored images",
        ("blocks in floats", "drop", "time to float", "95 %", "size", "Pareto front"),
        rows,
        least=("95 %", "size", "time to float"),
    )
    kept, layers = search["chosen"]["kept"], search["layers"]
    if kept:
        shown = list(dict.fromkeys(layers.get(block, block) for block in kept))
        print_folded(f"{name} keeps in floats {counted(len(shown), 'layer')}: {listed(shown)}.")
