"""The map of a collection: where each picture lies, and what a person should look at.

The projections onto a plane and into space are PCA (Jolliffe, "Principal Component Analysis",
2002) and t-SNE (van der Maaten, Hinton, "Visualizing Data using t-SNE", JMLR 2008) on the first 50
principal components, as they advise. Both come from scikit-learn and see vectors of length 1, whose
squared Euclidean distance is twice the cosine distance. They run on one thread, since with more of
them t-SNE gives other positions in every run.
"""

import base64
import hashlib
import io
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.cache import StageCache, content_key
from edge.embedding.cleaning import Review, review
from edge.embedding.index import norms_of
from edge.embedding.table import Embeddings
from edge.errors import DataError, ImageError
from edge.progress import Progress
from edge.runtime.files import readable, sha256_file, write_json
from edge.runtime.image import decode_image
from edge.threads import in_threads
from edge.versions import versions

THUMBNAIL: Final = 64  # pixels of the longer side
MOST_THUMBNAILS: Final = 4000  # each takes some 3 kB in the page
_QUALITY: Final = 70
_BATCH: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """The positions of n points.

    Attributes:
        pca: (n, 3) float32; the first two columns are the plane.
        tsne2: (n, 2) float32.
        tsne3: (n, 3) float32.
        explained: The share of the variance along each of the three components, 0..1.
        perplexity: The perplexity of t-SNE.
    """

    pca: NDArray[np.float32]
    tsne2: NDArray[np.float32]
    tsne3: NDArray[np.float32]
    explained: tuple[float, float, float]
    perplexity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionMap:
    """The points of a map; all sequences are in the same order.

    Attributes:
        total: The number of images in the table; a sample of them was drawn if there are fewer
            points.
        paths: The path of each point's image, fit to be printed.
        classes: The class of each image; "" if it has none.
        projection: Where each point lies.
        review: Duplicates and outliers among the points.
        thumbnails: The JPEG of each image; None if there are too many, or if the file is gone or
            has changed since.
        root: The folder that the paths are relative to.
        name: The name of the network.
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
        """Return the map as JSON values, without the pictures."""
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
    """Make the map of an embedding file.

    Args:
        table: The content of the file that ``edge embed`` wrote.
        points: The maximum number of points; a sample is drawn if there are more images.
        threshold: The cosine from which on two pictures are near duplicates.
        seed: The seed of the sample and of t-SNE.
        cache: The cache that keeps the projections.
        progress: It is told of each stage.

    Raises:
        DataError: There are too few images.
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
        reviewed = review(vectors, [table.sha256[row] for row in rows], threshold=threshold)
    thumbnails = _thumbnails(table, rows.tolist(), progress)
    return CollectionMap(
        total=len(table.paths),
        paths=tuple(readable(Path(table.paths[row])) for row in rows),
        classes=tuple(_shown(table.classes[row]) for row in rows),
        projection=projection,
        review=reviewed,
        thumbnails=thumbnails,
        root=readable(Path(table.header.root)),
        name=table.header.name,
    )


def data_uri(jpeg: bytes | None) -> str:
    """Return a URL that holds the picture (RFC 2397); "" if there is none."""
    return "" if jpeg is None else "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def _sample(count: int, points: int, seed: int) -> NDArray[np.intp]:
    if count <= points:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, points, replace=False))


def _thumbnails(table: Embeddings, rows: list[int], progress: Progress) -> tuple[bytes | None, ...]:
    """Make a small picture of each row, as far as the page has room."""
    drawn = rows[:MOST_THUMBNAILS]
    thumbnails: list[bytes | None] = []
    with progress.stage("thumbnails", len(drawn)) as step:
        for start in range(0, len(drawn), _BATCH):
            batch = drawn[start : start + _BATCH]
            thumbnails += in_threads(lambda row: _thumbnail(table, row), batch)
            step(len(batch))
    return (*thumbnails, *[None] * (len(rows) - len(drawn)))


def _thumbnail(table: Embeddings, row: int) -> bytes | None:
    """Make a small JPEG of an image if it still is the one that was embedded."""
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


LEAST: Final = 4  # points; fewer have no three principal components
PERPLEXITY: Final = 30.0  # van der Maaten and Hinton advise 5 to 50
_COMPONENTS: Final = 50
_NAMES: Final = ("pca", "tsne2", "tsne3")


def project(
    vectors: NDArray[np.float32], seed: int, cache: StageCache, progress: Progress
) -> Projection:
    """Project vectors (n, d) float32, n at least ``LEAST``; what was computed once is kept.

    Raises:
        OutputError: The cache cannot be written.
    """
    import sklearn
    from threadpoolctl import threadpool_limits

    units = vectors / norms_of(vectors)[:, None]
    perplexity = float(min(PERPLEXITY, (len(units) - 1) / 3))
    parts = {
        "vectors": _digest(units),
        "seed": seed,
        "perplexity": perplexity,
        "versions": versions() | {"scikit-learn": sklearn.__version__},
    }
    key = content_key("projection", parts)
    if cache.find(key) is None:
        with threadpool_limits(1):
            with progress.stage("PCA"):
                reduced, explained = _pca(units, seed)
            positions = {"pca": reduced[:, :3]}
            for dimensions in (2, 3):
                with progress.stage(f"t-SNE {dimensions}-D"):
                    positions[f"tsne{dimensions}"] = _tsne(reduced, dimensions, perplexity, seed)
        with cache.store(key) as folder:
            for name, array in positions.items():
                np.save(folder / f"{name}.npy", array)
            write_json(folder / "explained.json", explained)
    return _kept(cache.entry(key), perplexity)


def _kept(entry: Path, perplexity: float) -> Projection:
    arrays = {name: np.load(entry / f"{name}.npy", allow_pickle=False) for name in _NAMES}
    first, second, third = json.loads((entry / "explained.json").read_text(encoding="utf-8"))
    return Projection(**arrays, explained=(first, second, third), perplexity=perplexity)


def _pca(units: NDArray[np.float32], seed: int) -> tuple[NDArray[np.float32], list[float]]:
    """Return at most 50 principal components of each point, and the shares of the first three."""
    from sklearn.decomposition import PCA

    model = PCA(n_components=min(_COMPONENTS, *units.shape), random_state=seed)
    with warnings.catch_warnings():  # points that are all the same have no variance to share
        warnings.simplefilter("ignore", RuntimeWarning)
        reduced = model.fit_transform(units.astype(np.float64))
    shares = np.nan_to_num(model.explained_variance_ratio_)[:3].tolist()
    missing = 3 - reduced.shape[1]  # above zero for vectors of one or two numbers
    if missing > 0:
        reduced = np.pad(reduced, ((0, 0), (0, missing)))
    return reduced.astype(np.float32), shares + [0.0] * max(0, missing)


def _tsne(
    reduced: NDArray[np.float32], dimensions: int, perplexity: float, seed: int
) -> NDArray[np.float32]:
    from sklearn.manifold import TSNE

    # The start is that of scikit-learn's init="pca", but no variance of zero divides it.
    start = reduced[:, :dimensions].astype(np.float32)
    scale = float(start[:, 0].std()) or 1.0
    model = TSNE(
        n_components=dimensions, perplexity=perplexity, init=start / scale * 1e-4, random_state=seed
    )
    embedded: NDArray[np.float32] = model.fit_transform(reduced).astype(np.float32)
    return embedded


def _digest(units: NDArray[np.float32]) -> str:
    return hashlib.sha256(np.ascontiguousarray(units).data).hexdigest()
