"""Exact nearest neighbours by cosine, in blocks: the reference, and the way for small tables."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

BLOCK: Final = 4096  # vectors at a time


def norms_of(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Euclidean length of each vector, float32 (n,); 1 for a vector of zeros.

    The cosine of a vector of zeros with anything then is 0.
    """
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    return np.where(lengths > 0, lengths, 1.0).astype(np.float32)


def unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """The vector of that direction with length 1, float32 (d,); zeros stay zeros."""
    length = float(np.linalg.norm(vector.astype(np.float64)))
    return (vector / length if length else vector).astype(np.float32)


def cosines(
    vectors: NDArray[np.float32], norms: NDArray[np.float32], query: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Cosine of a query with each vector, float32 (n,).

    Args:
        vectors: (n, d) float32.
        norms: (n,), as ``norms_of`` gives them.
        query: (d,) float32.
    """
    found: NDArray[np.float32] = (vectors @ unit(query)) / norms
    return np.clip(found, -1.0, 1.0)


def best(scores: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """Positions of the k largest scores, largest first; of equals the first comes first."""
    k = min(k, len(scores))
    threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
    above = np.flatnonzero(scores > threshold)
    equal = np.flatnonzero(scores == threshold)[: k - len(above)]
    rows = np.sort(np.concatenate([above, equal]))
    return rows[np.argsort(-scores[rows], kind="stable")]


def neighbour_cosines(
    vectors: NDArray[np.float32], k: int, at_least: float
) -> tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.float32]]:
    """Of every vector the cosines with its k nearest others; and every near pair.

    Args:
        vectors: (n, d) float32, n at least 2.
        k: At least 1; fewer where there are fewer others.
        at_least: Cosine from which on two vectors are a near pair.

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
    found = np.concatenate(values)
    order = np.argsort(-found, kind="stable")
    return (
        np.clip(nearest, -1.0, 1.0),
        np.concatenate(pairs)[order],
        np.clip(found, -1.0, 1.0)[order],
    )
