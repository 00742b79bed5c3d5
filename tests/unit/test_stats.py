"""Statistics of timings, against values worked out by hand and against planted disturbances."""

import numpy as np
import pytest

from benchmarks.result import Stability
from benchmarks.stats import FEWEST, TAIL, mad, stability, summary, throughput

MS = 1e-3


def steady(count: int, seed: int, scatter: float = 0.01) -> np.ndarray:
    """Times of about 10 ms, skewed as times are."""
    return 10 * MS * np.random.default_rng(seed).lognormal(0, scatter, count)


def test_summary_by_hand() -> None:
    found = summary([5.0, 1.0, 4.0, 2.0, 3.0])
    assert (found.runs, found.median, found.mean, found.minimum, found.maximum) == (5, 3, 3, 1, 5)
    assert found.mad == 1  # of 2, 2, 1, 1, 0: not 1.4826
    assert (found.p5, found.p90, found.p95) == pytest.approx((1.2, 4.6, 4.8))
    assert found.p99 is None


def test_one_sample() -> None:
    found = summary([2.0])
    assert (found.median, found.mad, found.p95, found.runs) == (2, 0, 2, 1)


def test_p99_needs_a_hundred() -> None:
    samples = [float(value) for value in range(1, TAIL + 1)]
    assert summary(samples).p99 == pytest.approx(99.01)
    assert summary(samples[:-1]).p99 is None


def test_an_outlier_moves_neither_median_nor_mad() -> None:
    samples = [1.0, 1.1, 0.9, 1.0, 1.05]
    assert mad([*samples[:-1], 1000.0]) == pytest.approx(mad(samples), abs=0.06)


def test_throughput() -> None:
    assert throughput([0.5, 0.25, 0.125], 8) == 32


def test_too_few() -> None:
    assert stability([0.01] * (FEWEST - 1)) is Stability.TOO_FEW
    assert stability([0.01] * FEWEST) is Stability.STABLE


def test_steady_runs_are_seldom_called_anything_else() -> None:
    verdicts = [stability(steady(50, seed, 0.02)) for seed in range(300)]
    assert verdicts.count(Stability.STABLE) >= 297


def test_a_noisy_run_is_not_called_drifting() -> None:
    """8 % of scatter around one level: chance puts the thirds apart now and then."""
    verdicts = [stability(steady(60, seed, 0.12)) for seed in range(300)]
    assert verdicts.count(Stability.NOISY) >= 280
    assert verdicts.count(Stability.DRIFTING) <= 10


@pytest.mark.parametrize("direction", [1, -1])
def test_a_creeping_level(direction: int) -> None:
    for seed in range(50):
        creeping = steady(50, seed) * np.linspace(1, 1.15, 50)[::direction]
        assert stability(creeping) is Stability.DRIFTING


def test_a_step() -> None:
    """A clock that is throttled in the middle of the run."""
    for seed in range(50):
        throttled = steady(90, seed)
        throttled[45:] *= 1.3
        assert stability(throttled) is Stability.DRIFTING


def test_a_burst_of_other_work_is_noise() -> None:
    for seed in range(50):
        disturbed = steady(100, seed)
        disturbed[40:50] *= 2
        assert stability(disturbed) is Stability.NOISY


def test_a_small_change_of_level_counts_for_nothing() -> None:
    for seed in range(50):
        assert stability(steady(50, seed, 0.003) * np.linspace(1, 1.03, 50)) is Stability.STABLE
