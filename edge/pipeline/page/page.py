"""The page as one HTML file: what stands on top, the variants, the data, and the other parts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from edge.dataset.pictures import Picture
from edge.evaluation.multilabel import MultiLabelScore
from edge.identification.model import Fact
from edge.pipeline.class_report import ModelOnClasses
from edge.pipeline.page.classes import (
    Thumbnails,
    confusion_section,
    differences_section,
    mistakes_section,
    per_class_section,
    per_label_section,
)
from edge.pipeline.page.curves import learning_curves, reliability_diagram
from edge.pipeline.page.element import (
    SPACE,
    UNKNOWN,
    Element,
    counted_interval,
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
from edge.pipeline.report import DataReport, Report, Training, VariantReport
from edge.runtime.contract import Preprocessing
from edge.runtime.files import write_bytes

PAGE_NAME: Final = "report.html"
STYLE: Final = Path(__file__).with_name("style.css")


def write_page(
    path: Path,
    report: Report,
    *,
    labels: Sequence[str],
    pictures: Sequence[Picture],
    preprocessing: Preprocessing,
    provenance: Mapping[str, Any],
) -> None:
    """Write the report as one HTML file that needs nothing else.

    Args:
        path: The path of the page.
        report: The report.
        labels: The names of the classes.
        pictures: The held-out images, which the report names by their path.
        preprocessing: How the model sees them.
        provenance: What the manifest says of the origin of the model.

    Raises:
        OSError: The file cannot be written.
    """
    thumbnails = Thumbnails(pictures, preprocessing)
    write_bytes(path, page(report, labels, thumbnails, provenance).encode())


def page(
    report: Report,
    labels: Sequence[str],
    thumbnails: Thumbnails,
    provenance: Mapping[str, Any],
) -> str:
    """Return the page as text; the arguments are those of ``write_page``."""
    differences = report.classes.differences
    # Whoever gets the page need not know where the pictures lay.
    report = replace(report, notes=tuple(map(thumbnails.named, report.notes)))
    parts = [
        _summary(report, provenance),
        facts_section(report.facts),
        variants_section(report),
        learning_curves(report.training),
        *_answers(report, labels, thumbnails),
        None if differences is None else differences_section(differences, thumbnails),
        data_section(report.data, thumbnails.named),
        provenance_section(report.host, provenance),
    ]
    style = STYLE.read_text(encoding="utf-8")
    return document(f"{report.name}: report", style, *[part for part in parts if part is not None])


def _answers(report: Report, labels: Sequence[str], thumbnails: Thumbnails) -> list[Element | None]:
    """Return what can be said of the classes, or of labels that do not exclude one another."""
    if not report.output.multi_label:
        return _classes(report.classes.models, labels, thumbnails)
    if report.default.multi_label is not None:
        return [per_label_section(report.default.name, report.default.multi_label)]
    text = "It is not known which labels hold in the images: say it in a file for --truth."
    return [section("Labels", element("p", text))]


def _classes(
    models: Mapping[str, ModelOnClasses], labels: Sequence[str], thumbnails: Thumbnails
) -> list[Element | None]:
    """Return what can be said where images have labels."""
    if not models:
        text = "No image has a label: put the images of each class in a folder of its name."
        return [section("Classes", element("p", text))]
    return [
        confusion_section(models, labels),
        per_class_section(models),
        mistakes_section(models, thumbnails),
        reliability_diagram(models),
    ]


MOST_SKIPPED: Final = 100  # files that are named


def _summary(report: Report, provenance: Mapping[str, Any]) -> Element:
    """Return name, strategy and the score in a few lines."""
    reference, training = report.reference, report.training
    model = reference.of.removeprefix("the ")
    facts = {
        "network": provenance.get("backbone") or provenance.get("model"),
        "weights": provenance.get("weights"),
        "strategy": training and training.strategy,
        "why": training and training.reason,
        "training": training and _trained(training),
        "held-out images": _held_out(report),
        model: _of_labels(reference.multi_label) or _top1(reference.top1, reference.labelled),
        "default variant": _default(report),
        "output": report.output.evidence,
    }
    return header(report.name, facts, report.notes)


def header(title: str, facts: Mapping[str, Any], notes: Sequence[str]) -> Element:
    """Return what stands on top: the facts that are known, and what to do something about."""
    rows = [
        part
        for name, text in facts.items()
        if text
        for part in (element("dt", name), element("dd", str(text)))
    ]
    told = [element("li", note) for note in notes]
    warned = element("div", element("h2", "Notes"), element("ul", *told), class_="notes")
    return element("header", element("h1", title), element("dl", *rows), warned if told else None)


def facts_section(facts: Sequence[Fact]) -> Element | None:
    """Return what was taken of the given file, from which evidence; None of a network of Keras."""
    if not facts:
        return None
    rows: list[tuple[Element | str, ...]] = [
        (
            fact.what if fact.sure else f"{fact.what} ?",
            _wrapped(fact.value),
            _wrapped(fact.source),
            fact.option or UNKNOWN,
        )
        for fact in facts
    ]
    text = (
        "What the file is, how that is known, and the option that changes it. ?: nothing in the "
        "file says so."
    )
    titles = ("what", "taken", "evidence", "option")
    return section(
        "The given file", element("p", text, class_="soft"), table(titles, rows, text_columns=4)
    )


def _wrapped(text: str) -> Element:
    return element("span", text, class_="wrap")


def _trained(training: Training) -> str:
    epochs = [f"{phase.name} {phase.epochs}" for phase in training.phases]
    passes = f"epochs: {', '.join(epochs)}; " if epochs else ""
    return f"{passes}{training.seconds:.1f}{SPACE}s"


def _held_out(report: Report) -> str:
    images, labelled = report.reference.images, report.reference.labelled
    text = str(images) if images == labelled else f"{images}, {labelled} of them labelled"
    return f"{text}: {report.held_out}" if report.held_out else text


def _top1(share: float | None, images: int) -> str:
    if share is None:
        return "no labels: it is not known how often it is right"
    return f"top-1 {percent(share)} (95 % interval {counted_interval(share, images)})"


def _of_labels(scored: MultiLabelScore | None) -> str:
    """Return the scores of labels that do not exclude one another; empty of any other model."""
    if scored is None:
        return ""
    return f"mAP {percent(scored.mean_average_precision)}, mean F1 {percent(scored.macro_f1)}"


def _default(report: Report) -> str:
    variant = report.default
    if variant.multi_label is not None:
        return f"{variant.name}: {_of_labels(variant.multi_label)}"
    if report.reference.is_adopted:
        return variant.name  # whose score stands above
    if variant.top1 is None:
        return f"{variant.name}: agrees on {percent(variant.agreement)}"
    return f"{variant.name}: {_top1(variant.top1, report.reference.labelled)}"


def variants_section(report: Report) -> Element:
    """Return the files: size, score, latency."""
    rows: list[tuple[Element | str, ...]] = [
        (
            ("★ " if item.name == report.default_variant else "") + item.name,
            size(item.size_bytes),
            _score(item),
            _drop(item),
            with_interval(item.agreement, item.agreement_interval),
            f"{item.latency_ms:.2f} ms",
        )
        for item in report.variants
    ]
    rows += [(item.name, "failed", *[UNKNOWN] * 4) for item in report.failed]
    text = (
        f"★ runs by default. Intervals: 95 %, Wilson, of the drop paired (Tango, bootstrap). "
        f"{_against(report)} "
        f"Latency: measured, median of one inference on the building host's CPU "
        f"({report.host['machine']}, {report.host['cpus']} CPUs), "
        f"{report.variants[0].latency['threads']} thread."
    )
    score = "mAP" if report.output.multi_label else "top-1"
    titles = ("variant", "size", score, "drop", "agreement", "latency")
    return section(
        "Variants",
        table(titles, rows),
        *[element("p", item.told()) for item in report.failed],
        element("p", report.default_reason) if report.default_reason else None,
        element("p", text, class_="soft"),
    )


def _against(report: Report) -> str:
    if report.reference.is_adopted:
        return "The file was adopted as it is: no model is known that it could differ from."
    return f"Drop and agreement: against {report.reference.told}"


def _score(item: VariantReport) -> Element | str:
    if item.multi_label is not None:
        return percent(item.multi_label.mean_average_precision)
    return with_interval(item.top1, item.top1_interval)


def _drop(item: VariantReport) -> Element | str:
    """Return percentage points with their interval."""
    if item.drop_points is None or item.drop_interval is None:
        return UNKNOWN
    low, high = item.drop_interval
    spread = element("span", f"{low:+.1f} to {high:+.1f}", class_="range")
    return element("span", f"{item.drop_points:+.1f}{SPACE}pt", " ", spread)


def data_section(data: DataReport, named: Callable[[str], str]) -> Element:
    """Return the images by class and split, the notes, and the files that were skipped."""
    notes = [element("p", named(note)) for note in data.notes]
    skipped = data.skipped
    rows: list[tuple[Element | str, ...]] = [
        (named(str(item.path)), named(item.reason)) for item in skipped[:MOST_SKIPPED]
    ]
    left_out = (
        folded(f"{len(skipped)} files skipped", table(("file", "reason"), rows, text_columns=2))
        if rows
        else element("p", "No file was skipped.", class_="soft")
    )
    return section("Data", _counts(data.counts), *notes, left_out)


def _counts(counts: Mapping[str, Mapping[str, int] | int]) -> Element:
    by_class = {split: each for split, each in counts.items() if isinstance(each, Mapping)}
    if len(by_class) < len(counts):
        text = ", ".join(f"{name} {value}" for name, value in counts.items())
        return element("p", f"Images: {text}.")
    splits = tuple(by_class)
    labels = list(by_class[splits[0]])
    sums: tuple[Element | str, ...] = (
        "all",
        *[str(sum(each.values())) for each in by_class.values()],
    )
    rows: list[tuple[Element | str, ...]] = [
        (
            element("span", short(label), title=label),
            *[str(each.get(label, 0)) for each in by_class.values()],
        )
        for label in labels
    ]
    if len(labels) <= 12:
        return table(("class", *splits), [*rows, sums])
    every = folded(f"Images of the {len(labels)} classes", table(("class", *splits), rows))
    return element("div", table(("", *splits), [sums]), every)


def provenance_section(host: Mapping[str, Any], provenance: Mapping[str, Any]) -> Element:
    """Return hashes, options and versions: what the numbers rest on."""
    rows: list[tuple[Element | str, ...]] = [
        (name, element("span", value)) for name, value in flattened({**provenance, "host": host})
    ]
    shown = table(("", ""), rows, text_columns=2)
    text = "edge.lock, beside this page, holds the hash of every image and file: edge reproduce."
    return section("Provenance", element("p", text, class_="soft"), folded("All values", shown))


def flattened(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Return nested JSON values as (dotted name, text)."""
    if isinstance(value, Mapping):
        return [
            pair
            for key, inner in value.items()
            for pair in flattened(inner, f"{name}.{key}" if name else str(key))
        ]
    if isinstance(value, list | tuple):
        return [(name, ", ".join(map(str, value)) or UNKNOWN)]
    return [(name, UNKNOWN if value is None else str(value))]
