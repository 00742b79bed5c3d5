"""The check of int8 on calibration pictures, on models whose error is planted."""

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from converters.observation import Activations
from converters.quantizable import ActivationReader, Block, Calibration
from converters.search import narrowed
from converters.soundness import (
    AIM_DB,
    DIFFERING_DB,
    GROUPS,
    LEAST_DB,
    Soundness,
    decibels,
    soundness,
)

CLASSES = 20


class Planted:
    """A model whose blocks add noise of a given power to logits of power 1.

    Args:
        noise: By block.
        folder: For calibration pictures.
    """

    def __init__(self, noise: dict[str, float], folder: Path) -> None:
        self.noise = noise
        self.blocks = tuple(Block(name, (name,)) for name in noise)
        random = np.random.default_rng(0)
        np.save(folder / "pixels.npy", random.integers(0, 256, (30, 4, 4, 3), np.uint8))
        self.calibration = Calibration(folder / "pixels.npy", 128)
        self.tried: list[frozenset[str]] = []

    def trial(self, keep: Collection[str] | None) -> ActivationReader:
        power = 0.0
        if keep is not None:
            self.tried.append(frozenset(keep))
            power = sum(noise for name, noise in self.noise.items() if name not in keep)

        def run(image: NDArray[np.float32]) -> Activations:
            return self._run(image, power)

        return run

    @staticmethod
    def _run(image: NDArray[np.float32], power: float) -> Iterator[tuple[str, NDArray[np.float32]]]:
        random = np.random.default_rng(int(np.abs(image).sum()))
        logits = _unit(random.normal(size=CLASSES))
        error = _unit(random.normal(size=CLASSES))
        yield "image", image
        yield "logits", (7 + logits + np.sqrt(power) * error).astype(np.float32)


def _unit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = values - values.mean()
    return centred / centred.std()


def decibels_of(power: float) -> float:
    return float(-10 * np.log10(power))


def check(noise: dict[str, float], folder: Path) -> tuple[Soundness, Planted, int]:
    model = Planted(noise, folder)
    steps: list[int] = []
    found = soundness(model, lambda: steps.append(1))
    assert len(steps) == len(model.tried)
    return found, model, len(steps)


def test_int8_that_holds_costs_one_file_and_keeps_nothing(tmp_path: Path) -> None:
    found, _, steps = check({"a": 0.006, "b": 0.004}, tmp_path)
    assert steps == 1
    assert found.kept == ()
    assert found.int8_db == found.signal_db == pytest.approx(20, abs=0.3)
    assert found.notes("onnx-int8", 2) == ()


def test_the_fewest_blocks_that_bring_the_signal_back_stay_in_floats(tmp_path: Path) -> None:
    noise = {"a": 0.001, "b": 0.3, "c": 0.002, "d": 0.02, "e": 0.1, "f": 0.001, "g": 0.001}
    found, _, _ = check(noise, tmp_path)
    assert found.kept == ("b", "d", "e")  # in the order of execution
    assert found.int8_db == pytest.approx(decibels_of(sum(noise.values())), abs=0.3)
    assert found.signal_db == pytest.approx(decibels_of(0.005), abs=0.3)
    assert found.int8_db < LEAST_DB < AIM_DB <= found.signal_db
    (note,) = found.notes("onnx-int8", 7)
    assert "3 of 7 blocks stay in floats" in note


def test_no_more_than_half_of_the_blocks_stay_in_floats(tmp_path: Path) -> None:
    found, _, _ = check(dict.fromkeys("abcdefgh", 0.1), tmp_path)
    assert len(found.kept) == 4
    assert found.signal_db == pytest.approx(decibels_of(0.4), abs=0.3)


def test_a_network_of_one_block_that_breaks_is_written_as_it_is_and_said(tmp_path: Path) -> None:
    found, _, _ = check({"a": 0.5}, tmp_path)
    assert found.kept == ()
    (note,) = found.notes("onnx-int8", 1)
    assert note.startswith("onnx-int8: int8 breaks this network, whose signal falls to")
    assert found.int8_db == pytest.approx(3, abs=0.3)


def test_many_blocks_are_tried_in_groups(tmp_path: Path) -> None:
    names = [f"block {number}" for number in range(3 * GROUPS - 1)]
    noise = dict.fromkeys(names, 1e-6) | {names[100]: 1.0}
    found, _, steps = check(noise, tmp_path)
    assert names[100] in found.kept
    assert len(found.kept) == 3
    assert steps < GROUPS + 10


def test_a_shift_of_all_logits_is_no_error() -> None:
    logits = [[np.array([1.0, 2.0, 5.0])]]
    assert decibels(logits, [[logits[0][0] + 3]]) > 100
    assert decibels(logits, [[-logits[0][0]]]) < 0


def test_pictures_of_one_class_do_not_pass_a_file_that_does_not_look_at_them() -> None:
    """All pictures are answered alike with certainty; what tells them apart is a tenth of it."""
    random = np.random.default_rng(0)
    wanted = [[np.array([[10.0 + x, -10.0 - x]])] for x in random.normal(0, 3, 40)]
    blind = [[np.array([[10.0, -10.0]])] for _ in wanted]
    assert decibels(wanted, blind) == pytest.approx(DIFFERING_DB, abs=0.3)
    assert DIFFERING_DB < LEAST_DB
    assert decibels(wanted, [[item + np.array([[0.1, -0.1]])] for (item,) in wanted]) > 25
    alike = [[np.array([[10.0 + x, -10.0 - x]])] for x in random.normal(0, 0.1, 40)]
    assert decibels(alike, blind) > 35  # they tell nothing of differences
    assert decibels(wanted[:1], [[wanted[0][0] * 1.1]]) == pytest.approx(20, abs=0.01)


def test_the_places_of_a_map_are_not_held_against_their_mean_over_pictures() -> None:
    random = np.random.default_rng(0)
    place = random.normal(0, 1, (1, 6, 6, 4))
    wanted = [[place + random.normal(0, 0.3, place.shape)] for _ in range(20)]
    found = [[item + random.normal(0, 0.1, place.shape)] for (item,) in wanted]
    assert decibels(wanted, found) == pytest.approx(10 * np.log10(1.09 / 0.01), abs=0.5)


def test_the_worst_output_is_not_hidden_by_a_strong_one() -> None:
    strong, weak = np.array([0.0, 1000.0]), np.array([0.0, 1.0])
    assert decibels([[strong, weak]], [[strong, -weak]]) == pytest.approx(-10 * np.log10(2))


@pytest.mark.parametrize("enough", range(1, 12))
def test_the_fewest_that_hold_are_found_and_none_is_tried_twice(enough: int) -> None:
    order = [str(number) for number in range(11)]
    tried = narrowed(order, len, lambda count: count >= enough)
    assert [count for count, _ in tried] == [found for _, found in tried]
    assert len({count for count, _ in tried}) == len(tried)
    assert min(count for count, _ in tried if count >= enough) == enough


def test_where_none_holds_all_are_tried_at_last() -> None:
    assert narrowed(["a", "b", "c"], len, lambda count: False)[-1] == (3, 3)
    assert narrowed([], len, lambda count: False) == []
