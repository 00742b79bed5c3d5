"""Numbers in words: one wording for every command, page and report."""

import pytest

from edge import wording


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.01234, "0.0123"), (1.236, "1.24"), (99.96, "100.0"), (12345.6, "12,346")],
)
def test_three_digits(value: float, text: str) -> None:
    assert wording.significant(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0"),
        (2.1e-7, "3e-07"),
        (2e-7, "2e-07"),
        (9.6e-8, "1e-07"),
        (1e-4, "1e-04"),
        (1, "1e+00"),
    ],
)
def test_a_bound_is_not_below_the_number(share: float, text: str) -> None:
    assert wording.at_most(share) == text
    assert float(text) >= share * (1 - 1e-9)


def test_what_is_not_known_is_a_dash() -> None:
    assert wording.milliseconds(None) == wording.megabytes(None) == wording.UNKNOWN
    assert wording.percent(None) == wording.bounds(None) == wording.span(None) == wording.UNKNOWN
    assert wording.joined([]) == wording.UNKNOWN


def test_units() -> None:
    assert wording.milliseconds(0.01236) == "12.4"
    assert wording.megabytes(2_345_678) == "2.35"
    assert wording.size(999_000) == "999.0 kB"
    assert wording.size(2_345_678) == "2.35 MB"
    assert wording.percent(0.985) == "98.5 %"
    assert wording.percent(0.95, 0) == "95 %"


def test_intervals() -> None:
    assert wording.bounds((0.957, 0.995)) == "95.7-99.5"
    assert wording.bounds((0.957, 1.0)) == "95.7-100"
    assert wording.span((0.957, 1.0)) == "95.7 to 100.0 %"


def test_counts_and_lists() -> None:
    assert wording.counted(1, "image") == "1 image"
    assert wording.counted(0, "image") == "0 images"
    assert wording.counted(2, "class", "classes") == "2 classes"
    assert wording.listed(["a", "b", "c"], 2) == "a, b and 1 more"
    assert wording.joined(["a"]) == "a"
    assert wording.joined("abc") == "a, b and c"
