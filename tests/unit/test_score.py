"""Scores of a model on labelled images: accuracy, agreement, confusion, worst mistakes."""

import numpy as np
import pytest

from edge.evaluation.score import (
    ConfusionCell,
    Score,
    calibration_error,
    class_scores,
    confusion,
    reliability,
    score,
    worst_mistakes,
)


def table(*rows: list[float]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.array(rows, np.float32)


def ranked(*rows: list[int]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Scores that put the classes in these orders, best first."""
    scores = np.zeros((len(rows), len(rows[0])), np.float32)
    for image, order in enumerate(rows):
        scores[image, order] = np.arange(len(order), 0, -1)
    return scores


def test_top1_by_hand() -> None:
    scores = table([0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.8, 0.2])
    assert score(scores, [0, 1, 0, 0]) == Score(
        images=4, labelled=4, top1=0.75, top5=None, agreement=None
    )


def test_agreement_by_hand() -> None:
    scores = table([0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.8, 0.2])
    reference = table([0.6, 0.4], [0.9, 0.1], [0.1, 0.9], [0.2, 0.8])
    assert score(scores, [0, 0, 0, 0], reference).agreement == 0.5
    assert score(scores, [0, 0, 0, 0], scores).agreement == 1.0


def test_top5_by_hand() -> None:
    scores = ranked([3, 1, 2, 4, 5, 0, 6], [6, 5, 4, 3, 2, 1, 0], [0, 1, 2, 3, 4, 5, 6])
    found = score(scores, [5, 1, 0])  # fifth, sixth, first
    assert (found.top1, found.top5) == (1 / 3, 2 / 3)


def test_top5_says_something_from_six_classes_on() -> None:
    assert score(ranked([0, 1, 2, 3, 4]), [4]).top5 is None
    assert score(ranked([0, 1, 2, 3, 4, 5]), [5]).top5 == 0.0
    assert score(ranked([0, 1, 2, 3, 4, 5]), [4]).top5 == 1.0


def test_only_labelled_images_count_for_top1_and_all_for_agreement() -> None:
    scores = table([0.9, 0.1], [0.4, 0.6], [0.3, 0.7])
    reference = table([0.9, 0.1], [0.6, 0.4], [0.3, 0.7])
    found = score(scores, [None, 1, 0], reference)
    assert (found.images, found.labelled) == (3, 2)
    assert found.top1 == 0.5
    assert found.agreement == 2 / 3


def test_without_labels_there_is_no_top1() -> None:
    found = score(ranked([0, 1, 2, 3, 4, 5]), [None], ranked([0, 1, 2, 3, 4, 5]))
    assert found == Score(images=1, labelled=0, top1=None, top5=None, agreement=1.0)


def test_class_0_is_a_label() -> None:
    assert score(table([0.9, 0.1]), [0]).labelled == 1


def test_equal_scores_count_as_the_lower_index() -> None:
    """As in ``top_k``: a flat answer is not right for every class at once."""
    flat = np.full((6, 6), 1 / 6, np.float32)
    found = score(flat, [0, 1, 2, 3, 4, 5])
    assert (found.top1, found.top5) == (1 / 6, 5 / 6)


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
    (found,) = class_scores([ConfusionCell(truth=0, answer=1, images=10)], 2)[:1]
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
