"""What the report says of classes and of single images: the numbers behind ``report.html``."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.dataset.pictures import Picture
from edge.evaluation.score import (
    ClassScore,
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
MISTAKES: Final = 24  # images that are named, of each model


def classes_report(
    tables: Mapping[str, NDArray[np.float32]],
    pictures: Sequence[Picture],
    labels: Sequence[str],
    output: OutputSpec = PROBABILITIES,
) -> dict[str, Any]:
    """Per-class scores and single answers as JSON values; ``docs/report.md`` explains them.

    Args:
        tables: Name of a model -> (images, classes) scores, the Keras model first; the last is
            that of the default variant, and the only one where that was adopted.
        pictures: The images, in the order of the rows.
        labels: Class names.
        output: What the scores mean.

    Returns:
        ``models``: what each says of the labelled images; empty if there are none, and where
        labels do not exclude one another, so that no class is confused with another.
        ``differences``: images whose answer differs between the first and the last table; None
        where there is one table.
    """
    known = np.array([item.label is not None and not output.multi_label for item in pictures], bool)
    named = [picture for picture, is_known in zip(pictures, known, strict=True) if is_known]
    truth = np.array([picture.label for picture in named], np.int64)
    return {
        "models": {
            name: _of_model(table[known], truth, named, labels, output)
            for name, table in tables.items()
            if len(truth)
        },
        "differences": _differences(tables, pictures, labels, output),
    }


def _of_model(
    scores: NDArray[np.float32],
    truth: NDArray[np.int64],
    pictures: Sequence[Picture],
    labels: Sequence[str],
    output: OutputSpec,
) -> dict[str, Any]:
    """One model on labelled images: ``scores`` (images, classes), ``truth`` (images,)."""
    cells = confusion(best_class(scores, output), truth)
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
                **_answer(scores[row], labels, output),
            }
            for row in worst_mistakes(scores, truth, MISTAKES, output).tolist()
        ],
    }


def _class(found: ClassScore, labels: Sequence[str]) -> dict[str, Any]:
    values = asdict(found)
    del values["index"]
    for name in ("precision_interval", "recall_interval"):
        interval = values[name]
        values[name] = None if interval is None else [interval["low"], interval["high"]]
    return {"label": labels[found.index], **values}


def _answer(row: NDArray[np.float32], labels: Sequence[str], output: OutputSpec) -> dict[str, Any]:
    """What one (classes,) row says, and the score of it; of several labels, the highest score."""
    if output.multi_label:
        said = ", ".join(answered(row, labels, output)) or "no label"
        return {"answer": said, "score": float(row.max())}
    best = int(best_class(row, output))
    return {"answer": labels[best], "score": float(row[best])}


def _differences(
    tables: Mapping[str, NDArray[np.float32]],
    pictures: Sequence[Picture],
    labels: Sequence[str],
    output: OutputSpec,
) -> dict[str, Any] | None:
    """Images with another answer in the last table than in the first, surest ones first."""
    items = list(tables.items())
    if len(items) == 1:
        return None
    (first, before), (last, after) = items[0], items[-1]
    rows = np.flatnonzero(answers(before, output) != answers(after, output))
    surest = np.maximum(before.max(axis=1), after.max(axis=1))
    rows = rows[np.argsort(-surest[rows], kind="stable")]
    found = []
    for row in rows[:MISTAKES].tolist():
        label = None if output.multi_label else pictures[row].label
        found.append(
            {
                "path": readable(pictures[row].path),
                "truth": None if label is None else labels[label],
                first: _answer(before[row], labels, output),
                last: _answer(after[row], labels, output),
            }
        )
    return {"between": [first, last], "images": len(rows), "shown": found}
