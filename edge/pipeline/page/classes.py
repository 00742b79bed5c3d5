"""What the models say: confusion, the scores of each class, mistakes, and changed answers."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from edge.dataset.pictures import Picture
from edge.errors import ImageError
from edge.evaluation.confidence import ends
from edge.evaluation.multilabel import MultiLabelScore
from edge.evaluation.score import ClassScore
from edge.pipeline.class_report import AnswerChanges, ClassRow, Mistake, ModelAnswer, ModelOnClasses
from edge.pipeline.page.element import (
    Element,
    element,
    folded,
    model_name,
    percent,
    section,
    short,
    table,
    with_interval,
)
from edge.runtime.contract import Preprocessing
from edge.runtime.files import readable
from edge.runtime.preprocess import load, picture_of

MOST_CELLS: Final = 30  # classes of which a matrix can still be read
MOST_PAIRS: Final = 15
MOST_ROWS: Final = 200  # classes in a table
MOST_OPENED: Final = 60  # classes in a table that is shown before it is asked for


def confusion_section(models: Mapping[str, ModelOnClasses], labels: Sequence[str]) -> Element:
    """Return the matrix of each model; with many classes, the pairs that are confused most."""
    if len(labels) > MOST_CELLS:
        parts = [_pairs(name, model) for name, model in models.items()]
        text = (
            f"{len(labels)} classes: the pairs confused most. report.json holds every cell that "
            "is not empty."
        )
    else:
        parts = [_matrix(name, model, labels) for name, model in models.items()]
        text = (
            "Rows: what an image shows. Columns: what the model answers. Stronger: more of the row."
        )
    return section(
        "Confusion", element("p", text, class_="soft"), element("div", *parts, class_="matrices")
    )


def _matrix(name: str, model: ModelOnClasses, labels: Sequence[str]) -> Element:
    counts = {(cell.truth, cell.answer): cell.images for cell in model.confusion}
    rows = {
        truth: sum(count for (row, _), count in counts.items() if row == truth) for truth in labels
    }
    head = [
        element("th", element("span", short(label)), title=label, scope="col") for label in labels
    ]
    lines = [
        element(
            "tr",
            element("th", short(truth), title=truth, scope="row"),
            *[
                _cell(counts.get((truth, answer), 0), rows[truth], truth, answer)
                for answer in labels
            ],
        )
        for truth in labels
    ]
    drawn = element(
        "table",
        element("thead", element("tr", element("th"), *head)),
        element("tbody", *lines),
        class_="matrix",
    )
    right = f"{model_name(name)}: {model.right} of {model.images} right"
    return element("div", element("h3", right), element("div", drawn, class_="scroll"))


def _cell(count: int, of_row: int, truth: str, answer: str) -> Element:
    if not count:
        return element("td", "0", class_="empty")
    color = "good" if truth == answer else "bad"
    # A wrong cell is seen even if it is a small part of its row.
    share = count / of_row if truth == answer else max(0.18, count / of_row)
    style = f"background: rgba(var(--{color}), {0.75 * share:.2f})"
    return element("td", str(count), style=style, title=f"{truth} answered as {answer}: {count}")


def _pairs(name: str, model: ModelOnClasses) -> Element:
    wrong = [cell for cell in model.confusion if cell.truth != cell.answer]
    wrong.sort(key=lambda cell: -cell.images)
    support = {item.label: item.score.images for item in model.per_class}
    rows: list[tuple[Element | str, ...]] = [
        (
            short(cell.truth),
            short(cell.answer),
            f"{cell.images} of {support[cell.truth]}",
        )
        for cell in wrong[:MOST_PAIRS]
    ]
    title = element("h3", f"{model_name(name)}: {model.right} of {model.images} right")
    if not rows:
        return element("div", title, element("p", "Every image is answered rightly."))
    more = len(wrong) - len(rows)
    return element(
        "div",
        title,
        table(("is", "answered as", "images"), rows, text_columns=2),
        element("p", f"and {more} more pairs", class_="soft") if more else None,
    )


def per_class_section(models: Mapping[str, ModelOnClasses]) -> Element:
    """Return the scores of each class of the default variant, with their intervals."""
    name, model = [*models.items()][-1]
    reference = {item.label: item.score for item in next(iter(models.values())).per_class}
    classes: Sequence[ClassRow] = model.per_class
    many = len(classes) > MOST_CELLS
    if many:
        classes = sorted(classes, key=_f1)
    rows = [_class_row(item, reference.get(item.label)) for item in classes[:MOST_ROWS]]
    first = model_name(next(iter(models)))
    titles = ("class", "images", "precision", "recall", "F1", f"F1 of {first}")
    text = (
        f"Of {model_name(name)}, with 95 % Wilson intervals. Precision: of the images "
        "answered as the class, those that are. Recall: of the images of the class, those found."
    )
    shown = table(titles, rows)
    if many:
        count = f"{len(rows)} of {len(classes)} classes, lowest F1 first"
        shown = folded(count, shown, opened=len(classes) <= MOST_OPENED)
    return section("Classes", element("p", text, class_="soft"), shown)


def per_label_section(name: str, scored: MultiLabelScore) -> Element:
    """Return the scores of labels that do not exclude one another, of the default variant."""
    rows: list[tuple[Element | str, ...]] = [
        (
            element("span", short(item.label), title=item.label),
            f"{item.positives} of {item.images}",
            *map(percent, (item.average_precision, item.f1, item.precision, item.recall)),
            f"{item.threshold:g}",
        )
        for item in scored.labels[:MOST_ROWS]
    ]
    titles = ("label", "holds in", "AP", "F1", "precision", "recall", "threshold")
    text = (
        f"Of {model_name(name)}: labels do not exclude one another, so that there is no best one. "
        f"AP: average precision; guessing would get a mean of {percent(scored.chance)}. Whole "
        f"sets of labels are right in {percent(scored.subset_accuracy)} of the images, and "
        f"{percent(scored.hamming_loss)} of all single labels are wrong (Hamming loss)."
    )
    return section("Labels", element("p", text, class_="soft"), table(titles, rows))


def _f1(item: ClassRow) -> float:
    return -1.0 if item.score.f1 is None else item.score.f1


def _class_row(item: ClassRow, other: ClassScore | None) -> tuple[Element | str, ...]:
    score = item.score
    return (
        element("span", short(item.label), title=item.label),
        str(score.images),
        with_interval(score.precision, ends(score.precision_interval)),
        with_interval(score.recall, ends(score.recall_interval)),
        percent(score.f1),
        percent(None if other is None else other.f1),
    )


SIDE: Final = 160  # pixels, at most, of a thumbnail
QUALITY: Final = 80  # JPEG quality of a thumbnail
MOST: Final = 24  # pictures of a section
CRISP: Final = 64  # pixels; smaller pictures are shown as squares, not blurred


class Thumbnails:
    """Pictures as the model sees them, small, as data URIs; each is made once.

    Args:
        pictures: The pictures that can be asked for.
        preprocessing: How the model sees them.
    """

    def __init__(self, pictures: Sequence[Picture], preprocessing: Preprocessing) -> None:
        self._paths = {readable(picture.path): picture.path for picture in pictures}
        self._preprocessing = preprocessing
        self._made: dict[str, Element] = {}
        inner = {path.absolute().parent for path in self._paths.values()}
        folders = inner.union(*(folder.parents for folder in inner))
        # The longest first, and neither / nor /home.
        self._folders = sorted(
            (folder for folder in folders if len(folder.parts) > 2),
            key=lambda folder: -len(folder.parts),
        )

    def named(self, text: str) -> str:
        """Return a sentence that names folders, without where they lie on this computer."""
        for folder in self._folders:
            text = text.replace(readable(folder), readable(Path(folder.name)))
        return text

    def figure(self, path: str, *lines: Element) -> Element:
        """Return a picture over its lines of text."""
        name = "/".join(Path(path).parts[-2:])
        if path not in self._made:
            self._made[path] = self._image(self._paths.get(path), name)
        return element("figure", self._made[path], *lines, title=name)

    def _image(self, path: Path | None, name: str) -> Element:
        try:
            if path is None:
                raise FileNotFoundError
            image = picture_of(load(path, self._preprocessing))
        except (ImageError, OSError):
            return element("div", "the picture is gone", class_="lost")
        small = max(image.size) <= CRISP
        if image.mode == "RGBA" and not small:
            image = image.convert("RGB")  # a JPEG has no opacity
        image.thumbnail((SIDE, SIDE))
        stream = io.BytesIO()
        image.save(stream, "PNG" if small else "JPEG", quality=QUALITY)
        kind = "png" if small else "jpeg"
        content = base64.b64encode(stream.getvalue()).decode()
        return element(
            "img",
            src=f"data:image/{kind};base64,{content}",
            alt=name,
            loading="lazy",
            class_="small" if small else None,
        )


def mistakes_section(models: Mapping[str, ModelOnClasses], thumbnails: Thumbnails) -> Element:
    """Return the most confident wrong answers of the models, each image once."""
    by_image: dict[str, dict[str, Mistake]] = {}
    for name, model in models.items():
        for item in model.mistakes:
            by_image.setdefault(item.path, {})[name] = item
    worst = sorted(
        by_image.items(), key=lambda pair: -max(item.score for item in pair[1].values())
    )[:MOST]
    if not worst:
        return section("Worst mistakes", element("p", "Every image is answered rightly."))
    figures = [
        thumbnails.figure(
            path,
            element("b", short(next(iter(wrong.values())).truth)),
            *[_said(name, item) for name, item in wrong.items()],
        )
        for path, wrong in worst
    ]
    counts = ", ".join(
        f"{model.images - model.right} by {model_name(name)}" for name, model in models.items()
    )
    text = f"Wrong: {counts}. The surest of these answers; in bold, what the image shows."
    return section(
        "Worst mistakes",
        element("p", text, class_="soft"),
        element("div", *figures, class_="pictures"),
    )


def differences_section(differences: AnswerChanges, thumbnails: Thumbnails) -> Element:
    """Return the images that the default variant answers otherwise than the Keras model."""
    first, last = differences.between
    title = f"Where {model_name(last)} differs from {model_name(first)}"
    count = differences.images
    if not count:
        return section(title, element("p", "Both give every image the same best class."))
    figures = [
        thumbnails.figure(
            item.path,
            element("b", "no label" if item.truth is None else short(item.truth)),
            _said(first, item.before),
            _said(last, item.after),
        )
        for item in differences.shown
    ]
    text = f"{count} images have another best class"
    text += f"; the {len(figures)} surest are shown." if count > len(figures) else "."
    return section(
        title, element("p", text, class_="soft"), element("div", *figures, class_="pictures")
    )


def _said(name: str, item: ModelAnswer | Mistake) -> Element:
    return element("div", f"{model_name(name)}: {short(item.answer)} {percent(item.score)}")
