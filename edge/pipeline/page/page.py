"""Puts the parts of the page together and writes it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from edge.dataset.pictures import Picture
from edge.pipeline.class_report import ModelOnClasses
from edge.pipeline.page.classes import confusion_section, per_class_section, per_label_section
from edge.pipeline.page.curves import learning_curves, reliability_diagram
from edge.pipeline.page.element import Element, document, element, section
from edge.pipeline.page.pictures import Thumbnails, differences_section, mistakes_section
from edge.pipeline.page.summary import data_section, provenance_section, summary, variants_section
from edge.pipeline.report import Report
from edge.runtime.files import write_bytes
from edge.runtime.spec import Preprocessing

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
        path: Of the page.
        report: With its ``classes``.
        labels: Class names.
        pictures: Held-out images, which the report names by their path.
        preprocessing: How the model sees them.
        provenance: Of the manifest.

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
    report = replace(
        report, notes=_named(report.notes, thumbnails), data=_named(report.data, thumbnails)
    )
    parts = [
        summary(report, provenance),
        variants_section(report),
        learning_curves(report.training),
        *_answers(report, labels, thumbnails),
        None if differences is None else differences_section(differences, thumbnails),
        data_section(report.data),
        provenance_section(report, provenance),
    ]
    style = STYLE.read_text(encoding="utf-8")
    return document(f"{report.name}: report", style, *[part for part in parts if part is not None])


def _named(value: Any, thumbnails: Thumbnails) -> Any:
    """JSON values whose texts name folders without their places."""
    if isinstance(value, str):
        return thumbnails.named(value)
    if isinstance(value, Mapping):
        return {key: _named(inner, thumbnails) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_named(inner, thumbnails) for inner in value]
    return value


def _answers(report: Report, labels: Sequence[str], thumbnails: Thumbnails) -> list[Element | None]:
    """What can be said of the classes, or of labels that do not exclude one another."""
    if not report.output.multi_label:
        return _classes(report.classes.models, labels, thumbnails)
    if report.default.multi_label is not None:
        return [per_label_section(report.default.name, report.default.multi_label)]
    text = "It is not known which labels hold in the images: say it in a file for --truth."
    return [section("Labels", element("p", text))]


def _classes(
    models: Mapping[str, ModelOnClasses], labels: Sequence[str], thumbnails: Thumbnails
) -> list[Element | None]:
    """What can be said where images have labels."""
    if not models:
        text = "No image has a label: put the images of each class in a folder of its name."
        return [section("Classes", element("p", text))]
    return [
        confusion_section(models, labels),
        per_class_section(models),
        mistakes_section(models, thumbnails),
        reliability_diagram(models),
    ]
