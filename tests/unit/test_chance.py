"""Agreement against chance: exact, and neither deaf nor jumpy on few images."""

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.evaluation.chance import Level, agreement, is_constant, is_flat
from edge.evaluation.confidence import (
    images_for_half_width,
    images_to_show_drop,
    normal_quantile,
    tango,
    wilson,
)


def level(first: list[int], second: list[int]) -> Level:
    return agreement(np.array(first), np.array(second)).level


def test_chance_is_the_sum_of_the_products_of_the_shares() -> None:
    found = agreement(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]))
    assert found.chance == pytest.approx(0.75 * 0.5 + 0.25 * 0.5)  # not 1 / classes
    assert (found.images, found.agreeing, found.share) == (4, 3, 0.75)
    assert found.interval == wilson(3, 4, normal_quantile(0.95))


@pytest.mark.parametrize("seed", range(20))
def test_answers_that_have_nothing_to_do_with_each_other(seed: int) -> None:
    random = np.random.default_rng(seed)
    skewed = [0.7, 0.2, 0.1]  # agrees on 54 % by chance
    first, second = random.choice(3, (2, 300), p=skewed)
    assert agreement(first, second).level is Level.CHANCE


def test_answers_that_never_agree_are_chance() -> None:
    assert level([0, 1, 2] * 5, [1, 2, 0] * 5) is Level.CHANCE
    assert level([0, 1] * 2, [1, 0] * 2) is Level.CHANCE


def test_one_answer_for_every_image_is_chance_though_often_right() -> None:
    truth = [0] * 90 + [1] * 10
    found = agreement(np.zeros(100, np.int64), np.array(truth))
    assert (found.share, found.level) == (0.9, Level.CHANCE)


def test_good_agreement_is_good_and_weaker_one_low() -> None:
    first = np.arange(200) % 4
    for changed, wanted in (
        (0, Level.GOOD),
        (10, Level.GOOD),
        (60, Level.LOW),
        (150, Level.CHANCE),
    ):
        second = first.copy()
        second[:changed] = (second[:changed] + 1) % 4
        assert agreement(first, second).level is wanted, changed


def test_few_images_or_one_class_decide_nothing() -> None:
    assert level([0, 1], [0, 1]) is Level.UNDECIDED
    assert level([0, 1, 0, 1], [0, 1, 0, 1]) is Level.UNDECIDED
    assert level([2] * 50, [2] * 50) is Level.UNDECIDED
    assert level([0], [1]) is Level.UNDECIDED


def rows(*values: list[float]) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def test_constant_scores_count_where_the_reference_changes_its_answer() -> None:
    same, other = rows([0.2, 0.8], [0.2, 0.8]), rows([0.9, 0.1], [0.3, 0.7])
    assert is_constant(same, other)
    assert not is_constant(other, same)
    assert not is_constant(same, rows([0.4, 0.6], [0.3, 0.7]))
    assert is_constant(rows([0.2, 0.8], [0.2, 0.8 + 6e-8]), other)  # sums in another order
    assert not is_constant(rows([0.2, 0.8], [0.21, 0.79]), other)


@pytest.mark.parametrize(("share", "half"), [(0.5, 0.05), (0.9, 0.05), (1.0, 0.05), (0.5, 0.2)])
def test_the_number_of_images_for_an_interval(share: float, half: float) -> None:
    def width(images: int) -> float:
        found = wilson(share * images, images, normal_quantile(0.95))
        return found.high - found.low

    images = images_for_half_width(share, half, 0.95)
    assert width(images) <= 2 * half < width(images - 1)


def test_the_number_of_images_that_show_a_drop() -> None:
    images = images_to_show_drop(0.01, 0.95)
    z = normal_quantile(0.95)
    assert images == 381
    assert tango(images, 0, 0, z).high <= 0.01 < tango(images - 1, 0, 0, z).high


def test_a_network_that_says_the_same_of_every_class_is_flat() -> None:
    noise = np.random.default_rng(0).normal(0, 0.005, (20, 10)).astype(np.float32)
    assert is_flat(0.1 + noise[:, :] / 10)
    assert is_flat(np.full((3, 2), 0.5, np.float32))
    sure = np.full((20, 10), 0.1, np.float32)
    sure[3] = [0.9, *[0.1 / 9] * 9]
    assert not is_flat(sure)
    assert not is_flat(np.full((1, 10), 0.1, np.float32))  # one image shows nothing
    assert not is_flat(np.full((5, 1), 1.0, np.float32))
