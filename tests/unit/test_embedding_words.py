import gzip
import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from edge.cache import StageCache
from edge.cli.app import app
from edge.embedding.index import exact_index
from edge.embedding.words import WordTable, analogy, open_words, similar_words
from edge.errors import DataError, EdgeError, UsageError
from edge.progress import Silent

COUNTRIES = {
    "usa": ("dollar", "washington"),
    "mexico": ("peso", "mexico_city"),
    "japan": ("yen", "tokyo"),
    "india": ("rupee", "delhi"),
    "poland": ("zloty", "warsaw"),
}
PEOPLE = {"king": "queen", "man": "woman", "uncle": "aunt"}
FEATURES = 20


def constructed() -> dict[str, list[float]]:
    """Words as the sum of what they are about and what they are, with noise."""
    random = np.random.default_rng(0)
    country, currency, capital, male, female = np.linalg.qr(
        random.standard_normal((FEATURES, FEATURES))
    )[0][:5]
    words = {}
    for name, (money, city) in COUNTRIES.items():
        own = random.standard_normal(FEATURES) / 3
        words |= {name: own + country, money: own + currency, city: own + capital}
    for man, woman in PEOPLE.items():
        own = random.standard_normal(FEATURES) / 3
        words |= {man: own + male, woman: own + female}
    return {
        word: (vector + 0.02 * random.standard_normal(FEATURES)).round(5).tolist()
        for word, vector in words.items()
    }


def text(words: dict[str, list[float]]) -> str:
    return "".join(f"{word} {' '.join(map(str, values))}\n" for word, values in words.items())


@pytest.fixture
def glove(tmp_path: Path) -> Path:
    path = tmp_path / "glove.txt"
    path.write_text(text(constructed()), encoding="utf-8")
    return path


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[Path], WordTable]:
    return lambda path: open_words(path, StageCache(tmp_path / "cache"), Silent())


@pytest.mark.parametrize(
    ("a", "b", "c", "d"),
    [
        ("usa", "dollar", "mexico", "peso"),
        ("japan", "tokyo", "poland", "warsaw"),
        ("dollar", "usa", "rupee", "india"),
        ("man", "woman", "king", "queen"),
    ],
)
def test_analogies(
    glove: Path, opened: Callable[[Path], WordTable], a: str, b: str, c: str, d: str
) -> None:
    table = opened(glove)
    found = analogy(table, exact_index(table.vectors), (a, b, c), 3)
    assert found[0].word == d
    assert found[0].cosine > found[1].cosine
    assert not {a, b, c} & {item.word for item in found}
    units = {word: np.array(v) / np.linalg.norm(v) for word, v in constructed().items()}
    query = units[b] - units[a] + units[c]
    assert found[0].cosine == pytest.approx(units[d] @ query / np.linalg.norm(query), abs=1e-5)


def test_similar_words_leave_the_word_out(glove: Path, opened: Callable[[Path], WordTable]) -> None:
    table = opened(glove)
    found = similar_words(table, exact_index(table.vectors), "king", 4)
    assert len(found) == 4
    assert "king" not in {item.word for item in found}
    assert "man" in {item.word for item in found}


def test_forms_of_the_file(
    glove: Path, tmp_path: Path, opened: Callable[[Path], WordTable]
) -> None:
    plain = opened(glove)
    content = glove.read_text(encoding="utf-8")
    header = tmp_path / "word2vec.txt"
    header.write_text(f"{len(plain.words)} {FEATURES}\n{content.replace(chr(10), ' ' + chr(10))}")
    packed = tmp_path / "glove.gz"
    packed.write_bytes(gzip.compress(content.encode()))
    for path in (header, packed):
        found = opened(path)
        assert found.words == plain.words
        assert np.array_equal(found.vectors, plain.vectors)


def test_a_table_is_parsed_once(
    glove: Path, opened: Callable[[Path], WordTable], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(glove)
    monkeypatch.setattr("edge.embedding.words.read_words", None)
    assert opened(glove).words == first.words
    glove.write_text("other 1 2\n")
    with pytest.raises(TypeError):  # other content is parsed, here by None
        opened(glove)


def test_odd_words(tmp_path: Path, opened: Callable[[Path], WordTable]) -> None:
    path = tmp_path / "odd.txt"
    path.write_bytes(b"a 1 2\n. . 3 4\n\xff 5 6\n\na 9 9\n\xc3\xa9t\xc3\xa9 7 -8e-1\n")
    found = opened(path)
    assert found.words == ("a", ". .", "\ufffd", "été")  # the first of two counts
    assert found.vectors[0].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no words"),
        ("5 3\n", "holds no words"),
        ("3 2\na 1 2\nb 3 4\n", "says in its first line that it holds 3 words; it holds 2"),
        ("9" * 5000 + " 2\na 1 2\n", "it holds 1"),
        ("a 1 2\nb 1\n", r"line 2 is not a word with 2 numbers: 'b 1'"),
        ("a 1 2\n\nb 1 x\n", "line 3 is not a word"),
        ("a 1 2\nb 1 nan\n", "line 2 is not a word"),
        ("alone\n", "line 1 is not a word with numbers"),
    ],
)
def test_malformed_lines_are_named(
    tmp_path: Path, opened: Callable[[Path], WordTable], content: str, said: str
) -> None:
    path = tmp_path / "bad.txt"
    path.write_text(content)
    with pytest.raises(DataError, match=said):
        opened(path)


def test_a_cut_archive_is_refused(tmp_path: Path, opened: Callable[[Path], WordTable]) -> None:
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(text(constructed()).encode())[:-20])
    with pytest.raises(DataError, match="cannot be read"):
        opened(path)


@pytest.mark.parametrize("content", [b"a 0 0\n", b"a", b"\n"])
def test_an_archive_that_grows_without_measure_is_refused(
    tmp_path: Path,
    opened: Callable[[Path], WordTable],
    content: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edge.embedding.words._SMALL", 1 << 18)  # so that it takes a second
    monkeypatch.setattr("edge.embedding.words.MAX_GROWTH", 1)
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        for _ in range(48):
            stream.write(content * ((1 << 20) // len(content)))
    tracemalloc.start()
    with pytest.raises(DataError, match=r"unpacks to more|has more than 1,048,576 bytes"):
        opened(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


def test_a_pipe_is_no_table(tmp_path: Path, opened: Callable[[Path], WordTable]) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError):
        opened(tmp_path / "pipe")


@pytest.mark.parametrize(
    ("word", "hint"), [("Dollar", "dollar"), ("mexicoo", "mexico"), ("zzzzz", "spelling")]
)
def test_no_such_word(
    glove: Path, opened: Callable[[Path], WordTable], word: str, hint: str
) -> None:
    with pytest.raises(UsageError, match="there is no word") as caught:
        opened(glove).vector(word)
    assert hint in caught.value.hint


# ---- the commands


def test_the_commands_answer_in_json(glove: Path, tmp_path: Path) -> None:
    common = [str(glove), "--cache", str(tmp_path / "cache"), "--json", "--quiet"]
    result = CliRunner().invoke(app, ["analogy", "usa", "dollar", "mexico", *common])
    assert json.loads(result.stdout)["results"][0]["word"] == "peso"
    result = CliRunner().invoke(app, ["similar", "tokyo", *common, "-k", "2"])
    found = json.loads(result.stdout)
    assert (found["search"], len(found["results"])) == ("exact", 2)


def test_the_commands_print_tables(glove: Path, tmp_path: Path) -> None:
    common = [str(glove), "--cache", str(tmp_path / "cache"), "--quiet"]
    result = CliRunner().invoke(app, ["analogy", "usa", "dollar", "mexico", *common])
    assert "usa is to dollar as mexico is to" in result.stdout
    assert "peso" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["similar", "tokio", "glove.txt"], "there is no word 'tokio'"),
        (["analogy", "usa", "dollar", "mexic", "glove.txt"], "there is no word 'mexic'"),
        (["analogy", "usa", "dollar", "mexico", "none.txt"], "no embedding file at none.txt"),
        (["analogy", "usa", "dollar", "mexico", "x.npz"], "x.npz holds no words"),
        (["similar", "usa", "x.npz"], "is not an embedding file of edge"),
    ],
)
def test_bad_questions(
    glove: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(glove.parent)
    np.savez("x.npz", a=np.zeros(2))
    result = CliRunner().invoke(app, [*arguments, "--cache", "cache", "--quiet"])
    assert isinstance(result.exception, EdgeError), result.exception
    assert said in result.exception.message
