"""Others' words: seen as they are, and never heeded by a terminal, a shell or a spreadsheet."""

import csv
import io
import json
import subprocess
import unicodedata

import pytest

from edge.runtime.printable import csv_cell, csv_text, one_line, shell_word, visible

HARMLESS = (
    "Zürich",
    "青森県 🍎",
    "👩\u200d💻 👨\u200d👩\u200d👧 🏴\u200d☠\ufe0f ❤\ufe0f\u200d🔥 🧑🏽\u200d🚀",
    "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f 🇨🇭 1\ufe0f\u20e3",
    "قطة عربية חתול",
    "می\u200cخواهم क्\u200dष",  # noqa: RUF001  # letters that are joined, and not
    "a\u0301 e\u0300",
    "[red] [/] $x^2$ </script> | =1+1",
    "\U0001fadf",  # newer than Python's own tables
    "\ufffd",
)
ODD = {
    "\x1b[2J": r"\u001b[2J",
    "\x1b]52;c;cm0=\x07": r"\u001b]52;c;cm0=\u0007",
    "\x9b31m": r"\u009b31m",
    "a\rb": r"a\rb",
    "\x7f\0": r"\u007f\u0000",
    "\u202egnp\u2066": r"\u202egnp\u2066",
    "a\u200db\u200b\ufeff": r"a\u200db\u200b\ufeff",
    "a\u2028\u2029": r"a\u2028\u2029",
    "\udce9.png": r"\udce9.png",
    "\U000e0041\U000e0042": r"\udb40\udc41\udb40\udc42",
    "\u200d🍎\u200d": r"\u200d🍎\u200d",
    "\u2060\xad\u061c\u3164": r"\u2060\u00ad\u061c\u3164",
}


@pytest.mark.parametrize("text", HARMLESS)
def test_ordinary_text_stays(text: str) -> None:
    assert visible(text) == one_line(text) == text


@pytest.mark.parametrize("text", ODD)
def test_what_steers_is_seen(text: str) -> None:
    assert visible(text) == one_line(text) == ODD[text]
    document = json.dumps([text], ensure_ascii=False)
    assert json.loads(visible(document)) == [text]


def test_every_character() -> None:
    """None that Unicode calls a control, a separator of lines or a surrogate comes through."""
    for code in range(0x110000):
        character = chr(code)
        kind = unicodedata.category(character)
        if kind in ("Cc", "Zl", "Zp", "Cs") and character not in "\n\t":
            assert visible(character) != character
        if unicodedata.bidirectional(character) in (
            *("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"),
        ):
            assert visible(character) != character
        seen = kind[0] in "LMNPS" and character not in "\u115f\u1160\u17b4\u17b5\u3164\uffa0"
        if seen and not 0xE0000 <= code < 0xE1000:
            assert visible(character) == character


def test_lines_and_values() -> None:
    assert visible("a\n\tb\n") == "a\n\tb\n"
    assert one_line("a\n\tb\r\n") == r"a\n\tb\r\n"
    assert one_line("x" * 100, 10) == "x" * 9 + "…"
    assert one_line("é", 1) == "é"


@pytest.mark.parametrize(
    "text", ["plain", "two words", "it's", "a\nb\x1b]0;t\x07", "\udce9'\\", "$(id)`id`", "", "é"]
)
def test_a_shell_gets_the_very_word(text: str) -> None:
    word = shell_word(text)
    assert word == one_line(word)
    found = subprocess.run(
        ["bash", "-c", f"printf %s {word}"], capture_output=True, check=True, timeout=20
    )
    assert found.stdout == text.encode("utf-8", "surrogateescape")


CELLS = (
    *("=cmd|' /C calc'!A0", "+1", "-1.5", "1e-5", "-x", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''-2"),
    *("'quoted'", "'-1.5", "a=b", "", "\uff1d1", "two\nlines", 'a "b", c', "+49 30 1", "-", "-1e"),
)


@pytest.mark.parametrize("text", CELLS)
def test_a_cell_is_no_formula_and_is_given_back(text: str) -> None:
    stream = io.StringIO(newline="")
    csv.writer(stream).writerow([csv_cell(text), "x"])
    ((cell, _),) = csv.reader(io.StringIO(stream.getvalue(), newline=""))
    assert csv_text(cell) == text
    number = text in ("-1.5", "+1", "1e-5")
    assert cell == text if number else cell[:1] not in {*"=+-@\t\r\uff1d"} - {""}
