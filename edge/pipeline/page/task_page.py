"""The page of a model that is no classifier: what was taken of it, and its files."""

from dataclasses import replace
from pathlib import Path
from typing import Final

from edge.pipeline.job import ModelToBundle
from edge.pipeline.page.classes import Thumbnails
from edge.pipeline.page.element import (
    SPACE,
    UNKNOWN,
    Element,
    document,
    element,
    folded,
    percent,
    section,
    short,
    size,
    table,
    with_interval,
)
from edge.pipeline.page.page import STYLE, data_section, facts_section, header, provenance_section
from edge.pipeline.tasks.report import TaskReport
from edge.runtime.files import write_bytes


def write_task_page(path: Path, report: TaskReport, subject: ModelToBundle) -> None:
    """Write the report as one HTML file that needs nothing else.

    Args:
        path: The path of the page.
        report: The report.
        subject: The model and its images.

    Raises:
        OSError: The file cannot be written.
    """
    names = Thumbnails(subject.pictures, subject.preprocessing)
    report = replace(report, notes=tuple(map(names.named, report.notes)))
    parts = [
        _summary(report),
        facts_section(report.facts),
        variants_section(report),
        classes_section(report),
        data_section(report.data, names.named),
        provenance_section(report.host, subject.provenance),
    ]
    style = STYLE.read_text(encoding="utf-8")
    made = document(f"{report.name}: report", style, *[part for part in parts if part is not None])
    write_bytes(path, made.encode())


def _summary(report: TaskReport) -> Element:
    reference = report.reference
    facts = {
        "task": str(report.task),
        "decoder": f"{report.decoder.name}: {report.decoder.evidence}",
        "held-out images": f"{reference.images}: {report.held_out}",
        "default variant": report.default_variant,
    }
    return header(report.name, facts, report.notes)


def variants_section(report: TaskReport) -> Element:
    """Return the files: size, score, agreement, latency."""
    rows: list[tuple[Element | str, ...]] = [
        (
            ("★ " if item.name == report.default_variant else "") + item.name,
            size(item.size_bytes),
            with_interval(item.score, item.interval),
            with_interval(item.agreement, item.agreement_interval),
            str(item.found),
            f"{item.latency_ms:.2f}{SPACE}ms",
        )
        for item in report.variants
    ]
    rows += [(item.name, "failed", *[UNKNOWN] * 4) for item in report.failed]
    against = (
        "The file was adopted as it is: no file is known that it could differ from."
        if report.reference.is_adopted
        else "Agreement: how much of its answers and those of the float file are the same."
    )
    text = (
        f"★ runs by default. Intervals: 95 %, bootstrap over images. {against} "
        f"Latency: measured, median of one inference without the decoder on the building host's "
        f"CPU ({report.host['machine']}, {report.host['cpus']} CPUs), "
        f"{report.variants[0].latency['threads']} thread."
    )
    titles = (
        "variant",
        "size",
        report.reference.metric or "score",
        "agreement",
        "results",
        "latency",
    )
    return section(
        "Variants",
        table(titles, rows),
        *[element("p", item.told()) for item in report.failed],
        element("p", report.default_reason) if report.default_reason else None,
        element("p", text, class_="soft"),
    )


MOST_CLASSES: Final = 30  # bars that are shown before they are asked for


def classes_section(report: TaskReport) -> Element | None:
    """Return a bar for each class of the default variant; None without annotations."""
    known = [(item.label, item.value) for item in report.default.classes if item.value is not None]
    if not known:
        return None
    known.sort(key=lambda pair: -pair[1])
    metric = report.reference.metric
    text = f"{report.default_variant}: {metric} of each class that the images show."
    shown: Element = element("div", *[_bar(*pair) for pair in known], class_="bars")
    if len(known) > MOST_CLASSES:
        shown = folded(f"{len(known)} classes, the best first", shown)
    return section("Classes", element("p", text, class_="soft"), shown)


def _bar(label: str, value: float) -> Element:
    fill = element("i", style=f"width: {100 * max(0.0, min(1.0, value)):.1f}%")
    return element(
        "div",
        element("span", short(label), title=label),
        element("span", fill, class_="bar"),
        element("span", percent(value), class_="number"),
        class_="row",
    )
