"""The page of a model that is no classifier: what was taken of it, and its files."""

import base64
import io
from dataclasses import replace
from pathlib import Path
from typing import Final

from edge.evaluation.task_agreement import agreements
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
from edge.pipeline.tasks.scoring import Answered, results
from edge.runtime.files import readable, write_bytes
from edge.runtime.image import decode_image
from edge.runtime.tasks.draw import draw
from edge.runtime.tasks.results import Answer
from edge.runtime.tasks.table import Task


def write_task_page(
    path: Path, report: TaskReport, subject: ModelToBundle, answered: Answered
) -> None:
    """Write the report as one HTML file that needs nothing else.

    Args:
        path: The path of the page.
        report: The report.
        subject: The model and its images.
        answered: What the files say of the images; it is drawn into some of them.

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
        pictures_section(report, subject, answered),
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


PICTURES: Final = 6  # that are drawn
SIDE: Final = 480  # pixels, at most, of one
QUALITY: Final = 82  # JPEG quality of it


def pictures_section(
    report: TaskReport, subject: ModelToBundle, answered: Answered
) -> Element | None:
    """Return some pictures with what is answered: where the default file differs most comes first.

    Of an adopted file, those with the most results.
    """
    if report.task is Task.EMBEDDING:
        return None
    name = report.default_variant
    given = next(answers for item, answers in answered.files if item.target.name == name)
    columns = {name: given}
    if report.reference.is_adopted:
        ranks = [-results(answer) for answer in given]
        text = "Those with the most results."
    else:
        alike = agreements(answered.reference, given)
        ranks = (alike.shared - alike.either).sum(axis=1).tolist()
        columns = {report.reference.of: answered.reference, name: given}
        text = f"Those where {name} differs most from {report.reference.of} come first."
    rows = sorted(range(len(ranks)), key=lambda row: ranks[row])[:PICTURES]
    figures = [
        _drawn(subject, row, who, answers[row]) for row in rows for who, answers in columns.items()
    ]
    return section(
        "Pictures", element("p", text, class_="soft"), element("div", *figures, class_="drawn")
    )


def _drawn(subject: ModelToBundle, row: int, who: str, answer: Answer) -> Element:
    path = subject.pictures[row].path
    title = readable(Path(*path.parts[-2:]))
    image = draw(decode_image(path), answer)
    image.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    image.convert("RGB").save(stream, "JPEG", quality=QUALITY)
    content = base64.b64encode(stream.getvalue()).decode()
    shown = element(
        "img", src=f"data:image/jpeg;base64,{content}", alt=f"{title}: {who}", loading="lazy"
    )
    return element("figure", shown, element("b", who), element("div", title), title=title)
