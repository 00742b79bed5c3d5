"""Intervals, paired comparisons, and how many images decide: against published values."""

import numpy as np
import pytest

from edge.evaluation.confidence import (
    Interval,
    bootstrap_drop,
    drop_interval,
    holm,
    images_to_decide,
    mcnemar,
    mcnemar_loss,
    normal_quantile,
    tango,
    wilson,
)
from edge.evaluation.score import (
    are_probabilities,
    bin_gaps,
    calibration_error,
    error_of,
)

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


def test_mcnemar_by_hand() -> None:
    assert mcnemar(0, 0) == 1
    assert mcnemar(5, 0) == pytest.approx(2 * 0.5**5)
    assert mcnemar(3, 3) == 1
    assert mcnemar_loss(5, 0) == pytest.approx(0.5**5)
    assert mcnemar_loss(0, 5) == 1
    # Fagerland, Lydersen, Laake, BMC Med. Res. Methodol. 13:91 (2013): 1 and 7 of 21, exact.
    assert mcnemar(1, 7) == pytest.approx(0.0703, abs=5e-5)


def test_tango_as_published() -> None:
    """Airway reactivity of 21 children, in Fagerland et al., Statist. Med. 33 (2014) 2850-2875."""
    found = tango(21, 1, 7, Z)
    assert (found.low, found.high) == pytest.approx((-0.517, -0.026), abs=5e-4)


@pytest.mark.parametrize("images", [1, 5, 400, 20_000])
def test_tango_without_any_change(images: int) -> None:
    found = tango(images, 0, 0, Z)
    expected = Z * Z / (images + Z * Z)
    assert (found.low, found.high) == pytest.approx((-expected, expected), abs=1e-9)


def test_tango_is_symmetric_and_bounded() -> None:
    there, back = tango(50, 9, 2, Z), tango(50, 2, 9, Z)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-9)
    assert tango(5, 5, 0, Z).high == 1
    assert tango(5, 0, 5, Z).low == -1
    for lost in range(6):
        found = tango(5, lost, 5 - lost, Z)
        assert -1 <= found.low <= (2 * lost - 5) / 5 <= found.high <= 1


def test_tango_covers() -> None:
    random = np.random.default_rng(0)
    for lost, gained in ((0.03, 0.03), (0.1, 0.02), (0.01, 0.0)):
        counts = random.multinomial(300, [lost, gained, 1 - lost - gained], 1000)
        ends = [tango(300, int(row[0]), int(row[1]), Z) for row in counts]
        inside = [end.low <= lost - gained <= end.high for end in ends]
        assert np.mean(inside) > 0.93


def test_the_bootstrap_is_that_over_images() -> None:
    """Against resampling the images one by one."""
    differences = np.array([1] * 12 + [-1] * 4 + [0] * 84)
    random = np.random.default_rng(1)
    means = differences[random.integers(0, 100, (5000, 100))].mean(axis=1)
    found = bootstrap_drop(100, 12, 4, 0.95)
    expected = np.quantile(means, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.011)
    assert bootstrap_drop(100, 12, 4, 0.95) == found


def test_no_flip_in_five_images_proves_nothing() -> None:
    assert bootstrap_drop(5, 0, 0, 0.95).high == 0  # what the bootstrap alone would say
    assert drop_interval(5, 0, 0, 0.95).high > 0.4


def test_the_interval_is_the_wider_of_both() -> None:
    whole = drop_interval(200, 9, 3, 0.95)
    for part in (tango(200, 9, 3, Z), bootstrap_drop(200, 9, 3, 0.95)):
        assert whole.low <= part.low
        assert part.high <= whole.high


def test_a_true_drop_at_the_margin_seldom_passes() -> None:
    """Non-inferiority: at a true drop of 2 points at most some 2.5 % are accepted for 2."""
    random = np.random.default_rng(3)
    for images, lost, gained in ((500, 0.04, 0.02), (2000, 0.03, 0.01)):
        counts = random.multinomial(images, [lost, gained, 1 - lost - gained], 600)
        passed = [
            drop_interval(images, int(row[0]), int(row[1]), 0.95).high <= 0.02 for row in counts
        ]
        assert np.mean(passed) < 0.05


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
