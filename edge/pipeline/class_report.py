"""What the report says of classes and of single images: the numbers behind ``report.html``."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.dataset.pictures import Picture
from edge.evaluation.score import (
    ClassScore,
    Reliability,
    are_probabilities,
    calibration_error,
    class_scores,
    confusion,
    reliability,
    worst_mistakes,
)
from edge.runtime.files import readable
from edge.runtime.output import PROBABILITIES, OutputSpec
from edge.runtime.postprocess import answered, answers, best_class

KERAS: Final = "keras"  # name of the Keras model beside those of the variants
FLOAT: Final = "float file"  # the same of a float file that the variants are made of
MISTAKES: Final = 24  # images that are named, of each model


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow:
    """The name of a class, and its scores."""

    label: str
    score: ClassScore


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfusedPair:
    """A cell of the confusion matrix that is not empty, by the names of its classes."""

    truth: str
    answer: str
    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAnswer:
    """What a model says of one image, and the score of it, 0..1."""

    answer: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """A wrong answer: the path of the image, what it shows, and what the model says."""

    path: str
    truth: str
    answer: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOnClasses:
    """One model on the labelled images.

    Attributes:
        images: The labelled images.
        right: Those that it answers right.
        calibration_error: The expected calibration error; None where scores are no probabilities.
        reliability: The points of the reliability diagram; empty likewise.
        per_class: The classes that have an image or an answer.
        confusion: The cells that are not empty.
        mistakes: The surest wrong answers, at most ``MISTAKES``.
    """

    images: int
    right: int
    calibration_error: float | None
    reliability: tuple[Reliability, ...]
    per_class: tuple[ClassRow, ...]
    confusion: tuple[ConfusedPair, ...]
    mistakes: tuple[Mistake, ...]

    def to_json(self) -> dict[str, Any]:
        """Return what the report says of the model as JSON values."""
        return asdict(self) | {
            "per_class": [item.score.to_json(item.label) for item in self.per_class]
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedAnswer:
    """An image that two models answer differently.

    Attributes:
        path: The path of the image.
        truth: The name of its class; None without a label.
        before: What the first model says.
        after: What the last model says.
    """

    path: str
    truth: str | None
    before: ModelAnswer
    after: ModelAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerChanges:
    """The images whose answer differs between two models.

    Attributes:
        between: The names of the first and the last model.
        images: How many there are.
        shown: The surest of them, at most ``MISTAKES``.
    """

    between: tuple[str, str]
    images: int
    shown: tuple[ChangedAnswer, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the changes as JSON values; each answer stands under the name of its model."""
        first, last = self.between
        return {
            "between": list(self.between),
            "images": self.images,
            "shown": [
                {
                    "path": item.path,
                    "truth": item.truth,
                    first: asdict(item.before),
                    last: asdict(item.after),
                }
                for item in self.shown
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassReport:
    """Per-class scores and single answers; ``docs/report.md`` explains them.

    Attributes:
        models: What each model, by name, says of the labelled images. It is empty if there are
            none, and where labels do not exclude one another: no class is confused with another.
        differences: The images whose answer differs between the first and the last model; None
            where there is one model.
    """

    models: Mapping[str, ModelOnClasses]
    differences: AnswerChanges | None

    def to_json(self) -> dict[str, Any]:
        """Return the report on classes as JSON values."""
        return {
            "models": {name: model.to_json() for name, model in self.models.items()},
            "differences": None if self.differences is None else self.differences.to_json(),
        }


def classes_report(
    tables: Mapping[str, NDArray[np.float32]],
    pictures: Sequence[Picture],
    labels: Sequence[str],
    output: OutputSpec = PROBABILITIES,
) -> ClassReport:
    """Compare what the models say of the images.

    Args:
        tables: (images, classes) scores by the name of a model, the Keras model first; the last is
            that of the default variant, and the only one where that was adopted.
        pictures: The images, in the order of the rows.
        labels: The names of the classes.
        output: What the scores mean.
    """
    known = np.array([item.label is not None and not output.multi_label for item in pictures], bool)
    named = [picture for picture, is_known in zip(pictures, known, strict=True) if is_known]
    truth = np.array([picture.label for picture in named], np.int64)
    return ClassReport(
        models={
            name: _on_classes(table[known], truth, named, labels, output)
            for name, table in tables.items()
            if len(truth)
        },
        differences=_changes(tables, pictures, labels, output),
    )


def _on_classes(
    scores: NDArray[np.float32],
    truth: NDArray[np.int64],
    pictures: Sequence[Picture],
    labels: Sequence[str],
    output: OutputSpec,
) -> ModelOnClasses:
    """Return one model on labelled images: ``scores`` (images, classes), ``truth`` (images,)."""
    cells = confusion(best_class(scores, output), truth)
    classes = class_scores(cells, len(labels))
    probable = are_probabilities(scores)
    return ModelOnClasses(
        images=len(truth),
        right=sum(item.right for item in classes),
        calibration_error=calibration_error(scores, truth) if probable else None,
        reliability=tuple(reliability(scores, truth)) if probable else (),
        per_class=tuple(
            ClassRow(label=labels[item.index], score=item)
            for item in classes
            if item.images or item.answers
        ),
        confusion=tuple(
            ConfusedPair(truth=labels[cell.truth], answer=labels[cell.answer], images=cell.images)
            for cell in cells
        ),
        mistakes=tuple(
            Mistake(
                path=readable(pictures[row].path),
                truth=labels[int(truth[row])],
                **asdict(_answer(scores[row], labels, output)),
            )
            for row in worst_mistakes(scores, truth, MISTAKES, output).tolist()
        ),
    )


def _answer(row: NDArray[np.float32], labels: Sequence[str], output: OutputSpec) -> ModelAnswer:
    """Return what one (classes,) row says, with its score; of several labels, the highest."""
    if output.multi_label:
        said = ", ".join(answered(row, labels, output)) or "no label"
        return ModelAnswer(answer=said, score=float(row.max()))
    best = int(best_class(row, output))
    return ModelAnswer(answer=labels[best], score=float(row[best]))


def _changes(
    tables: Mapping[str, NDArray[np.float32]],
    pictures: Sequence[Picture],
    labels: Sequence[str],
    output: OutputSpec,
) -> AnswerChanges | None:
    """Return the images whose answers differ between the first and last table, surest first."""
    items = list(tables.items())
    if len(items) == 1:
        return None
    (first, before), (last, after) = items[0], items[-1]
    rows = np.flatnonzero(answers(before, output) != answers(after, output))
    surest = np.maximum(before.max(axis=1), after.max(axis=1))
    rows = rows[np.argsort(-surest[rows], kind="stable")]
    shown = []
    for row in rows[:MISTAKES].tolist():
        label = None if output.multi_label else pictures[row].label
        shown.append(
            ChangedAnswer(
                path=readable(pictures[row].path),
                truth=None if label is None else labels[label],
                before=_answer(before[row], labels, output),
                after=_answer(after[row], labels, output),
            )
        )
    return AnswerChanges(between=(first, last), images=len(rows), shown=tuple(shown))
