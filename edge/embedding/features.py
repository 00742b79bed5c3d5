"""Features of images, computed once: one pass of the base, kept by content hash.

The base runs as a float TFLite file on edge's own runtime: the same kernels and the same
preprocessing as on the device, and half the time of Keras on a CPU.
"""

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from edge.cache import StageCache, content_key, is_damage, remove_database, say
from edge.dataset.pictures import Hashed
from edge.errors import OutputError, cause_of
from edge.evaluation.cluster import run_on_cluster
from edge.evaluation.predictions import Answer, run_images
from edge.progress import Step
from edge.runtime.contract import Preprocessing
from edge.runtime.files import sha256_file

_CHECK: Final = 8  # bytes of the checksum in front of each vector
COMMIT_EVERY: Final = 64  # images; at most so many are computed again after a kill


class FeatureStore:
    """Vectors by (extractor, image content), in one SQLite file: safe against kill -9.

    Each vector carries a checksum of itself and of its name. A vector whose checksum does not fit
    is computed again, and so are all vectors if SQLite finds the file damaged.

    Args:
        path: The path of the file, which is created if it is missing.

    Raises:
        OutputError: The file cannot be opened or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._doubted = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
        except (sqlite3.Error, OSError) as error:
            raise _unwritable(path, error) from error

    def _open(self) -> None:
        """Open the file, and make it anew if it is damaged."""
        try:
            self._connect()
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            self._remake(error)

    def _connect(self) -> None:
        self._database = sqlite3.connect(self._path, timeout=60, isolation_level=None)
        try:
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS features (extractor TEXT, image TEXT, vector BLOB,"
                " PRIMARY KEY (extractor, image)) WITHOUT ROWID"
            )
            self._database.execute("SELECT extractor, image, vector FROM features LIMIT 1")
        except sqlite3.Error:
            self._database.close()
            raise

    def _remake(self, error: sqlite3.Error) -> None:
        self._database.close()
        say(f"{self._path.name} in the cache is damaged ({error}); all in it is computed again")
        remove_database(self._path)
        self._connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._database.close()
        if self._doubted:
            say(
                f"{self._doubted} features in {self._path.name} of the cache did not fit their "
                "checksums; they are computed again"
            )

    def find(self, extractor: str, image: str) -> NDArray[np.float32] | None:
        """Return the vector of an image, float32, or None."""
        try:
            with closing(self._database.cursor()) as cursor:
                row = cursor.execute(
                    "SELECT vector FROM features WHERE extractor = ? AND image = ?",
                    (extractor, image),
                ).fetchone()
        except sqlite3.Error as error:
            self._mend(error)
            return None
        if row is None:
            return None
        kept, vector = (
            (row[0][:_CHECK], row[0][_CHECK:]) if isinstance(row[0], bytes) else (b"",) * 2
        )
        if kept != _checksum(extractor, image, vector):
            self._doubted += 1
            return None
        return np.frombuffer(vector, np.float32)

    def add(self, extractor: str, vectors: Sequence[tuple[str, NDArray[np.float32]]]) -> None:
        """Keep vectors, all or none, by the content hash of their images.

        Raises:
            OutputError: The file cannot be written; the disk is full, for example.
        """
        rows = []
        for image, vector in vectors:
            content = vector.tobytes()
            rows.append((extractor, image, _checksum(extractor, image, content) + content))
        try:
            self._insert(rows)
        except sqlite3.Error as error:
            self._mend(error)
            try:
                self._insert(rows)
            except sqlite3.Error as again:
                raise _unwritable(self._path, again) from again

    def _insert(self, rows: Sequence[tuple[str, str, bytes]]) -> None:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            self._database.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?)", rows)
            self._database.execute("COMMIT")
        except sqlite3.Error:
            if self._database.in_transaction:
                with suppress(sqlite3.Error):
                    self._database.execute("ROLLBACK")
            raise

    def _mend(self, error: sqlite3.Error) -> None:
        """Make a damaged file anew.

        Raises:
            OutputError: The file is not damaged, but cannot be written.
        """
        if not is_damage(error):
            raise _unwritable(self._path, error) from error
        try:
            self._remake(error)
        except (sqlite3.Error, OSError) as again:
            raise _unwritable(self._path, again) from again


def _checksum(extractor: str, image: str, vector: bytes) -> bytes:
    """Return 8 bytes of BLAKE2b (RFC 7693) of a vector, keyed by what it is kept by."""
    return hashlib.blake2b(
        vector, digest_size=_CHECK, key=hashlib.sha256(f"{extractor} {image}".encode()).digest()
    ).digest()


def _unwritable(path: Path, error: Exception) -> OutputError:
    return OutputError(
        f"the feature cache {path} cannot be written: {cause_of(error)}",
        hint="Free some space, or name another place with EDGE_CACHE or --cache.",
    )


@dataclass(frozen=True, slots=True)
class Features:
    """The features of the readable images among those asked for.

    Attributes:
        vectors: (readable images, features) float32, in the order that was asked for.
        problems: The reason why each of the other images could not be read.
        reused: The number of vectors that an earlier run had computed.
    """

    vectors: NDArray[np.float32]
    problems: dict[Path, str]
    reused: int


def extract(
    extractor: Path,
    images: Sequence[Hashed],
    preprocessing: Preprocessing,
    *,
    cache: StageCache,
    step: Step,
    dask: str | None = None,
) -> Features:
    """Compute the features of every readable image.

    Args:
        extractor: The TFLite file: RGB 0..255 -> (1, features).
        images: The images to read.
        preprocessing: The contract of its input.
        cache: The cache that has the earlier vectors and keeps the new ones.
        step: It is told of each finished image.
        dask: The address of a Dask scheduler, or ``local``: its workers compute, with the same
            results and with the errors of ``run_on_cluster``. None computes in this process.

    Raises:
        ModelLoadError: The extractor does not load.
        OutputError: The cache cannot be written.
    """
    name = content_key(
        "features", {"model": sha256_file(extractor), "preprocessing": preprocessing.sha256}
    )
    cache.hold()
    with FeatureStore(cache.root / "features.sqlite") as store:
        known = {image.sha256: store.find(name, image.sha256) for image in images}
        missing = [image for image in images if known[image.sha256] is None]
        step(len(images) - len(missing))
        problems: dict[Path, str] = {}
        fresh: list[tuple[str, NDArray[np.float32]]] = []
        for answer in _answers(extractor, missing, preprocessing, dask):
            image = missing[answer.position]
            if answer.values is None:
                problems[image.path] = answer.problem
            else:
                known[image.sha256] = answer.values
                fresh.append((image.sha256, answer.values))
            if len(fresh) >= COMMIT_EVERY:
                store.add(name, fresh)
                fresh.clear()
            step(1)
        store.add(name, fresh)
    vectors = [known[image.sha256] for image in images if image.path not in problems]
    rows = [vector for vector in vectors if vector is not None]
    stacked = np.stack(rows) if rows else np.empty((0, 0), np.float32)
    return Features(stacked, problems, len(images) - len(missing))


def _answers(
    extractor: Path, images: Sequence[Hashed], preprocessing: Preprocessing, dask: str | None
) -> Iterator[Answer]:
    """Yield the answers in any order."""
    if dask is None:
        return run_images(extractor, [image.path for image in images], preprocessing)
    return run_on_cluster(dask, extractor, images, preprocessing)
