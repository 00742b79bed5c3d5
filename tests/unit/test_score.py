import numpy as np

from edge.evaluation.score import Score, score


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
