"""Confusion matrix, per-class scores and worst mistakes, against sums done by hand."""

import numpy as np
import pytest

from edge.evaluation.calibration_error import calibration_error, reliability
from edge.evaluation.confusion import (
    Cell,
    class_scores,
    confusion,
    worst_mistakes,
)

# Three classes; the model never names class 2.
TRUTH = np.array([0, 0, 0, 1, 1, 2])
ANSWERS = np.array([0, 0, 1, 1, 1, 0])


def test_the_matrix_holds_every_image_once_and_no_empty_cell() -> None:
    cells = confusion(ANSWERS, TRUTH)
    assert [(cell.truth, cell.answer, cell.images) for cell in cells] == [
        (0, 0, 2),
        (0, 1, 1),
        (1, 1, 2),
        (2, 0, 1),
    ]


def test_precision_recall_and_f1() -> None:
    zero, one, two, three = class_scores(confusion(ANSWERS, TRUTH), 4)
    assert (zero.images, zero.answers, zero.right) == (3, 3, 2)
    assert zero.precision == zero.recall == zero.f1 == pytest.approx(2 / 3)
    assert (one.precision, one.recall) == (pytest.approx(2 / 3), 1.0)
    assert one.f1 == pytest.approx(0.8)
    # Of a class that is never named nothing is known of its precision; of one without images
    # nothing at all.
    assert (two.precision, two.recall, two.f1) == (None, 0.0, 0.0)
    assert (three.precision, three.recall, three.f1) == (None, None, None)
    assert three.recall_interval is None


def test_intervals_are_those_of_wilson() -> None:
    # Agresti, Coull, The American Statistician 52 (1998): 0 of 10 gives 0 to 0.278.
    (found,) = class_scores([Cell(truth=0, answer=1, images=10)], 2)[:1]
    assert found.recall_interval is not None
    assert found.recall_interval.low == pytest.approx(0)
    assert found.recall_interval.high == pytest.approx(0.2775, abs=5e-4)


def test_the_surest_mistakes_come_first() -> None:
    scores = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.8, 0.2]], np.float32)
    truth = np.array([0, 1, 0, 1])
    assert worst_mistakes(scores, truth, 9).tolist() == [2, 3, 1]
    assert worst_mistakes(scores, truth, 1).tolist() == [2]
    assert worst_mistakes(scores, scores.argmax(axis=1), 9).tolist() == []


def test_the_reliability_diagram_gives_the_calibration_error() -> None:
    generator = np.random.default_rng(0)
    scores = generator.dirichlet((0.5, 0.5, 0.5), 500).astype(np.float32)
    truth = generator.integers(0, 3, 500)
    points = reliability(scores, truth)
    assert sum(point.images for point in points) == 500
    error = sum(point.images * abs(point.accuracy - point.confidence) for point in points) / 500
    assert error == pytest.approx(calibration_error(scores, truth), abs=1e-9)
    assert error > 0.1  # random labels
