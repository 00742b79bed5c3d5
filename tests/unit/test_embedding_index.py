from pathlib import Path

import numpy as np
import pytest

from edge.cache import StageCache
from edge.embedding import index as module
from edge.embedding.cleaning import review
from edge.embedding.index import (
    VectorIndex,
    best,
    coded,
    exact_index,
    neighbour_cosines,
    norms_of,
    open_index,
    unit,
)
from edge.errors import DataError, UsageError
from edge.progress import Silent

Vectors = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def clustered(count: int = 6000, features: int = 128) -> Vectors:
    """Vectors around 200 centres, of different lengths."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((200, features))
    found = centres[random.integers(200, size=count)]
    found = found + 0.5 * random.standard_normal((count, features))
    return (found * random.uniform(0.5, 20, (count, 1))).astype(np.float32)


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return clustered()


def test_exact_search_gives_the_cosines(vectors: Vectors) -> None:
    query = vectors[17] * 3
    found = exact_index(vectors).search(query, 5)
    lengths = np.linalg.norm(vectors.astype(float), axis=1) * np.linalg.norm(query.astype(float))
    expected = vectors.astype(float) @ query / lengths
    order = np.argsort(-expected)[:5]
    assert found.rows.tolist() == order.tolist()
    assert found.rows[0] == 17
    assert np.abs(found.cosines - expected[order]).max() < 1e-6  # float32


def test_a_vector_of_zeros_is_like_nothing() -> None:
    vectors = np.array([[0, 0], [3, 4], [-3, -4]], np.float32)
    found = exact_index(vectors).search(np.array([6, 8], np.float32), 3)
    assert found.rows.tolist() == [1, 0, 2]
    assert found.cosines.tolist() == [1.0, 0.0, -1.0]
    with pytest.raises(DataError, match="no direction"):
        exact_index(vectors).search(np.zeros(2, np.float32), 1)
    assert unit(np.zeros(2, np.float32)).tolist() == [0, 0]


def test_what_cannot_be_asked(vectors: Vectors) -> None:
    index = exact_index(vectors)
    with pytest.raises(DataError, match="the vectors have 128"):
        index.search(np.ones(5, np.float32), 1)
    with pytest.raises(UsageError, match="0 neighbours"):
        index.search(vectors[0], 0)
    assert len(index.search(vectors[0], 10**6).rows) == len(vectors)


def test_best_breaks_ties_by_position() -> None:
    scores = np.array([1, 3, 2, 3, 3, 0], np.float32)
    assert best(scores, 2).tolist() == [1, 3]
    assert best(scores, 4).tolist() == [1, 3, 4, 2]
    assert best(scores, 99).tolist() == [1, 3, 4, 2, 0, 5]


def test_codes_find_what_exact_search_finds(vectors: Vectors, tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    norms = norms_of(vectors)
    coarse = VectorIndex(vectors, norms, coded(vectors, norms, lambda _: None))
    exact = exact_index(vectors)
    assert (coarse.kind, exact.kind) == ("rabitq", "exact")
    assert 128 / 8 * len(vectors) < coarse.size_bytes < vectors.nbytes / 10
    hits = 0
    for query in clustered(6050)[6000:]:
        found, expected = coarse.search(query, 10), exact.search(query, 10)
        hits += len({*found.rows.tolist()} & {*expected.rows.tolist()})
        assert np.all(np.diff(found.cosines) <= 0)
    assert hits / 500 >= 0.99


def test_a_large_table_is_coded_once(
    vectors: Vectors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faiss")
    cache = StageCache(tmp_path)
    assert open_index(vectors, cache, Silent()).kind == "exact"
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(module, "SMALL", 1000)
    assert open_index(vectors, cache, Silent(), exact=True).kind == "exact"
    first = open_index(vectors, cache, Silent())
    monkeypatch.setattr(module, "coded", None)  # making them again would fail
    again = open_index(vectors, cache, Silent())
    assert first.kind == again.kind == "rabitq"
    one, two = (index.search(vectors[3], 10) for index in (first, again))
    assert one.rows.tolist() == two.rows.tolist()
    assert one.cosines.tolist() == two.cosines.tolist()
    (codes,) = tmp_path.rglob("codes.faiss")
    codes.write_bytes(codes.read_bytes()[:100])
    monkeypatch.setattr(module, "coded", coded)
    anew = open_index(vectors, cache, Silent()).search(vectors[3], 10)
    assert anew.rows.tolist() == one.rows.tolist()
    assert anew.cosines.tolist() == one.cosines.tolist()


# ---- duplicates and outliers


def test_neighbour_cosines_over_blocks(monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setattr(module, "BLOCK", 7)
    vectors = clustered(40, 16)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    all_pairs = units @ units.T
    nearest, pairs, values = neighbour_cosines(vectors, 3, 0.5)
    others = np.where(np.eye(40, dtype=bool), -np.inf, all_pairs)
    assert np.allclose(nearest, -np.sort(-others, axis=1)[:, :3], atol=1e-6)
    expected = {(i, j) for i in range(40) for j in range(i + 1, 40) if all_pairs[i, j] >= 0.5}
    assert {(int(i), int(j)) for i, j in pairs} == expected
    assert np.all(np.diff(values) <= 0)
    assert expected


def test_duplicates_and_an_outlier_are_found() -> None:
    random = np.random.default_rng(1)
    vectors = (np.ones(32) + 0.3 * random.standard_normal((60, 32))).astype(np.float32)
    vectors[7] = vectors[3] * 2  # the same direction, of another file
    vectors[9] = vectors[4]
    vectors[20] = random.standard_normal(32)
    digests = [str(row) for row in range(60)]
    digests[9] = digests[4]
    found = review(vectors, digests, threshold=0.999)
    assert found.same == ((4, 9),)
    assert [(pair.first, pair.second) for pair in found.near] == [(3, 7)]
    assert found.near[0].cosine == pytest.approx(1, abs=1e-5)
    assert [item.row for item in found.outliers][:1] == [20]
    # The score by its formula, from scratch.
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = units @ units.T - 2 * np.eye(60)
    distances = 1 - np.sort(cosines, axis=1)[:, -10:].mean(axis=1)
    median = np.median(distances)
    score = 0.6745 * (distances[20] - median) / np.median(abs(distances - median))
    assert found.outliers[0].score == pytest.approx(score, rel=1e-3)
    assert all(item.score > 3.5 for item in found.outliers)


def test_many_pairs_are_counted_and_not_all_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.embedding.cleaning.MOST_PAIRS", 7)
    found = review(np.ones((6, 4), np.float32), list("aabcde"), threshold=0.95)
    assert (len(found.near), found.near_total) == (7, 14)  # 15 pairs, one of equal files


def test_a_collection_of_one_picture_has_no_outlier() -> None:
    found = review(np.ones((5, 4), np.float32), list("aaaaa"), threshold=0.95)
    assert (found.same, found.near, found.outliers) == (((0, 1, 2, 3, 4),), (), ())
