"""What the trials of a network's input say, from planted answers."""

import numpy as np
import pytest

from edge.dataset.pictures import Picture
from edge.errors import ModelLoadError, UsageError
from edge.evaluation.confidence import mcnemar
from edge.runtime.contract import ColorOrder, Preprocessing
from edge.training import input_evidence, input_memory
from edge.training.input_evidence import (
    InputFinding,
    check_input,
    find_input,
)
from edge.training.input_range import InputRange, parse_range
from edge.training.input_trials import RangeTrial, candidates, judge

THIRD = 1 / 3
PIXELS, UNIT = "--input-range pixels", "--input-range 0,1"


def planted(
    images: int,
    right: int,
    *,
    gained: int = 0,
    distances: tuple[float, float] | None = None,
    screened: int | None = None,
) -> list[RangeTrial]:
    """The range that is taken; 0..1, which gains so many on it; and eight that are no good.

    Args:
        images: Labelled pictures.
        right: Of them, those that are answered right with the range that is taken.
        gained: Those that 0..1 answers right beyond them.
        distances: Of the two, nats.
        screened: Pictures that the eight were tried on; None for all.
    """
    mine, theirs = distances or (None, None)
    bad = screened or images
    options = [option for option, _ in candidates(3) if option not in (PIXELS, UNIT)]
    return [
        RangeTrial(option=PIXELS, range=InputRange(), images=images, right=right, distance=mine),
        RangeTrial(
            option=UNIT,
            range=parse_range("0,1"),
            images=images,
            right=right + gained,
            p=mcnemar(0, gained) if gained >= 0 else mcnemar(-gained, 0),
            distance=theirs,
        ),
        *(
            RangeTrial(option=text, range=InputRange(), images=bad, right=bad // 3, distance=mine)
            for text in options
        ),
    ]


@pytest.mark.parametrize(
    ("images", "right", "gained", "is_better", "is_told"),
    [
        (36, 26, 10, True, False),  # p = 0.00195 and 27.8 points
        (36, 28, 8, True, False),  # p = 0.0078 and 22.2 points
        (36, 29, 7, False, True),  # p = 0.016
        (36, 31, 5, False, True),  # p = 0.0625 and 13.9 points
        (36, 32, 4, False, False),  # p = 0.125
        (128, 100, 12, True, False),  # 9.4 points, p = 0.0005 < 0.01 / 9
        (128, 100, 9, False, True),  # 7.0 points, p = 0.0039
        (128, 100, 6, False, False),  # 4.7 points
        (36, 36, 0, False, False),
    ],
)
def test_more_right_answers_stop_or_are_told_of(
    images: int, right: int, gained: int, is_better: bool, is_told: bool
) -> None:
    verdict = judge(planted(images, right, gained=gained), THIRD)
    found = [None if item is None else item.option for item in (verdict.better, verdict.perhaps)]
    assert found == [UNIT if is_better else None, UNIT if is_told else None]
    assert verdict.fits


def test_what_only_guesses_is_never_recommended() -> None:
    # 5 of 36 to 15 of 36 is much more, and still no more than guessing.
    assert judge(planted(36, 5, gained=10), THIRD).better is None
    far = planted(36, 12, gained=2, distances=(3e4, 1.57))
    verdict = judge(far, THIRD)
    assert verdict.better is None
    assert not verdict.fits
    # One fewer right than the range that is taken: both guess, so neither speaks.
    assert not judge(planted(36, 12, gained=-1, distances=(3e4, 1.57)), THIRD).fits
    # Nearest neighbours of many classes may all be wrong however the network is fed.
    by_features = judge(far, THIRD, features=True).better
    assert by_features is not None
    assert by_features.option == UNIT


def test_statistics_tell_where_pictures_do_not_contradict() -> None:
    better = judge(planted(36, 30, gained=1, distances=(3e4, 0.1)), THIRD).better
    assert better is not None
    assert better.option == UNIT
    answered = judge(planted(36, 30, gained=-8, distances=(3e4, 0.1)), THIRD)
    assert answered.better is None
    assert answered.fits
    unlabelled = judge(planted(0, 0, distances=(3e4, 0.1)), 0.0).better
    assert unlabelled is not None
    few = judge(planted(3, 1, distances=(3e4, 0.1)), THIRD)  # too few to say that it guesses
    assert few.better is not None
    assert few.fits
    assert judge(planted(36, 12, distances=(0.4, 0.1)), THIRD).guesses


def test_none_that_fits_stops_with_the_table_and_recommends_none() -> None:
    trials = tuple(planted(36, 12, gained=2, distances=(3e4, 1.57)))
    evidence = ("no more than guessing",)
    finding = InputFinding(
        taken=InputRange(), told=False, trials=trials, fits=False, evidence=evidence
    )
    with pytest.raises(UsageError, match="none of the usual ones fits") as caught:
        check_input(finding, "model.keras")
    assert finding.table in str(caught.value)
    assert UNIT not in caught.value.hint
    told = InputFinding(taken=InputRange(), told=True, trials=trials, fits=False, evidence=evidence)
    assert len(check_input(told, "model.keras")) == 1


class _Network:
    """Answers planted for each range: the brightness says which picture it is.

    Fed 0..255 it answers the first ``known`` of the pictures right, otherwise all where the
    largest value is 1 and none elsewhere; ``saturated`` makes every answer to 0..255 certain.
    """

    def __init__(self, known: int, *, saturated: bool) -> None:
        self._known, self._saturated = known, saturated
        self.asked: list[int] = []
        self.outputs = [np.zeros((1, 3))]

    def predict(self, images: np.ndarray, **_: object) -> np.ndarray:
        self.asked.append(len(images))
        levels = images[:, 0, 0, 0]
        positions = np.arange(len(images))
        as_pixels = levels.max() > 1
        right = positions < self._known if as_pixels else np.full(len(images), levels.min() > 0)
        classes = np.where(right, positions % 3, (positions + 1) % 3)
        sure = 1.0 if as_pixels and self._saturated else 0.9
        found = np.full((len(images), 3), (1 - sure) / 2, np.float32)
        found[positions, classes] = sure
        return found


def _found(monkeypatch: pytest.MonkeyPatch, network: _Network, images: int) -> InputFinding:
    pixels = np.full((images, 4, 4, 1), 100, np.uint8)
    truth = [number % 3 for number in range(images)]
    monkeypatch.setattr(input_evidence, "_read", lambda *_: (pixels, truth))
    for name, value in (("scaling_in_front", []), ("application_name", None)):
        monkeypatch.setattr(input_evidence, name, lambda _, value=value: value)
    monkeypatch.setattr(input_memory.NormalizationMemory, "of", classmethod(lambda *_: None))
    pictures: list[Picture] = []
    return find_input(
        network, pictures, Preprocessing(height=4, width=4, color_order=ColorOrder.GREY), None
    )


def test_few_labelled_pictures_suffice_without_statistics(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    finding = _found(monkeypatch, _Network(26, saturated=False), 36)
    assert finding.better is not None
    assert finding.better.range.ends == (0, 1)
    perhaps = _found(monkeypatch, _Network(31, saturated=False), 36)
    assert perhaps.better is None
    assert any("0,1" in doubt and "86.1 %" in doubt for doubt in perhaps.doubts)


def test_saturated_answers_are_told_of_and_perfect_ones_cost_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    finding = _found(monkeypatch, _Network(36, saturated=True), 36)
    assert finding.better is None
    assert any("36 of 36" in doubt and "0,1" in doubt for doubt in finding.doubts)
    network = _Network(36, saturated=False)
    finding = _found(monkeypatch, network, 36)
    assert not finding.doubts
    assert network.asked == [36]


class _Nowhere(_Network):
    """Answers with NaN, fed 0..255 or however."""

    def __init__(self, *, fed_otherwise: bool) -> None:
        super().__init__(0, saturated=False)
        self._fed_otherwise = fed_otherwise

    def predict(self, images: np.ndarray, **options: object) -> np.ndarray:
        found = super().predict(images, **options)
        if images.max() > 1 or not self._fed_otherwise:
            found[:] = np.nan
        return found


def test_answers_that_are_no_numbers_are_not_laid_upon_the_range(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ModelLoadError, match="every picture with NaN") as caught:
        _found(monkeypatch, _Nowhere(fed_otherwise=False), 36)
    assert "--input-range" not in caught.value.hint
    assert "--output-activation" not in caught.value.hint


def test_a_network_that_overflows_where_it_is_misfed_is_still_told_how(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    finding = _found(monkeypatch, _Nowhere(fed_otherwise=True), 36)
    assert finding.better is not None
    assert finding.better.range.ends == (0, 1)
