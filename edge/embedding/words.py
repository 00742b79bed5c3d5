"""Word vectors: a text file of GloVe or word2vec as a table of vectors.

The format is one word per line and then its numbers, separated by single spaces (Pennington,
Socher, Manning, "GloVe: Global Vectors for Word Representation", EMNLP 2014). The text form of
word2vec has a first line with the number of words and of dimensions.
"""

import difflib
import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, cast

import numpy as np
from numpy.typing import NDArray

from edge.cache import StageCache, content_key
from edge.embedding.index import VectorIndex, unit
from edge.errors import DataError, UsageError, cause_of
from edge.progress import Progress
from edge.runtime import checked
from edge.runtime.files import sha256_file

MAX_WORDS: Final = 10_000_000  # the largest published tables have 3 million
MAX_TEXT: Final = 16 << 30  # bytes when unpacked; glove.840B.300d has 5.6 GB
MAX_GROWTH: Final = 50  # times the size of a gzipped file; text of numbers grows 3- to 4-fold
MAX_LINE: Final = 1 << 20  # bytes
_SMALL: Final = 16 << 20  # bytes; any gzipped file may grow to this size
_GZIP: Final = b"\x1f\x8b"
_EVERY: Final = 10_000  # words between two reports of progress
_SHOWN: Final = 40  # characters of a line that an error shows
_SUGGESTIONS: Final = 3


@dataclass(frozen=True, slots=True)
class WordTable:
    """The words of a file and their vectors.

    Attributes:
        words: The words, each once, in the order of the file.
        vectors: (words, d) float32, finite.
        rows: The position of each word.
    """

    words: tuple[str, ...]
    vectors: NDArray[np.float32]
    rows: dict[str, int] = field(repr=False)

    def vector(self, word: str) -> NDArray[np.float32]:
        """Return the vector of a word, float32 (d,).

        Raises:
            UsageError: There is no such word.
        """
        if word not in self.rows:
            near = self._alike(word)
            raise UsageError(
                f"there is no word {word!r} among the {len(self.words):,} of the table",
                hint=f"Did you mean {', '.join(near)}?" if near else "Check its spelling.",
            )
        vector: NDArray[np.float32] = self.vectors[self.rows[word]]
        return vector

    def _alike(self, word: str) -> list[str]:
        """Return words that are spelled alike."""
        if word.lower() in self.rows:
            return [word.lower()]
        alike = [other for other in self.words if abs(len(other) - len(word)) <= 2]
        return difflib.get_close_matches(word, alike, n=_SUGGESTIONS, cutoff=0.7)


@dataclass(frozen=True, slots=True)
class NearWord:
    """A word, and its cosine with what was asked for, -1..1."""

    word: str
    cosine: float


def similar_words(table: WordTable, index: VectorIndex, word: str, k: int) -> list[NearWord]:
    """Return the k words nearest to a word, which is left out itself.

    Raises:
        UsageError: There is no such word.
    """
    return _nearest(table, index, table.vector(word), {word}, k)


def analogy(
    table: WordTable, index: VectorIndex, words: tuple[str, str, str], k: int
) -> list[NearWord]:
    """Return what D can be in "A is to B as C is to D", best first.

    They are the words nearest to b - a + c by cosine, for vectors of length 1, without the three
    words themselves (Mikolov, Yih, Zweig, "Linguistic Regularities in Continuous Space Word
    Representations", NAACL 2013).

    Raises:
        UsageError: There is no such word.
        DataError: b - a + c is zero.
    """
    a, b, c = (unit(table.vector(word)) for word in words)
    return _nearest(table, index, b - a + c, set(words), k)


def _nearest(
    table: WordTable, index: VectorIndex, query: NDArray[np.float32], without: set[str], k: int
) -> list[NearWord]:
    neighbours = index.search(query, k + len(without))
    near = [
        NearWord(table.words[row], float(cosine))
        for row, cosine in zip(neighbours.rows, neighbours.cosines, strict=True)
    ]
    return [item for item in near if item.word not in without][:k]


def open_words(path: Path, cache: StageCache, progress: Progress) -> WordTable:
    """Open the table of a text file, which may be gzipped; it is parsed once and kept by content.

    Raises:
        DataError: The file is missing, empty or damaged, or a line is not a word with its numbers.
        OutputError: The cache cannot be written.
    """
    if not path.is_file():
        raise DataError(
            f"there is no embedding file at {path}",
            hint="Name a file of edge embed, or a GloVe text file.",
        )
    key = content_key("words", {"file": sha256_file(path), "schema": 1})
    if cache.find(key) is None:
        with progress.stage("words") as step:
            words, vectors = read_words(path, step)
        with cache.store(key) as folder:
            np.save(folder / "vectors.npy", vectors)
            (folder / "words.json").write_text(json.dumps(words), encoding="utf-8")
    entry = cache.entry(key)
    kept = tuple(json.loads((entry / "words.json").read_text(encoding="utf-8")))
    vectors = np.load(entry / "vectors.npy", allow_pickle=False)
    return WordTable(kept, vectors, {word: row for row, word in enumerate(kept)})


def read_words(path: Path, step: Callable[[int], None]) -> tuple[list[str], NDArray[np.float32]]:
    """Read words and vectors (words, d) float32; if a word stands twice, its first vector counts.

    Raises:
        DataError: See ``open_words``.
    """
    rows: dict[str, NDArray[np.float32]] = {}
    features, stated, lines = 0, None, 0
    for number, line in _lines(path):
        if number == 1 and _is_word2vec_header(line):
            stated = line.split()
            continue
        features = features or len(line.split(" ")) - 1
        word, vector = _parsed(path, number, line, features)
        rows.setdefault(word, vector)
        lines += 1
        if lines > MAX_WORDS:
            raise DataError(f"{path} holds more than {MAX_WORDS:,} words", hint=_EXPECTED)
        if number % _EVERY == 0:
            step(_EVERY)
    if not rows:
        raise DataError(f"{path} holds no words", hint=_EXPECTED)
    if stated is not None and stated[0].lstrip("0") != str(lines):
        raise DataError(
            f"{path} says in its first line that it holds {stated[0][:_SHOWN]} words; it holds "
            f"{lines}",
            hint="Copy it again; if it was cut on purpose, delete its first line.",
        )
    return list(rows), np.stack(list(rows.values()))


_EXPECTED: Final = "Expected GloVe's text format: a word and its numbers on each line."


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield each line that is not empty with its number, counted from 1."""
    try:
        with checked.opened(path) as file, _unpacked(file) as stream:
            most = _most(file, packed=stream is not file)
            for number, content in enumerate(iter(lambda: stream.readline(MAX_LINE + 1), b""), 1):
                most -= len(content)
                if len(content) > MAX_LINE or most < 0:
                    raise DataError(
                        f"line {number} of {path} has more than {MAX_LINE:,} bytes"
                        if len(content) > MAX_LINE
                        else f"{path} unpacks to more than a table of words would",
                        hint=_EXPECTED,
                    )
                # Some published tables hold bytes that are not UTF-8; such a word is not lost.
                line = content.decode(errors="replace").strip(" \r\n")
                if line:
                    yield number, line
    except (OSError, EOFError, zlib.error, checked.Malformed) as error:
        raise DataError(
            f"{path} cannot be read: {cause_of(error)}", hint="Copy the file again."
        ) from error


def _unpacked(file: BinaryIO) -> BinaryIO:
    packed = file.read(2) == _GZIP
    file.seek(0)
    return cast(BinaryIO, gzip.GzipFile(fileobj=file)) if packed else file


def _most(file: BinaryIO, *, packed: bool) -> int:
    """Return how many bytes of text a file may hold; packed zeros would grow a thousandfold."""
    size = os.fstat(file.fileno()).st_size
    return min(MAX_TEXT, max(_SMALL, MAX_GROWTH * size)) if packed else MAX_TEXT


def _is_word2vec_header(line: str) -> bool:
    parts = line.split()
    return len(parts) == 2 and all(part.isascii() and part.isdigit() for part in parts)


def _parsed(path: Path, number: int, line: str, features: int) -> tuple[str, NDArray[np.float32]]:
    """Return word and vector of a line; the word itself may hold spaces, as some of GloVe do."""
    parts = line.rsplit(" ", features) if features else []
    if len(parts) == features + 1 and features:
        try:
            vector = np.array(parts[1:], np.float32)
        except ValueError:
            vector = np.array([np.nan], np.float32)
        if np.isfinite(vector).all():
            return parts[0], vector
    shown = line[:_SHOWN] + ("…" if len(line) > _SHOWN else "")
    wanted = f"{features} numbers" if features else "numbers"
    raise DataError(f"{path}, line {number} is not a word with {wanted}: {shown!r}", hint=_EXPECTED)
