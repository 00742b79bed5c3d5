"""Verdicts: from answers whose truth is known to pass, fail, or too few images to tell."""

from typing import Any

import numpy as np
import pytest

from edge.comparison.evidence import UNKNOWN, Evidence, Latencies
from edge.comparison.judge import judge, overall
from edge.comparison.metrics import METRICS
from edge.comparison.policy import Policy, Rule, default_policy
from edge.comparison.result import Check, Interval, PolicyRecord, Verdict
from edge.comparison.wording import telling_digits, written
from edge.evaluation.multilabel import LabelTruth

Table = np.ndarray[tuple[int, int], np.dtype[np.float32]]
CLASSES = 4


def answers(classes: np.ndarray[Any, Any], confidence: float = 0.9) -> Table:
    """(images, classes) scores whose best class is that."""
    scores = np.full((len(classes), CLASSES), (1 - confidence) / (CLASSES - 1), np.float32)
    scores[np.arange(len(classes)), classes] = confidence
    return scores


def evidence(
    images: int = 400,
    *,
    lost: int = 0,
    gained: int = 0,
    wrong: int = 0,
    seed: int = 0,
    **changes: Any,
) -> Evidence:
    """Both right but on ``wrong`` images, and on those that one side loses or gains."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, CLASSES, images)
    baseline, candidate = truth.copy(), truth.copy()
    order = random.permutation(images)
    baseline[order[:wrong]] = candidate[order[:wrong]] = (truth[order[:wrong]] + 1) % CLASSES
    rest = order[wrong:]
    candidate[rest[:lost]] = (truth[rest[:lost]] + 1) % CLASSES
    swapped = rest[lost : lost + gained]
    baseline[swapped] = (truth[swapped] + 1) % CLASSES
    values: dict[str, Any] = {
        "labels": tuple("abcd"),
        "truth": truth,
        "baseline": answers(baseline),
        "candidate": answers(candidate),
        "sizes": (1000, 300),
        "identical": False,
        "same_network": False,
        "confidence": 0.95,
    }
    return Evidence(**(values | changes))


def policy(*rules: Rule) -> Policy:
    return Policy(record=PolicyRecord(name="test", sha256="", path=None), rules=rules)


def check(rule: Rule, found: Evidence) -> Check:
    (result,) = judge(policy(rule), found)
    return result


def drop(found: Evidence, limit: float = 1.0) -> Check:
    return check(Rule(metric="top1_drop", limit=limit), found)


@pytest.mark.parametrize(
    ("images", "lost", "gained", "verdict"),
    [
        (400, 0, 0, Verdict.PASS),
        (2000, 4, 4, Verdict.PASS),
        (2000, 0, 40, Verdict.PASS),
        (2000, 80, 0, Verdict.FAIL),
        (400, 40, 2, Verdict.FAIL),
        (400, 5, 5, Verdict.INCONCLUSIVE),
        (5, 0, 0, Verdict.INCONCLUSIVE),
        (1, 0, 0, Verdict.INCONCLUSIVE),
        (1, 1, 0, Verdict.INCONCLUSIVE),
    ],
)
def test_the_drop(images: int, lost: int, gained: int, verdict: Verdict) -> None:
    found = drop(evidence(images, lost=lost, gained=gained))
    assert found.verdict is verdict
    assert found.value == pytest.approx(100 * (lost - gained) / images)
    assert found.interval is not None
    assert found.interval.low <= found.value <= found.interval.high
    assert (found.images_needed is not None) == (verdict is Verdict.INCONCLUSIVE)


def test_the_same_file_passes_however_few_the_images() -> None:
    found = drop(evidence(1, identical=True))
    assert (found.verdict, found.interval) == (Verdict.PASS, Interval(0.0, 0.0))


def test_images_needed_do_decide() -> None:
    """Of simulated runs with that many more images, most reach a verdict; with half, fewer."""
    random = np.random.default_rng(0)
    rule = Rule(metric="top1_drop", limit=1.0)
    for lost, gained in ((6, 6), (1, 0), (12, 4)):
        needed = check(rule, evidence(300, lost=lost, gained=gained)).images_needed
        assert needed is not None
        rates = [lost / 300, gained / 300, 1 - (lost + gained) / 300]
        decided = {}
        for images in (300 + needed, 300 + needed // 4):
            counts = random.multinomial(images, rates, 60)
            found = [evidence(images, lost=int(row[0]), gained=int(row[1])) for row in counts]
            decided[images] = np.mean([drop(f).verdict != Verdict.INCONCLUSIVE for f in found])
        assert decided[300 + needed] > 0.65
        assert decided[300 + needed // 4] < decided[300 + needed]


def test_without_any_change_the_number_is_finite() -> None:
    needed = drop(evidence(20)).images_needed
    assert needed is not None
    assert drop(evidence(20 + needed)).verdict is Verdict.PASS
    assert needed < 1000


@pytest.mark.parametrize(
    ("labelled", "unlabelled", "bound", "verdict"),
    [
        (200, 0, 1.487, Verdict.PASS),  # 1 - 0.05 ** (1 / 200)
        (199, 0, 1.494, Verdict.PASS),
        (198, 0, 1.502, Verdict.INCONCLUSIVE),
        (20, 0, 13.91, Verdict.INCONCLUSIVE),
        (20, 180, 1.487, Verdict.PASS),  # a picture without a label counts as much
        (100, 200, 0.994, Verdict.PASS),
    ],
)
def test_answers_that_did_not_change(
    labelled: int, unlabelled: int, bound: float, verdict: Verdict
) -> None:
    found = evidence(labelled + unlabelled, wrong=labelled // 10)
    found.truth[labelled:] = UNKNOWN
    by_default = judge(default_policy(), found)[0]
    assert by_default.verdict is verdict
    assert by_default.interval is not None
    assert by_default.interval.high == pytest.approx(bound, abs=0.001)
    assert by_default.interval.low == -by_default.interval.high
    if verdict is Verdict.INCONCLUSIVE:
        assert by_default.images_needed == 199 - labelled - unlabelled
    # A margin that somebody asks for is the margin, whether answers changed or not.
    asked = drop(found)
    assert (asked.verdict is Verdict.PASS) == (bound <= 1.0)


def test_a_changed_answer_takes_the_exception_away() -> None:
    one = evidence(250)
    one.candidate[0] = np.roll(one.candidate[0], 1)
    assert judge(default_policy(), one)[0].limit == 1.0
    assert judge(default_policy(), one)[0].verdict is Verdict.INCONCLUSIVE
    # Also where the image has no label.
    one.truth[0] = UNKNOWN
    assert judge(default_policy(), one)[0].limit == 1.0


def test_unlabelled_images_bound_the_drop() -> None:
    """Two changes on 2000 images: no more than 0.36 points can be lost, whoever is right."""
    many = evidence(2000)
    many.candidate[:2] = np.roll(many.candidate[:2], 1, axis=1)
    many.truth[100:] = UNKNOWN
    found = drop(many)
    assert found.interval is not None
    assert found.interval.high == pytest.approx(0.3608, abs=0.0005)  # Clopper-Pearson, 2 of 2000
    assert found.verdict is Verdict.PASS
    few = evidence(100)
    few.candidate[:2] = np.roll(few.candidate[:2], 1, axis=1)
    assert drop(few).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(("labelled", "unlabelled"), [(299, 0), (200, 99), (600, 400)])
def test_few_candidates_at_the_margin_pass(labelled: int, unlabelled: int) -> None:
    """Exact, in the worst case: the share of changes is the margin, and every change is a loss."""
    from scipy.stats import binom

    from edge.comparison.metrics import top1_drop

    passed = 0.0
    for lost in range(50):
        for more in range(50 if unlabelled else 1):
            chance = binom.pmf(lost, labelled, 0.01) * binom.pmf(more, unlabelled, 0.01)
            if chance < 1e-4:
                continue
            found = evidence(labelled + unlabelled, lost=0)
            changed = [*range(lost), *range(labelled, labelled + more)]
            found.candidate[changed] = np.roll(found.candidate[changed], 1, axis=1)
            found.truth[labelled:] = UNKNOWN
            interval = top1_drop(found).interval
            assert interval is not None
            passed += chance * (interval.high <= 1.0)
    assert 0 < passed <= 0.05


def test_what_needs_no_labels_asks_for_none() -> None:
    found = check(Rule(metric="agreement", limit=0.99), evidence(100))
    assert found.verdict is Verdict.INCONCLUSIVE and "labelled" not in found.reason
    found = check(Rule(metric="top1", limit=0.99), evidence(100))
    assert found.verdict is Verdict.INCONCLUSIVE and "more labelled images" in found.reason


def test_a_drop_that_is_the_margin_is_never_decided() -> None:
    found = drop(evidence(400, lost=8, gained=4))
    assert (found.verdict, found.value, found.images_needed) == (Verdict.INCONCLUSIVE, 1.0, None)
    assert "no number would tell" in found.reason


def test_no_false_alarm_on_fresh_subsets() -> None:
    """200 random subsets of any size: a copy of the model never fails."""
    whole = evidence(600, wrong=60)
    random = np.random.default_rng(5)
    for _ in range(200):
        chosen = random.choice(600, random.integers(1, 300), replace=False)
        subset = evidence(
            truth=whole.truth[chosen],
            baseline=whole.baseline[chosen],
            candidate=whole.candidate[chosen],
            same_network=True,
        )
        checks = judge(default_policy(1.0), subset)
        assert checks and all(item.verdict is not Verdict.FAIL for item in checks)


def test_harmless_noise_seldom_fails() -> None:
    """As many gained as lost, as a good int8 file has them: about 1 in 100 fails at margin 0.5."""
    random = np.random.default_rng(6)
    counts = random.multinomial(400, [0.02, 0.02, 0.96], 200)
    verdicts = [
        overall(judge(default_policy(0.5), evidence(400, lost=int(r[0]), gained=int(r[1]), seed=n)))
        for n, r in enumerate(counts)
    ]
    assert verdicts.count(Verdict.FAIL) <= 6


def test_a_broken_class_fails_though_the_mean_does_not() -> None:
    truth = np.repeat(np.arange(CLASSES), [2000, 2000, 2000, 12])
    candidate = np.where(truth == 3, 0, truth)
    found = evidence(
        truth=truth, baseline=answers(truth), candidate=answers(candidate), labels=tuple("wxyz")
    )
    by_metric = {item.metric: item for item in judge(default_policy(1.0), found)}
    assert by_metric["top1_drop"].verdict is Verdict.PASS
    broken = by_metric["worst_class_recall_drop"]
    assert (broken.verdict, broken.value) == (Verdict.FAIL, 100.0)
    assert "z, 12 images" in broken.reason


def test_two_wrong_images_of_a_class_may_be_chance() -> None:
    truth = np.repeat(np.arange(CLASSES), [500, 500, 500, 2])
    candidate = np.where(truth == 3, 0, truth)
    found = check(
        Rule(metric="worst_class_recall_drop", limit=10.0),
        evidence(truth=truth, baseline=answers(truth), candidate=answers(candidate)),
    )
    assert (found.verdict, found.value) == (Verdict.PASS, 0.0)
    assert "chance" in found.reason


def test_without_labels() -> None:
    unknown = evidence(truth=np.full(400, UNKNOWN))
    found = {item.metric: item for item in judge(default_policy(1.0), unknown)}
    assert found["top1_drop"].verdict is Verdict.FAIL
    assert found["top1_drop"].value is None
    assert "no image has a known class" in found["top1_drop"].reason
    agreement = check(Rule(metric="agreement", limit=0.98), unknown)
    assert (agreement.verdict, agreement.value) == (Verdict.PASS, 1.0)


@pytest.mark.parametrize(("missing", "verdict"), [("fail", "fail"), ("skip", "pass")])
def test_what_is_missing(missing: str, verdict: str) -> None:
    for metric in ("top5_drop", "latency_ratio", "same_weights_shift"):
        found = check(Rule(metric=metric, limit=1.0, missing=missing), evidence())
        assert (found.value, found.verdict) == (None, verdict)


def test_scores_that_are_no_probabilities_have_no_calibration_error() -> None:
    logits = evidence(candidate=evidence().candidate * 30)
    assert check(Rule(metric="ece", limit=1.0), logits).value is None


def test_same_weights_must_answer_the_same() -> None:
    rule = Rule(metric="same_weights_shift", limit=3e-4)
    base = evidence()
    for shift, verdict in ((1e-5, Verdict.PASS), (1e-3, Verdict.FAIL)):
        candidate = base.baseline.copy()
        candidate[7, 2] += shift
        found = evidence(same_network=True, candidate=candidate)
        assert check(rule, found).verdict is verdict
        assert check(rule, found).value == pytest.approx(shift, rel=0.01)


def test_exact_numbers_need_no_interval() -> None:
    ratio = check(Rule(metric="size_ratio", limit=0.3), evidence())
    assert (ratio.value, ratio.interval, ratio.verdict) == (0.3, None, Verdict.PASS)
    change = check(Rule(metric="size_bytes", limit=-71, percent=True), evidence())
    assert change.value == pytest.approx(-70)
    assert (change.unit, change.verdict) == ("percent", Verdict.FAIL)


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [
        (Interval(0.4, 0.6), Verdict.PASS),
        (Interval(0.4, 0.9), Verdict.INCONCLUSIVE),
        (Interval(0.85, 0.9), Verdict.FAIL),
        (None, Verdict.PASS),
    ],
)
def test_latency(ratio: Interval | None, verdict: Verdict) -> None:
    value = 0.5 if ratio is None else (ratio.low + ratio.high) / 2
    timing = Latencies(baseline_ms=10, candidate_ms=10 * value, ratio=ratio)
    found = evidence(timings={"measured": timing})
    assert check(Rule(metric="latency_ratio", limit=0.8), found).verdict is verdict
    percent = check(Rule(metric="latency_ms", limit=-20, percent=True), found)
    assert percent.verdict is verdict
    assert percent.value == pytest.approx(100 * (value - 1))


def test_relative_top1() -> None:
    """From 360 right to 342: 5 % fewer."""
    found = evidence(400, wrong=40, lost=18)
    result = check(Rule(metric="top1", limit=-10, percent=True), found)
    assert result.value == pytest.approx(-5)
    assert result.interval is not None
    assert -10 < result.interval.low < -5 < result.interval.high < 0
    assert result.verdict is Verdict.PASS


def test_calibration_increase() -> None:
    """The candidate is as often right and far less sure."""
    unsure = evidence(400, candidate=answers(evidence(400).truth, 0.5))
    rise = check(Rule(metric="ece_increase", limit=0.1), unsure)
    assert rise.value == pytest.approx(0.4, abs=1e-3)
    assert rise.verdict is Verdict.FAIL
    assert check(Rule(metric="ece", limit=0.6), unsure).verdict is Verdict.PASS


@pytest.mark.parametrize("name", [name for name in METRICS if METRICS[name].fits(Evidence)])
def test_every_metric_gives_a_check_in_its_unit(name: str) -> None:
    metric = METRICS[name]
    several = name in ("map_drop", "mean_average_precision")
    truth = LabelTruth(
        labels=tuple("abcdef"), table=np.eye(6, dtype=np.int8)[evidence(lost=9).truth]
    )
    timing = Latencies(baseline_ms=10, candidate_ms=5, ratio=Interval(0.4, 0.6))
    found = evidence(
        labels=tuple("abcdef"),
        baseline=np.pad(evidence(lost=9).baseline, ((0, 0), (0, 2))),
        candidate=np.pad(evidence(lost=9).candidate, ((0, 0), (0, 2))),
        timings={"measured": timing},
        same_network=True,
        several=truth if several else None,
    )
    result = check(Rule(metric=name, limit=0.0), found)
    assert result.value is not None
    assert (result.unit, result.direction) == (metric.unit, metric.direction)
    assert written(result.value, result.unit) in result.reason


def test_a_rounded_tie_is_not_shown() -> None:
    assert telling_digits(1.0, [1.004], "points") == 3
    assert telling_digits(1.0, [1.0, 2.0], "points") == 2
