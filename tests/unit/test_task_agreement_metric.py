"""Metrics of other tasks: honest about chance, and about pictures that were not seen."""

from typing import Any

import numpy as np
import pytest

from edge.comparison.judge import judge
from edge.comparison.policy import (
    AGREEMENT,
    Policy,
    Rule,
    check_metrics,
    default_policy,
    task_policy,
)
from edge.comparison.result import Check, Verdict
from edge.comparison.task_metrics import TaskEvidence
from edge.comparison.task_scores import ScoredSides, difference, scored_sides
from edge.errors import UsageError
from edge.evaluation.task_agreement import Agreements, differences
from edge.evaluation.tasks.metric import ClassTaskScore, TaskScore
from edge.runtime.tasks.results import Detection, Detections, Embedding, Segmentation
from tests.performance.task_gate import scene, simulate


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


class Hits:
    """A metric that is the share of hits, of one class as well, as a stand-in for mAP."""

    name = "map"

    def records(self, truth: Any, answers: Any) -> Any:
        raise NotImplementedError

    def primary(self, records: Any, weights: Any) -> float | None:
        return float((records * weights).sum() / weights.sum())

    def score(self, records: Any, images: Any = None) -> TaskScore:
        value = float(records[images].mean())
        one = ClassTaskScore(index=0, label="cat", value=value, count=len(images))
        return TaskScore(primary=value, values={"count_error": value}, classes=(one,))


def evidence_of(scored: ScoredSides | None, *, identical: bool = False) -> TaskEvidence:
    nothing = np.zeros((1, 1))
    return TaskEvidence(
        sizes=(10, 5),
        identical=identical,
        confidence=0.95,
        agreements=Agreements(shared=nothing, either=nothing, seen=nothing),
        scored=scored,
    )


def judged(before: Any, after: Any, *, identical: bool = False) -> tuple[Check, Check]:
    scored = scored_sides(Hits(), (before, after), len(before))
    evidence = evidence_of(scored, identical=identical)
    whole, worst = judge(task_policy(annotated=True), evidence)
    return whole, worst


def test_a_loss_of_the_score_is_judged() -> None:
    hits = np.ones(400)
    whole, worst = judged(hits, hits)
    assert (whole.verdict, worst.verdict) == (Verdict.PASS, Verdict.PASS)
    few, _ = judged(hits[:100], hits[:100])
    assert few.verdict is Verdict.INCONCLUSIVE
    assert "more annotated images would tell" in few.reason
    assert judged(hits[:3], hits[:3], identical=True)[0].verdict is Verdict.PASS
    whole, worst = judged(hits, np.where(np.arange(400) % 5 == 0, 0.0, 1.0))
    assert whole.value == pytest.approx(20)
    assert (whole.verdict, worst.verdict) == (Verdict.FAIL, Verdict.FAIL)
    assert "cat, p = " in worst.reason
    assert judged(hits[:1], hits[:1])[0].verdict is Verdict.FAIL  # one picture says nothing


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    """Groups of one and of two pictures: 300 in 200 groups."""
    random = np.random.default_rng(5)
    before, after = (random.random((2, 300)) < 0.9).astype(float)
    found = difference(scored_sides(Hits(), (before, after), 300), lambda s: s.primary, 1)
    assert found is not None
    assert found.error == pytest.approx((before - after).std(ddof=1) / 300**0.5, rel=0.1)
    alone = difference(
        scored_sides(Hits(), (before[:100], after[:100]), 100), lambda s: s.primary, 1
    )
    assert alone is not None
    assert alone.error == pytest.approx((before - after)[:100].std(ddof=1) / 10, rel=1e-9)


def test_noise_without_effect_never_fails() -> None:
    """200 comparisons of 100 pictures: both sides miss a tenth, independently of one another."""
    random = np.random.default_rng(7)
    sides = (random.random((2, 200, 100)) < 0.9).astype(float)
    verdicts = [check.verdict for pair in zip(*sides, strict=True) for check in judged(*pair)]
    assert Verdict.FAIL not in verdicts


def test_without_annotations_the_score_is_missing() -> None:
    whole, worst = judge(task_policy(annotated=True), evidence_of(None))
    assert whole.verdict is Verdict.FAIL
    assert "no image is annotated; the policy needs it" in whole.reason
    assert worst.verdict is Verdict.PASS


def test_more_miscounted_objects_are_a_rise() -> None:
    scored = scored_sides(Hits(), (np.zeros(50), np.ones(50)), 50)
    rule = Rule(metric="count_error_rise", limit=0.1)
    (found,) = judge(Policy(record=task_policy().record, rules=(rule,)), evidence_of(scored))
    assert found.value == pytest.approx(1.0)
    assert found.unit == "objects"
    rule = Rule(metric="map50_drop", limit=0.1)
    (found,) = judge(Policy(record=task_policy().record, rules=(rule,)), evidence_of(scored))
    assert found.value is None


def test_noisy_detectors_do_not_fail_and_a_ruined_one_does() -> None:
    """The simulation of ``tests/performance/task_gate.py``, small, of objects drawn at random."""
    random = np.random.default_rng(3)
    scenes = []
    for _ in range(60):
        left, top = random.uniform(0, 50, 2)
        item = Detection(
            index=int(random.integers(2)),
            label="x",
            score=float(random.uniform(0.3, 0.95)),
            left=left,
            top=top,
            right=left + 40,
            bottom=top + 40,
        )
        scenes.append(scene([item], random))
    same = simulate(scenes, pictures=40, comparisons=10)
    assert all(counts["fail"] == 0 for counts in same.values())
    ruined = simulate(scenes, pictures=80, comparisons=5, lost=0.8)
    assert ruined["task_score_drop"]["fail"] == 5
