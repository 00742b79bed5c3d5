"""Verdicts on times: simulated machines with noise between processes, bursts, drift and steps."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.against import against
from benchmarks.plan import BenchmarkPlan
from benchmarks.result import MeasuredModel
from benchmarks.verdict import (
    CONFIDENCE,
    ORDER,
    ROUNDS,
    Judgement,
    SpeedVerdict,
    check_pairs,
    judge,
    paired,
    ratio_interval,
    verdict,
)
from edge.errors import UsageError
from edge.evaluation.confidence import Interval
from edge.progress import Silent

COMPARISONS = 400


def machine(random: np.random.Generator, order: str, effect: float) -> list[float]:
    """Medians of one fresh process after another on a machine that is not left alone.

    2 % of noise between processes, one in twenty in a burst of other work, a clock that wanders
    by 20 %, and in half of the runs a lasting slowdown by 30 %.
    """
    count = len(order)
    times = np.arange(count)
    phase, speed = random.uniform(0, 2 * np.pi), random.uniform(0.5, 3) * 2 * np.pi / count
    level = 10 * (1 + 0.2 * np.sin(phase + speed * times))
    level = np.where(times > random.integers(count), level * random.choice([1, 1.3]), level)
    level *= random.lognormal(0, 0.02, count)
    level *= np.where(random.random(count) < 0.05, 1 + random.exponential(0.5, count), 1)
    return [
        float(value) * (effect if side == "B" else 1)
        for value, side in zip(level, order, strict=True)
    ]


def comparisons(effect: float) -> list[Judgement]:
    random = np.random.default_rng(7)
    order = ORDER * ROUNDS
    return [
        judge(np.array(paired(order, machine(random, order, effect)))) for _ in range(COMPARISONS)
    ]


def test_a_model_against_itself() -> None:
    """The issue's bar is 2 of 40 on a real machine."""
    found = [item.verdict for item in comparisons(1.0)]
    assert found.count(SpeedVerdict.FASTER) + found.count(SpeedVerdict.SLOWER) <= COMPARISONS / 100


def test_a_slowdown_by_a_tenth() -> None:
    """The issue's bar is 38 of 40."""
    found = [item.verdict for item in comparisons(1.1)]
    assert found.count(SpeedVerdict.SLOWER) >= 0.95 * COMPARISONS
    assert SpeedVerdict.FASTER not in found


def test_a_speedup_mirrors_a_slowdown() -> None:
    slower, faster = comparisons(1.1)[0], comparisons(1 / 1.1)[0]
    assert (slower.verdict, faster.verdict) == (SpeedVerdict.SLOWER, SpeedVerdict.FASTER)
    assert slower.ratio == pytest.approx(1.21 * faster.ratio)


def test_a_quiet_machine_says_same() -> None:
    random = np.random.default_rng(0)
    found = judge(10 * random.lognormal(0, 0.005, (2 * ROUNDS, 2)))
    assert found.verdict is SpeedVerdict.SAME
    assert found.confidence == CONFIDENCE


def test_the_interval_covers_the_true_ratio_as_often_as_it_says() -> None:
    """Noise with long tails and a drift by half, common to both sides."""
    random = np.random.default_rng(4)
    inside = 0
    for _ in range(1000):
        speed = random.uniform(1, 1.5, (20, 1))
        noise = np.exp(0.02 * random.standard_t(3, (20, 2)))
        found = ratio_interval(speed * np.array([10.0, 5.0]) * noise, 0.95)
        inside += found.low <= 0.5 <= found.high
        assert found.high - found.low < 0.1
    assert 935 <= inside <= 970


def test_the_interval_by_hand() -> None:
    """Six pairs: the interval of 96.875 % reaches from the smallest ratio to the largest.

    The median lies outside only if all six ratios are on one side of it, as in 2 of the 2 ** 6
    ways in which six signs can fall.
    """
    ratios = np.array([1.0, 1.2, 0.9, 1.1, 1.3, 0.8])
    found = ratio_interval(np.column_stack([np.ones(6), ratios]), 0.96)
    assert (found.low, found.high) == pytest.approx((0.8, 1.3))


def test_too_few_pairs() -> None:
    with pytest.raises(UsageError, match="7 pairs") as error:
        ratio_interval(np.ones((7, 2)), 0.99)
    assert "at least 8 pairs" in error.value.hint
    assert ratio_interval(np.ones((8, 2)), 0.99) == Interval(1, 1)


@pytest.mark.parametrize("confidence", [0.5, 0.75, 0.9, 0.95, 0.96875, 0.99, 0.999])
def test_the_fewest_pairs_are_those_that_have_an_interval(confidence: float) -> None:
    fewest = next(count for count in range(1, 20) if 2 * 0.5**count <= 1 - confidence)
    assert ratio_interval(np.ones((fewest, 2)), confidence) == Interval(1, 1)
    with pytest.raises(UsageError, match=f"{fewest - 1} pairs"):
        check_pairs(fewest - 1, confidence)


def test_too_few_rounds_are_refused_before_anything_is_measured(tmp_path: Path) -> None:
    """Neither of the files is there, which whatever measures would meet first."""
    with pytest.raises(UsageError, match="6 pairs of medians are too few"):
        missing = MeasuredModel(
            name="x", path=tmp_path / "x.tflite", sha256="", size_bytes=1, format="tflite"
        )
        against(missing, missing, BenchmarkPlan(), Silent(), rounds=3)


def test_pairs_that_other_work_fell_into() -> None:
    """A third of the pairs off by a factor of up to two or more, either way."""
    random = np.random.default_rng(5)
    found = []
    for _ in range(100):
        ratios = 1.1 * np.exp(random.normal(0, 0.03, 2 * ROUNDS))
        disturbed = random.random(2 * ROUNDS) < 1 / 3
        ratios *= np.where(disturbed, np.exp(random.normal(0, 0.5, 2 * ROUNDS)), 1)
        found.append(judge(np.column_stack([np.ones(2 * ROUNDS), ratios])).verdict)
    assert found.count(SpeedVerdict.SLOWER) >= 95


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.98, 1.02, SpeedVerdict.SAME),
        (1.005, 1.02, SpeedVerdict.SAME),
        (1.02, 1.05, SpeedVerdict.SLOWER),
        (1.005, 1.05, SpeedVerdict.INCONCLUSIVE),
        (0.90, 0.98, SpeedVerdict.FASTER),
        (0.90, 0.995, SpeedVerdict.INCONCLUSIVE),
        (0.5, 2.0, SpeedVerdict.INCONCLUSIVE),
    ],
)
def test_what_follows_from_an_interval(low: float, high: float, expected: SpeedVerdict) -> None:
    assert verdict(Interval(low, high)) is expected


def test_pairs_are_neighbours() -> None:
    assert paired("ABBABA", [1, 2, 3, 4, 5, 6]) == [(1, 2), (4, 3), (6, 5)]
