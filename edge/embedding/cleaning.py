"""What a person should look at in a collection: duplicates, near duplicates, outliers."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.embedding.index import neighbour_cosines

NEIGHBOURS: Final = 10  # the mean distance to so many makes an outlier
FAR: Final = 3.5  # modified z-score from which on Iglewicz and Hoaglin call a value an outlier
MOST_PAIRS: Final = 10_000  # pairs that are listed: a collection of plain pictures has millions
_NORMAL: Final = 0.6745  # the MAD of a standard normal distribution
_EXACT_FORMULA: Final = "equal sha256"
_OUTLIER_FORMULA: Final = (
    "z = 0.6745 (d - median d) / MAD, d the mean cosine distance to the {k} nearest"
)


@dataclass(frozen=True, slots=True)
class NearPair:
    """Two rows and the cosine of their vectors, -1..1."""

    first: int
    second: int
    cosine: float


@dataclass(frozen=True, slots=True)
class Outlier:
    """A row that lies far from its nearest neighbours.

    Attributes:
        row: The row of the table.
        distance: The mean cosine distance to its nearest neighbours, 0..2.
        score: The modified z-score of the distance.
    """

    row: int
    distance: float
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What a person should look at in a collection.

    Attributes:
        same: Groups of rows whose files are equal, in order.
        near: Pairs of different files with a cosine of ``threshold`` or more, nearest first; at
            most ``MOST_PAIRS``.
        near_total: The number of all such pairs.
        outliers: The rows that lie far from all others, farthest first.
        threshold: The cosine from which on two pictures are near duplicates.
        neighbours: The number of neighbours whose mean distance makes an outlier.
    """

    same: tuple[tuple[int, ...], ...]
    near: tuple[NearPair, ...]
    near_total: int
    outliers: tuple[Outlier, ...]
    threshold: float
    neighbours: int

    @property
    def formulas(self) -> dict[str, str]:
        """How each list was made, in words, by its name."""
        return {
            "same": _EXACT_FORMULA,
            "near": f"cosine {self.threshold:g} or more",
            "outliers": f"{_OUTLIER_FORMULA.format(k=self.neighbours)}; z over {FAR:g}",
        }

    def to_json(self, paths: Sequence[str]) -> dict[str, Any]:
        """Return the lists as JSON values, with the path of each row."""
        return {
            "formulas": self.formulas,
            "same": [[paths[row] for row in group] for group in self.same],
            "near": [
                {"first": paths[pair.first], "second": paths[pair.second], "cosine": pair.cosine}
                for pair in self.near
            ],
            "near_total": self.near_total,
            "outliers": [
                {"path": paths[item.row], "distance": item.distance, "score": item.score}
                for item in self.outliers
            ],
        }


def review(vectors: NDArray[np.float32], sha256: Sequence[str], *, threshold: float) -> Review:
    """Find duplicates, near duplicates and outliers.

    Args:
        vectors: (n, d) float32, n at least 2.
        sha256: The digest of each file, hex.
        threshold: The cosine from which on two pictures are near duplicates.
    """
    nearest, pairs, values = neighbour_cosines(vectors, NEIGHBOURS, threshold)
    files = np.unique(np.array(sha256), return_inverse=True)[1]
    other = np.flatnonzero(files[pairs[:, 0]] != files[pairs[:, 1]])
    listed = other[:MOST_PAIRS]
    near = tuple(
        NearPair(int(first), int(second), round(float(cosine), 6))
        for (first, second), cosine in zip(pairs[listed], values[listed], strict=True)
    )
    return Review(
        same=_groups(sha256),
        near=near,
        near_total=len(other),
        outliers=_outliers(1.0 - nearest.mean(axis=1, dtype=np.float64)),
        threshold=threshold,
        neighbours=nearest.shape[1],
    )


def _groups(sha256: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Group the rows whose files are equal."""
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, digest in enumerate(sha256):
        rows_of[digest].append(row)
    return tuple(tuple(rows) for rows in rows_of.values() if len(rows) > 1)


def _outliers(distances: NDArray[np.float64]) -> tuple[Outlier, ...]:
    """Find rows by modified z-score: Iglewicz, Hoaglin, "Detect and Handle Outliers", 1993."""
    median = np.median(distances)
    deviation = np.median(np.abs(distances - median))
    if deviation == 0:  # more than half of the distances are the same
        return ()
    scores = _NORMAL * (distances - median) / deviation
    far = np.flatnonzero(scores > FAR)
    return tuple(
        Outlier(int(row), round(float(distances[row]), 6), round(float(scores[row]), 3))
        for row in far[np.argsort(-scores[far], kind="stable")]
    )
