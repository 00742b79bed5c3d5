"""Intervals of shares, the number of images that decides, and the calibration error."""

import numpy as np
import pytest

from edge.evaluation.calibration_error import (
    are_probabilities,
    bin_gaps,
    calibration_error,
    error_of,
)
from edge.evaluation.confidence import Interval, images_to_decide, normal_quantile, wilson

Z = normal_quantile(0.95)


def test_the_quantile() -> None:
    assert normal_quantile(0.95) == pytest.approx(1.959964, abs=1e-6)


@pytest.mark.parametrize(
    ("hits", "images", "low", "high"),
    [  # Newcombe, Statist. Med. 17 (1998) 857-872, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_as_published(hits: int, images: int, low: float, high: float) -> None:
    found = wilson(hits, images, Z)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_wilson_covers() -> None:
    random = np.random.default_rng(0)
    for share in (0.02, 0.5, 0.97):
        hits = random.binomial(200, share, 2000)
        ends = [wilson(int(count), 200, Z) for count in hits]
        assert np.mean([end.low <= share <= end.high for end in ends]) > 0.92


def test_images_to_decide_a_share() -> None:
    """90 % seen, 85 % needed: as many as the textbook formula says, less what was seen."""
    needed = images_to_decide(0.9, 0.85, 50, 0.95, lambda n, z: wilson(0.9 * n, n, z))
    assert needed is not None
    textbook = (1.96 * (0.85 * 0.15) ** 0.5 + 0.8416 * 0.3) ** 2 / 0.05**2 - 50
    assert needed == pytest.approx(textbook, rel=0.2)
    hits = np.random.default_rng(1).binomial(50 + needed, 0.9, 1000)
    decided = np.mean([wilson(int(count), 50 + needed, Z).low >= 0.85 for count in hits])
    assert 0.7 < decided < 0.95


def test_no_number_decides_what_is_the_limit() -> None:
    never = images_to_decide(0.85, 0.85, 50, 0.95, lambda n, z: wilson(0.85 * n, n, z))
    assert never is None


def test_a_gap_that_stays_open_is_given_up() -> None:
    assert images_to_decide(0.1, 0.2, 9, 0.95, lambda n, z: Interval(0.0, 1.0)) is None


# ---- calibration error


def probabilities(*best: float) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.array([[share, 1 - share] for share in best], np.float32)


def test_calibration_error_by_hand() -> None:
    """Two bins: of three at 0.9 two are right, the one at 0.6 is right."""
    scores = probabilities(0.9, 0.9, 0.9, 0.6)
    error = calibration_error(scores, np.array([0, 0, 1, 0]))
    assert error == pytest.approx(abs(2 - 2.7) / 4 + 0.4 / 4, abs=1e-6)


def test_calibration_error_of_a_calibrated_model_is_small() -> None:
    random = np.random.default_rng(0)
    share = random.uniform(0.5, 1, 20_000)
    labels = (random.uniform(size=20_000) > share).astype(np.int64)
    assert calibration_error(probabilities(*share), labels) < 0.02
    assert calibration_error(probabilities(*share), 1 - labels) > 0.4


def test_weights_count_images() -> None:
    scores, labels = probabilities(0.9, 0.7, 0.6), np.array([0, 1, 0])
    twice = error_of(np.array([2.0, 1.0, 0.0]), bin_gaps(scores, labels))
    chosen = [0, 0, 1]
    assert twice == pytest.approx(calibration_error(scores[chosen], labels[chosen]))


def test_logits_are_no_probabilities() -> None:
    assert are_probabilities(probabilities(0.5, 1.0))
    assert not are_probabilities(np.array([[3.0, -1.0]], np.float32))
