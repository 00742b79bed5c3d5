"""``task_agreement``: honest about chance, and about pictures that were not seen."""

import numpy as np
import pytest

from edge.comparison.judge import judge
from edge.comparison.policy import AGREEMENT, check_metrics, default_policy, task_policy
from edge.comparison.result import Check, Verdict
from edge.comparison.task_metrics import TaskEvidence
from edge.errors import UsageError
from edge.evaluation.task_agreement import Agreements, differences
from edge.runtime.tasks.results import Detection, Detections, Embedding, Segmentation


def check(shared: object, either: object, *, identical: bool = False) -> Check:
    both, one = (np.asarray(values, np.float64).reshape(-1, 1) for values in (shared, either))
    evidence = TaskEvidence(
        sizes=(10, 5),
        identical=identical,
        confidence=0.95,
        agreements=Agreements(shared=both, either=one, seen=one),
    )
    (found,) = judge(task_policy(), evidence)
    return found


def test_verdicts_and_the_images_that_would_tell() -> None:
    assert check([1.0] * 100, [1.0] * 100).verdict is Verdict.PASS
    assert check([0.5] * 100, [1.0] * 100).verdict is Verdict.FAIL
    few = check([1.0] * 5, [1.0] * 5)
    assert few.verdict is Verdict.INCONCLUSIVE
    assert few.images_needed is not None
    enough = 5 + few.images_needed
    assert check([1.0] * enough, [1.0] * enough).verdict is Verdict.PASS
    assert check([0.0], [1.0]).verdict is Verdict.INCONCLUSIVE  # one picture breaks no file


def test_the_same_file_is_sure() -> None:
    same = check([1.0] * 2, [1.0] * 2, identical=True)
    assert (same.value, same.verdict) == (1.0, Verdict.PASS)


def test_nothing_found_is_no_agreement() -> None:
    nothing = check([0.0] * 50, [0.0] * 50)
    assert (nothing.value, nothing.verdict) == (None, Verdict.FAIL)


@pytest.mark.parametrize(("truth", "most_wrong"), [(AGREEMENT, 10), (0.9, 0)])
def test_a_sound_file_is_not_failed_by_chance(truth: float, most_wrong: int) -> None:
    """200 comparisons of 60 pictures with 0 to 4 objects, each kept with that probability.

    At the limit itself 2.5 % may fail: 5 of 200, and 10 with a probability of 0.03.
    """
    random = np.random.default_rng(4)
    failed = 0
    for _ in range(200):
        objects = random.integers(0, 5, 60)
        failed += check(random.binomial(objects, truth), objects).verdict is Verdict.FAIL
    assert failed <= most_wrong


def test_a_planted_loss_is_found() -> None:
    """A file that keeps 0.6 of the objects, on 100 pictures."""
    random = np.random.default_rng(4)
    found = 0
    for _ in range(50):
        objects = random.integers(0, 5, 100)
        found += check(random.binomial(objects, 0.6), objects).verdict is Verdict.FAIL
    assert found >= 48


def test_metrics_of_classifiers_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match="top1_drop, which is not for a pose model") as caught:
        check_metrics(default_policy(), TaskEvidence, "a pose model")
    assert "task_agreement" in caught.value.hint
    assert "size_ratio" in caught.value.hint
    assert "recall" not in caught.value.hint


def test_differences_are_told_in_words() -> None:
    def box(left: float, label: str) -> Detection:
        return Detection(
            index=len(label), label=label, score=0.5, left=left, top=0, right=left + 10, bottom=10
        )

    found = differences(
        Detections(items=(box(0, "cat"), box(50, "horse"))),
        Detections(items=(box(2, "cat"), box(80, "horse"))),
    )
    assert found.moved == ("cat 50.0% (overlap 0.67)",)
    assert found.lost == found.gained == ("horse 50.0%",)
    masks = [
        Segmentation(mask=np.array([[0, 0, 0, last]], np.uint8), labels=("a", "b"))
        for last in (0, 1)
    ]
    assert differences(*masks).moved == ("25.00% of the pixels",)
    assert not differences(masks[0], masks[0])
    vectors = [Embedding(values=np.float32([1, value])) for value in (0, 1)]
    assert differences(*vectors).moved == ("cosine 0.7071",)
