"""The statistics of two models on the same images, against publications and by simulation."""

import numpy as np
import pytest

from edge.evaluation.confidence import normal_quantile
from edge.evaluation.paired import (
    bootstrap_drop,
    drop_interval,
    holm,
    mcnemar,
    mcnemar_loss,
    tango,
)

Z = normal_quantile(0.95)


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
