"""The vector index on a million vectors: time of a query, recall, build time, memory.

    python tests/performance/neighbours.py [--count 1000000] [--queries 50]

On one thread, against exact search in the same run. Bars: a query takes under 100 ms (median) and
recall@10 is at least 0.99, on the simulated vectors.

simulated: drawn from a model of MobileNet's embeddings (1024 features) of real pictures. Each
vector lies between those of two pictures (weight 0.5 to 1), moved by a normal deviate with the
covariance of differences between nearest neighbours (64 principal directions; what is left is
spread evenly), and cut at zero as the network's last ReLU does. Queries are drawn in the same way.
gaussian: independent normal numbers, without any structure to find; the worst case, without a bar.
"""

import argparse
import contextlib
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from support.data import photos
from support.script import NotHere, Report, Script, data_with

from edge.cache import default_cache
from edge.embedding.embed import EmbedOptions, embed
from edge.embedding.index import VectorIndex, coded, norms_of
from edge.progress import Silent
from edge.training.options import BaseOptions

Vectors = NDArray[np.float32]

NEIGHBOURS: Final = 10
MOST_SECONDS: Final = 0.1
LEAST_RECALL: Final = 0.99
DIRECTIONS: Final = 64
BLOCK: Final = 20_000
IMAGENET: Final = "images/imagenet-sample"


@dataclass(frozen=True, slots=True)
class Measured:
    """One kind of vectors."""

    build_seconds: float
    query_seconds: list[float]
    exact_seconds: list[float]
    recall: float
    index_bytes: int


def main() -> int:
    """Measure and print; see ``support.script`` for the exit codes."""
    script = Script(__doc__)
    script.amount("--count", 1_000_000, 2_000, "of vectors")
    script.amount("--queries", 50, 3, "of the index and exact search in turn")
    return script.run(_measure)


def _measure(options: argparse.Namespace, report: Report) -> None:
    from threadpoolctl import threadpool_limits

    real = _real(report)
    features = real.shape[1]
    kinds = {"simulated": _simulator(real), "gaussian": _gaussian(features)}
    report.say(
        f"{options.count:,} vectors of {features}, {options.queries} queries, 1 thread, measured"
    )
    with threadpool_limits(1):
        for name, draw in kinds.items():
            found = _measured(draw, options.count, options.queries)
            _show(name, found, report)
            if name == "simulated":
                query = 1e3 * statistics.median(found.query_seconds)
                report.bar("median query", query, at_most=1e3 * MOST_SECONDS, unit="ms")
                report.bar(f"recall@{NEIGHBOURS}", found.recall, at_least=LEAST_RECALL)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    report.say(f"peak memory of the process, the vectors with it: {peak / 1e9:.1f} GB")


def _real(report: Report) -> Vectors:
    """MobileNet's embeddings of the pictures there are."""
    with tempfile.TemporaryDirectory() as name:
        folders = [photos(Path(name), report)]
        if not report.smoke:
            with contextlib.suppress(NotHere):
                folders.append(data_with(IMAGENET) / IMAGENET)
        tables = [
            embed(
                EmbedOptions(photos=folder, source=BaseOptions(), cache=default_cache()), Silent()
            ).table
            for folder in folders
        ]
    return np.concatenate([table.vectors for table in tables])


Draw = Callable[[int, np.random.Generator], Vectors]


def _simulator(real: Vectors) -> Draw:
    units = real / norms_of(real)[:, None]
    cosines = units @ units.T
    np.fill_diagonal(cosines, -1)
    differences = (real - real[cosines.argmax(axis=1)]) / np.sqrt(2)
    _, scales, directions = np.linalg.svd(differences, full_matrices=False)
    spread = scales[:DIRECTIONS, None] * directions[:DIRECTIONS] / np.sqrt(len(real))
    left = float(np.sqrt((scales[DIRECTIONS:] ** 2).sum() / len(real) / real.shape[1]))

    def draw(count: int, random: np.random.Generator) -> Vectors:
        first, second = random.integers(len(real), size=(2, count))
        weight = random.uniform(0.5, 1, (count, 1)).astype(np.float32)
        found = weight * real[first] + (1 - weight) * real[second]
        found += random.standard_normal((count, len(spread)), np.float32) @ spread
        found += left * random.standard_normal((count, real.shape[1]), np.float32)
        drawn: Vectors = np.maximum(found, 0)
        return drawn

    return draw


def _gaussian(features: int) -> Draw:
    return lambda count, random: random.standard_normal((count, features), np.float32)


def _measured(draw: Draw, count: int, queries: int) -> Measured:
    random = np.random.default_rng(0)
    asked = draw(queries, random)
    vectors = np.empty((count, asked.shape[1]), np.float32)
    for start in range(0, count, BLOCK):
        vectors[start : start + BLOCK] = draw(min(BLOCK, count - start), random)
    began = time.perf_counter()
    norms = norms_of(vectors)
    index = VectorIndex(vectors, norms, coded(vectors, norms, lambda _: None))
    build_seconds = time.perf_counter() - began
    exact = VectorIndex(vectors, norms)
    index.search(asked[0], NEIGHBOURS)
    hits, query_seconds, exact_seconds = 0, [], []
    for query in asked:
        began = time.perf_counter()
        found = index.search(query, NEIGHBOURS)
        query_seconds.append(time.perf_counter() - began)
        began = time.perf_counter()
        reference = exact.search(query, NEIGHBOURS)
        exact_seconds.append(time.perf_counter() - began)
        hits += len({*found.rows.tolist()} & {*reference.rows.tolist()})
    return Measured(
        build_seconds,
        query_seconds,
        exact_seconds,
        hits / (NEIGHBOURS * queries),
        index.size_bytes,
    )


def _show(name: str, found: Measured, report: Report) -> None:
    query, exact = map(statistics.median, (found.query_seconds, found.exact_seconds))
    slowest = max(found.query_seconds)
    report.say(
        f"{name:10} build {found.build_seconds:6.1f} s, index {found.index_bytes / 1e6:6.1f} MB, "
        f"query median {1e3 * query:6.1f} ms, slowest {1e3 * slowest:6.1f} ms, "
        f"recall@{NEIGHBOURS} {found.recall:.4f}, exact {1e3 * exact:7.1f} ms "
        f"({exact / query:.1f} times)"
    )
    report.figures[name] = asdict(found)


if __name__ == "__main__":
    sys.exit(main())
