"""Standard output: tables for people, JSON for machines."""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge.pipeline.report import Report, Training


def print_json(value: Any) -> None:
    """One JSON document."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    least: Sequence[str] = (),
) -> None:
    """A table; the first column is text, the others are numbers. It fits the terminal.

    Args:
        title: Stands above.
        columns: Titles.
        rows: A cell per column.
        least: Columns that may be left out where there is no room, the least important first;
            ``--json`` has them.
    """
    from edge.cli.tables import table_lines

    available = shutil.get_terminal_size().columns
    for line in table_lines(title, columns, rows, least=least, available=available):
        print(line)


def print_beside(label: str, text: str, left: int) -> None:
    """A text that begins at column ``left``, beside its label, and is folded by words."""
    from edge.cli.tables import beside_lines

    available = shutil.get_terminal_size().columns
    for line in beside_lines(label, text, left=left, available=available):
        print(line)


def percent(share: float | None, digits: int = 1) -> str:
    """0.985 -> ``98.5 %``; a dash for what is not known."""
    return "-" if share is None else f"{100 * share:.{digits}f} %"


def bounds(interval: Sequence[float] | None) -> str:
    """(0.957, 0.995) -> ``95.7-99.5``, percent; a dash for what is not known."""
    if interval is None:
        return "-"
    low, high = (f"{100 * end:.1f}" for end in interval)
    return f"{low}-{high.removesuffix('.0') if high == '100.0' else high}"


def size(count: int) -> str:
    """Bytes for people, in units of 1000."""
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def print_report(report: "Report", output: Path) -> None:
    """The table at the end of a job, and the command to type next."""
    from edge.dataset.folder import unused_files

    reference = report.reference
    title = f"{report.name}: {reference['images']} held-out images"
    if reference["top1"] is not None:
        title += f", Keras model top-1 {percent(reference['top1'])}"
    rows = [
        (
            ("* " if variant.name == report.default_variant else "  ") + variant.name,
            size(variant.size_bytes),
            percent(variant.top1),
            bounds(variant.top1_interval),
            "-" if variant.drop_points is None else f"{variant.drop_points:+.1f} pt",
            percent(variant.agreement),
            f"{variant.latency_ms:.2f} ms",
        )
        for variant in report.variants
    ]
    rows += [(f"  {item.name}", "failed", "-", "-", "-", "-", "-") for item in report.failed]
    print_table(
        title,
        ("variant", "size", "top-1", "95 %", "drop", "agrees", "latency"),
        rows,
        least=("drop", "latency", "size", "95 %"),
    )
    for item in report.failed:
        print(f"{item.name} is not in the bundle: {item.reason}")
    files = report.data["files"]
    if unused := unused_files(files["images"], files["not_used"]):
        print(f"Data: {unused}")
    for name, search in report.search.items():
        _print_search(name, search)
    _print_training(report.training)
    _print_calibration(report.calibration)
    if report.output.evidence:
        print(f"Output: {report.output.evidence}.")
    threads = report.variants[0].latency["threads"]
    print("* runs by default. 95 %: interval of top-1. Drop, agrees: against the Keras model.")
    print(f"Latency: measured, median of one inference on this host's CPU, {threads} thread.")
    print(f"Next: edge predict {quoted(output)} IMAGE")


def _print_training(training: "Training | None") -> None:
    """What learned, and why."""
    if training is None:
        return
    passes = ", ".join(f"{phase['name']} {phase['epochs']}" for phase in training.phases)
    done = "trained by an earlier run" if training.cached else f"{training.seconds:.0f} s"
    passes = f"; passes: {passes}" if passes else ", without gradient steps"
    print(f"Strategy: {training.strategy} ({done}{passes}).")
    if training.reason:
        print(f"Why: {training.reason}")


def _print_calibration(calibration: Mapping[str, Any]) -> None:
    """One line of the audit; what needs attention was a note before."""
    stable = [
        f"{format_} after {found['stable_after']}"
        for format_, found in calibration["observed"].items()
        if found["stable_after"] is not None
    ]
    if stable:
        images = calibration["images"]
        print(f"Calibration: {images} images; ranges were stable: {', '.join(stable)}.")


def _print_search(name: str, search: Mapping[str, Any]) -> None:
    """What a search tried; its front is what nothing else beats in all three."""
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


def quoted(path: Path) -> str:
    """A path as a shell takes it."""
    import shlex

    return shlex.quote(str(path))
