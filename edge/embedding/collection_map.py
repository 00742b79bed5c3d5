"""The map of a collection: where each picture lies, and what a person should look at."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.cache import StageCache
from edge.embedding.cleaning import Review, review
from edge.embedding.projection import LEAST, Projection, project
from edge.embedding.table import Embeddings
from edge.errors import DataError, ImageError
from edge.progress import Progress
from edge.runtime.files import readable, sha256_file
from edge.runtime.image import decode_image
from edge.threads import in_threads

THUMBNAIL: Final = 64  # pixels of the longer side
MOST_THUMBNAILS: Final = 4000  # of some 3 kB each in the page
_QUALITY: Final = 70
_BATCH: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionMap:
    """Points of a map, all sequences in the same order.

    Attributes:
        total: Images of the table; more than there are points, where a sample was drawn.
        paths: Of each point's image, fit to be printed.
        classes: Of each; "" where it has none.
        projection: Where it lies.
        review: Duplicates and outliers among the points.
        thumbnails: JPEG of each, or None: beyond the most, gone, or changed since.
        root: Folder that the paths are relative to.
        name: Of the network.
    """

    total: int
    paths: tuple[str, ...]
    classes: tuple[str, ...]
    projection: Projection
    review: Review
    thumbnails: tuple[bytes | None, ...]
    root: str
    name: str

    def to_json(self) -> dict[str, Any]:
        """The map as JSON values, without the pictures."""
        projection = self.projection
        return {
            "root": self.root,
            "name": self.name,
            "images": self.total,
            "points": len(self.paths),
            "thumbnails": sum(item is not None for item in self.thumbnails),
            "explained_variance": list(projection.explained),
            "perplexity": projection.perplexity,
            "review": self.review.to_json(self.paths),
            "paths": list(self.paths),
            "classes": list(self.classes),
            "pca": projection.pca.tolist(),
            "tsne_2d": projection.tsne2.tolist(),
            "tsne_3d": projection.tsne3.tolist(),
        }


def make_map(
    table: Embeddings,
    *,
    points: int,
    threshold: float,
    seed: int,
    cache: StageCache,
    progress: Progress,
) -> CollectionMap:
    """The map of an embedding file.

    Args:
        table: What ``edge embed`` wrote.
        points: At most so many; a sample is drawn of more.
        threshold: Cosine from which on two pictures are near duplicates.
        seed: Of the sample and of t-SNE.
        cache: Where the projections are kept.
        progress: Told of each stage.

    Raises:
        DataError: Too few images.
        OutputError: The cache cannot be written.
    """
    if len(table.paths) < LEAST:
        raise DataError(
            f"the file holds {len(table.paths)} images, a map needs {LEAST}",
            hint="Embed a folder with more pictures.",
        )
    rows = _sample(len(table.paths), points, seed)
    vectors = table.vectors[rows]
    projection = project(vectors, seed, cache, progress)
    with progress.stage("duplicates, outliers"):
        found = review(vectors, [table.sha256[row] for row in rows], threshold=threshold)
    thumbnails = _thumbnails(table, rows.tolist(), progress)
    return CollectionMap(
        total=len(table.paths),
        paths=tuple(readable(Path(table.paths[row])) for row in rows),
        classes=tuple(_shown(table.classes[row]) for row in rows),
        projection=projection,
        review=found,
        thumbnails=thumbnails,
        root=readable(Path(table.header.root)),
        name=table.header.name,
    )


def data_uri(jpeg: bytes | None) -> str:
    """The picture as a URL that holds it (RFC 2397); "" for none."""
    return "" if jpeg is None else "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def _sample(count: int, points: int, seed: int) -> NDArray[np.intp]:
    if count <= points:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, points, replace=False))


def _thumbnails(table: Embeddings, rows: list[int], progress: Progress) -> tuple[bytes | None, ...]:
    """A small picture of each row, as far as the page has room."""
    drawn = rows[:MOST_THUMBNAILS]
    found: list[bytes | None] = []
    with progress.stage("thumbnails", len(drawn)) as step:
        for start in range(0, len(drawn), _BATCH):
            batch = drawn[start : start + _BATCH]
            found += in_threads(lambda row: _thumbnail(table, row), batch)
            step(len(batch))
    return (*found, *[None] * (len(rows) - len(drawn)))


def _thumbnail(table: Embeddings, row: int) -> bytes | None:
    """A small JPEG of an image, if it still is the one that was embedded."""
    path, levels = table.file(row), table.header.preprocessing.levels
    try:
        if sha256_file(path) != table.sha256[row]:
            return None
        image = decode_image(path, minimum=(THUMBNAIL, THUMBNAIL), levels=levels)
    except (OSError, ImageError):
        return None
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()


def _shown(label: str) -> str:
    return readable(Path(label)) if label else ""
