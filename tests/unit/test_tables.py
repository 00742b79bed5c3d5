"""Tables fit their terminal: columns are left out or stacked, no word and no number is cut."""

import pytest
from typer.testing import CliRunner

from edge.cli.app import app
from edge.cli.output import beside_lines, folded, table_lines, width

COLUMNS = ("model, path", "median", "p95", "load", "result")
ROWS = [
    ("mobilenet:tflite-fp32, which has a heading that is longer than its rows", "", "", "", ""),
    ("  litert-cpu t1", "15.5", "18.2", "1234.5", "hardware, noisy"),
    ("  青い空 t2", "11.8", "25.0", "23.3", "hardware"),
]
LEAST = ("load", "p95")


def lines(available: int, least: tuple[str, ...] = LEAST) -> list[str]:
    return table_lines("A title of some words", COLUMNS, ROWS, least=least, available=available)


@pytest.mark.parametrize("available", [20, 30, 40, 50, 56, 60, 80, 200])
@pytest.mark.parametrize("least", [(), LEAST])
def test_nothing_is_cut_or_too_wide(available: int, least: tuple[str, ...]) -> None:
    found = lines(available, least)
    assert len(found) > 2
    for line in found:
        assert width(line) <= available or len(line.split()) == 1 or line.startswith("  mobilenet")
        assert line == line.rstrip()
    text = "\n".join(found)
    gone = {title for title in LEAST if f"{title}" not in text.split("Left out")[0]}
    words = text.replace(",", " ").split()
    for title, cell in zip(COLUMNS, ROWS[1], strict=True):
        if title not in gone:
            assert {*cell.replace(",", " ").split()} <= {*words}
    for title in gone:
        assert title in text
        assert "--json" in text


def test_what_is_least_important_goes_first() -> None:
    wide = "\n".join(lines(80))
    assert "Left out" not in wide
    assert "1234.5" in wide
    less = "\n".join(lines(50))
    assert "Left out for want of room: load." in less
    assert "1234.5" not in less
    assert "18.2" in less
    # Stacked, there is room for all of it again.
    stacked = "\n".join(lines(24))
    assert "Left out" not in stacked
    assert "load 1234.5" in stacked


def test_columns_are_aligned_with_wide_characters() -> None:
    rows = [line for line in lines(80) if " t1" in line or " t2" in line]
    ends = {
        width(line[: line.index(number) + 4])
        for line, number in zip(rows, ("15.5", "11.8"), strict=True)
    }
    assert len(ends) == 1


def test_a_control_character_is_an_escape() -> None:
    found = "\n".join(table_lines("", ("a", "b"), [("x\x1b[2J", "\x07")], available=80))
    assert "\x1b" not in found
    assert "\x07" not in found


def test_a_text_beside_its_label() -> None:
    text = "several words that need more than one line of so narrow a terminal as this one is"
    assert beside_lines("label", text, left=10, available=200) == [f"label     {text}"]
    found = beside_lines("label", text, left=10, available=50)
    assert found[0].startswith("label     several")
    assert len(found) > 1 and all(line.startswith(" " * 10) for line in found[1:])
    below = beside_lines("label", text, left=10, available=40)
    assert below[0] == "label"
    assert all(width(line) <= 40 for line in below)
    assert " ".join("".join(below[1:]).split()) == " ".join(text.split()) or below[1].startswith(
        "    "
    )


@pytest.mark.parametrize("columns", ["40", "60", "80"])
@pytest.mark.parametrize("words", [["zoo"], ["zoo", "docs/zoo.json"], ["devices"]])
def test_the_tables_of_commands_fit(words: list[str], columns: str) -> None:
    result = CliRunner().invoke(app, words, env={"COLUMNS": columns})
    assert result.exit_code == 0
    shown = result.stdout.splitlines()
    assert shown and all(width(line) <= int(columns) for line in shown)


def test_pictures_of_several_characters_are_as_wide_as_they_look() -> None:
    for text, columns in {
        "👩\u200d💻": 2,
        "👍🏽": 2,
        "❤\ufe0f": 2,
        "🇨🇭": 2,
        "e\u0301": 1,
        "می\u200cدید": 5,
        "猫a": 3,
    }.items():
        assert width(text) == columns, text


def test_wide_characters_are_folded_by_columns() -> None:
    lines = folded("猫犬鳥魚 " * 30, 80, "  ")
    assert len(lines) > 2
    for line in lines:
        assert width(line) <= 80
    assert folded("", 80) == [] and folded("a  b", 80, "- ") == ["- a  b"]
