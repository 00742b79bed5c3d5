"""What the report says of classes and of single images: the numbers behind ``report.html``."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.dataset.pictures import Picture
from edge.evaluation.calibration_error import are_probabilities, calibration_error, reliability
from edge.evaluation.confusion import ClassScore, class_scores, confusion, worst_mistakes
from edge.runtime.files import readable

KERAS: Final = "keras"  # name of the Keras model beside those of the variants
MISTAKES: Final = 24  # images that are named, of each model


def classes_report(
    tables: Mapping[str, NDArray[np.float32]], pictures: Sequence[Picture], labels: Sequence[str]
) -> dict[str, Any]:
    """Per-class scores and single answers as JSON values; ``docs/report.md`` explains them.

    Args:
        tables: Name of a model -> (images, classes) scores, the Keras model first; the last is
            that of the default variant.
        pictures: The images, in the order of the rows.
        labels: Class names.

    Returns:
        ``models``: what each says of the labelled images; empty if there are none.
        ``differences``: images whose best class differs between the first and the last table.
    """
    known = np.array([picture.label is not None for picture in pictures], bool)
    truth = np.array([picture.label for picture in pictures if picture.label is not None], np.int64)
    named = [picture for picture in pictures if picture.label is not None]
    return {
        "models": {
            name: _of_model(table[known], truth, named, labels)
            for name, table in tables.items()
            if len(truth)
        },
        "differences": _differences(tables, pictures, labels),
    }


def _of_model(
    scores: NDArray[np.float32],
    truth: NDArray[np.int64],
    pictures: Sequence[Picture],
    labels: Sequence[str],
) -> dict[str, Any]:
    """One model on labelled images: ``scores`` (images, classes), ``truth`` (images,)."""
    cells = confusion(scores.argmax(axis=1), truth)
    found = class_scores(cells, len(labels))
    probable = are_probabilities(scores)
    return {
        "images": len(truth),
        "right": sum(item.right for item in found),
        "calibration_error": calibration_error(scores, truth) if probable else None,
        "reliability": [asdict(point) for point in reliability(scores, truth)] if probable else [],
        "per_class": [_class(item, labels) for item in found if item.images or item.answers],
        "confusion": [
            {"truth": labels[cell.truth], "answer": labels[cell.answer], "images": cell.images}
            for cell in cells
        ],
        "mistakes": [
            {
                "path": readable(pictures[row].path),
                "truth": labels[int(truth[row])],
                **_answer(scores[row], labels),
            }
            for row in worst_mistakes(scores, truth, MISTAKES).tolist()
        ],
    }


def _class(found: ClassScore, labels: Sequence[str]) -> dict[str, Any]:
    values = asdict(found)
    del values["index"]
    for name in ("precision_interval", "recall_interval"):
        interval = values[name]
        values[name] = None if interval is None else [interval["low"], interval["high"]]
    return {"label": labels[found.index], **values}


def _answer(row: NDArray[np.float32], labels: Sequence[str]) -> dict[str, Any]:
    """The best class of one (classes,) row."""
    best = int(row.argmax())
    return {"answer": labels[best], "score": float(row[best])}


def _differences(
    tables: Mapping[str, NDArray[np.float32]], pictures: Sequence[Picture], labels: Sequence[str]
) -> dict[str, Any]:
    """Images with another best class in the last table than in the first, surest ones first."""
    items = list(tables.items())
    (first, before), (last, after) = items[0], items[-1]
    rows = np.flatnonzero(before.argmax(axis=1) != after.argmax(axis=1))
    surest = np.maximum(before.max(axis=1), after.max(axis=1))
    rows = rows[np.argsort(-surest[rows], kind="stable")]
    found = []
    for row in rows[:MISTAKES].tolist():
        label = pictures[row].label
        found.append(
            {
                "path": readable(pictures[row].path),
                "truth": None if label is None else labels[label],
                first: _answer(before[row], labels),
                last: _answer(after[row], labels),
            }
        )
    return {"between": [first, last], "images": len(rows), "shown": found}
