"""The vector index: nearest neighbours by cosine, exact for small tables, by codes for large ones.

A large table is searched in two steps. Faiss scans a code of one bit per dimension (RaBitQ: Gao,
Long, "RaBitQ: Quantizing High-Dimensional Vectors with a Theoretical Error Bound for Approximate
Nearest Neighbor Search", SIGMOD 2024) for candidates; their cosines are then computed exactly,
from the vectors themselves. The scan sees every vector, so that nothing depends on how the
vectors cluster, and building takes seconds where a graph takes many minutes.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.cache import StageCache, content_key
from edge.dataset.pictures import Picture
from edge.embedding.extractor import extractor_of
from edge.embedding.features import extract
from edge.embedding.table import Embeddings
from edge.errors import DataError, OutputError, UsageError
from edge.progress import Progress
from edge.runtime.files import sha256_file

EXACT: Final = "exact"
RABITQ: Final = "rabitq"
SMALL: Final = 50_000_000  # numbers; an exact search of fewer takes at most some 20 ms
CANDIDATES: Final = 1000  # at least so many get their exact cosine
# A larger table has 2 n / d candidates, which is n / 512 at 1024 dimensions: fewer dimensions are
# fewer bits, whose order is less sure, and as many bytes are read again.
CANDIDATES_PER_DIMENSION: Final = 2
CODED_AT_ONCE: Final = 65_536  # vectors
_CODES: Final = "codes.faiss"
_NORMS: Final = "norms.npy"


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The vectors that lie nearest to a query.

    Attributes:
        rows: Their positions in the table, nearest first.
        cosines: The cosine of each with the query, -1..1, float32.
    """

    rows: NDArray[np.intp]
    cosines: NDArray[np.float32]


class VectorIndex:
    """Finds nearest neighbours in a table.

    Attributes:
        kind: ``exact`` or ``rabitq``.
        size_bytes: The size of what it keeps besides the vectors.
    """

    def __init__(
        self, vectors: NDArray[np.float32], norms: NDArray[np.float32], codes: Any = None
    ) -> None:
        """Put an index together.

        Args:
            vectors: (n, d) float32; not copied.
            norms: (n,), as ``norms_of`` gives them.
            codes: The Faiss index of the directions, in the same order; None searches exactly.
        """
        self._vectors = vectors
        self._norms = norms
        self._codes = codes
        self.kind = EXACT if codes is None else RABITQ
        self.size_bytes = norms.nbytes + (0 if codes is None else codes.ntotal * codes.code_size)

    def search(self, query: NDArray[np.float32], k: int) -> Neighbours:
        """Return the k nearest vectors, or all if there are fewer.

        Args:
            query: (d,) float32; at least one number is not zero.
            k: At least 1.

        Raises:
            UsageError: k is below 1.
            DataError: The query has another length, or no direction.
        """
        count, features = self._vectors.shape
        if k < 1:
            raise UsageError(f"{k} neighbours were asked for", hint="Ask for 1 or more.")
        if query.shape != (features,):
            raise DataError(f"the query is of shape {query.shape}, the vectors have {features}")
        if not query.any():
            raise DataError("the query is a vector of zeros, which has no direction")
        if self._codes is None:
            scores = cosines(self._vectors, self._norms, query)
            rows = best(scores, k)
            return Neighbours(rows, scores[rows])
        wanted = min(count, max(CANDIDATES, 10 * k, CANDIDATES_PER_DIMENSION * count // features))
        candidates = self._codes.search(unit(query)[None], wanted)[1][0]
        candidates = np.sort(candidates[candidates >= 0])  # in the order of memory
        scores = cosines(self._vectors[candidates], self._norms[candidates], query)
        order = best(scores, k)
        return Neighbours(candidates[order], scores[order])


def exact_index(vectors: NDArray[np.float32]) -> VectorIndex:
    """Return an index that compares the query with every vector (n, d) float32."""
    return VectorIndex(vectors, norms_of(vectors))


def open_index(
    vectors: NDArray[np.float32], cache: StageCache, progress: Progress, *, exact: bool = False
) -> VectorIndex:
    """Open the index of a table; codes are made once and kept by the content of the vectors.

    Args:
        vectors: (n, d) float32, finite.
        cache: The cache that keeps the codes.
        progress: It is told while they are made.
        exact: Whether to search exactly, however large the table is.

    Raises:
        OutputError: The cache cannot be written, or is damaged.
    """
    if exact or vectors.size < SMALL:
        return exact_index(vectors)
    import faiss

    digest = hashlib.sha256(np.ascontiguousarray(vectors).data).hexdigest()
    key = content_key(
        "index", {"vectors": digest, "kind": RABITQ, "shape": list(vectors.shape), "schema": 1}
    )
    if cache.find(key) is None:
        with progress.stage("index", len(vectors)) as step, cache.store(key) as folder:
            norms = norms_of(vectors)
            faiss.write_index(coded(vectors, norms, step), str(folder / _CODES))
            np.save(folder / _NORMS, norms)
    entry = cache.entry(key)
    try:
        norms = np.load(entry / _NORMS, allow_pickle=False)
        return VectorIndex(vectors, norms, faiss.read_index(str(entry / _CODES)))
    except (RuntimeError, OSError, ValueError, EOFError) as error:
        raise OutputError(
            f"the index kept in {entry} is damaged", hint=f"Remove it: rm -r {_shown(entry)}"
        ) from error


def coded(
    vectors: NDArray[np.float32], norms: NDArray[np.float32], step: Callable[[int], None]
) -> Any:
    """Make a Faiss index of the directions of vectors (n, d) float32, one bit per dimension."""
    import faiss

    codes = faiss.index_factory(vectors.shape[1], "RaBitQfs", faiss.METRIC_INNER_PRODUCT)
    # To train is to take the centre, about which the codes are made.
    sample = slice(None, None, max(1, len(vectors) // CODED_AT_ONCE))
    codes.train(vectors[sample] / norms[sample, None])
    for start in range(0, len(vectors), CODED_AT_ONCE):
        block = slice(start, start + CODED_AT_ONCE)
        codes.add(vectors[block] / norms[block, None])
        step(len(norms[block]))
    return codes


def _shown(path: Path) -> str:
    from edge.runtime.printable import shell_word

    return shell_word(str(path))


BLOCK: Final = 4096  # vectors compared at a time


def norms_of(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the Euclidean length of each vector, float32 (n,); 1 for a vector of zeros.

    The cosine of a vector of zeros with any other is 0 then.
    """
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    return np.where(lengths > 0, lengths, 1.0).astype(np.float32)


def unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the vector of that direction with length 1, float32 (d,); zeros stay zeros."""
    length = float(np.linalg.norm(vector.astype(np.float64)))
    return (vector / length if length else vector).astype(np.float32)


def cosines(
    vectors: NDArray[np.float32], norms: NDArray[np.float32], query: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the cosine of a query with each vector, float32 (n,).

    Args:
        vectors: (n, d) float32.
        norms: (n,), as ``norms_of`` gives them.
        query: (d,) float32.
    """
    scores: NDArray[np.float32] = (vectors @ unit(query)) / norms
    return np.clip(scores, -1.0, 1.0)


def best(scores: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """Return the positions of the k largest scores, largest first; equal ones keep their order."""
    k = min(k, len(scores))
    threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
    above = np.flatnonzero(scores > threshold)
    equal = np.flatnonzero(scores == threshold)[: k - len(above)]
    rows = np.sort(np.concatenate([above, equal]))
    return rows[np.argsort(-scores[rows], kind="stable")]


def neighbour_cosines(
    vectors: NDArray[np.float32], k: int, at_least: float
) -> tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.float32]]:
    """Compare all vectors: the cosines of each with its k nearest others, and every near pair.

    Args:
        vectors: (n, d) float32, n at least 2.
        k: The number of neighbours, at least 1; it is lowered if there are fewer others.
        at_least: The cosine from which on two vectors are a near pair.

    Returns:
        Cosines float32 (n, k), largest first; the pairs' rows (pairs, 2), first < second; and
        their cosines float32 (pairs,), largest first.
    """
    units = vectors / norms_of(vectors)[:, None]
    k = min(k, len(units) - 1)
    nearest = np.empty((len(units), k), np.float32)
    pairs, values = [np.empty((0, 2), np.intp)], [np.empty(0, np.float32)]
    for start in range(0, len(units), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(units)))
        scores = units[rows] @ units.T
        first, second = np.nonzero(scores >= at_least)
        later = second > first + start
        pairs.append(np.stack([first[later] + start, second[later]], axis=1))
        values.append(scores[first[later], second[later]])
        scores[rows - start, rows] = -np.inf
        top = np.partition(scores, scores.shape[1] - k, axis=1)[:, scores.shape[1] - k :]
        nearest[rows] = -np.sort(-top, axis=1)
    pair_cosines = np.concatenate(values)
    order = np.argsort(-pair_cosines, kind="stable")
    return (
        np.clip(nearest, -1.0, 1.0),
        np.concatenate(pairs)[order],
        np.clip(pair_cosines, -1.0, 1.0)[order],
    )


ZIP: Final = b"PK"


@dataclass(frozen=True, slots=True)
class SimilarPictures:
    """The pictures of a table that are like a picture.

    Attributes:
        neighbours: The rows of the table and their cosines.
        search: How they were searched for, ``exact`` or ``rabitq``.
    """

    neighbours: Neighbours
    search: str


def is_word_table(path: Path) -> bool:
    """Return whether a file is to be read as text: it exists, and is not an archive of arrays."""
    try:
        with path.open("rb") as stream:
            return stream.read(2) != ZIP and path.suffix.lower() not in (".npz", ".npy")
    except OSError:
        return False


def similar_pictures(
    table: Embeddings,
    image: Path,
    k: int,
    cache: StageCache,
    progress: Progress,
    *,
    exact: bool = False,
) -> SimilarPictures:
    """Find the k pictures of a table that are nearest to a picture by cosine.

    Raises:
        DataError: The picture cannot be read, or another extractor made the table.
    """
    if not image.is_file():
        raise DataError(
            f"there is no picture at {image}", hint="Name an image file to compare with."
        )
    with progress.stage("extractor"):
        extractor = extractor_of(table.header, cache)
    picture = Picture(image, sha256_file(image))
    with progress.stage("query", 1) as step:
        features = extract(
            extractor.path, [picture], extractor.preprocessing, cache=cache, step=step
        )
    if image in features.problems:
        raise DataError(features.problems[image], hint="Name an image file that opens in a viewer.")
    index = open_index(table.vectors, cache, progress, exact=exact)
    return SimilarPictures(index.search(features.vectors[0], k), index.kind)
