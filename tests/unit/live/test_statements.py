"""Temperature and throttling, as Linux and Raspberry Pi's firmware state them."""

from pathlib import Path

import pytest

from edge.runtime.live.statements import board


def test_a_board(tmp_path: Path) -> None:
    for number, text in enumerate(("51540\n", "48000\n", "broken\n", "999999999\n")):
        zone = tmp_path / f"thermal_zone{number}"
        zone.mkdir()
        (zone / "temp").write_text(text)
    throttled = tmp_path / "get_throttled"
    throttled.write_text("50005\n")  # of now: under-voltage and throttled
    assert board(tmp_path, throttled) == {
        "temperature_c": pytest.approx(51.54),
        "throttled": "under-voltage, throttled",
    }
    throttled.write_text("0\n")
    assert board(tmp_path, throttled)["throttled"] == ""


def test_a_system_that_does_not_tell(tmp_path: Path) -> None:
    nothing = {"temperature_c": None, "throttled": None}
    assert board(tmp_path / "none", tmp_path / "none") == nothing
