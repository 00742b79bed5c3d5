"""Projections of vectors onto a plane and into space: PCA and t-SNE.

PCA: Jolliffe, "Principal Component Analysis", 2002. t-SNE: van der Maaten, Hinton, "Visualizing
Data using t-SNE", JMLR 2008, on the first 50 principal components as they advise. Both are of
scikit-learn, on vectors of length 1, whose squared Euclidean distance is twice the cosine
distance; on one thread, since with more of them t-SNE gives other places in every run.
"""

import hashlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.cache import StageCache, content_key
from edge.embedding.exact import norms_of
from edge.progress import Progress
from edge.runtime.files import write_json
from edge.versions import versions

LEAST: Final = 4  # points: fewer have no three principal components
PERPLEXITY: Final = 30.0  # van der Maaten and Hinton advise 5 to 50
_COMPONENTS: Final = 50
_NAMES: Final = ("pca", "tsne2", "tsne3")


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """Places of n points.

    Attributes:
        pca: (n, 3) float32; the first two columns are the plane.
        tsne2: (n, 2) float32.
        tsne3: (n, 3) float32.
        explained: Share of the variance along each of the three components, 0..1.
        perplexity: Of t-SNE.
    """

    pca: NDArray[np.float32]
    tsne2: NDArray[np.float32]
    tsne3: NDArray[np.float32]
    explained: tuple[float, float, float]
    perplexity: float


def project(
    vectors: NDArray[np.float32], seed: int, cache: StageCache, progress: Progress
) -> Projection:
    """The projections of vectors (n, d) float32, n at least ``LEAST``; computed once.

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
            places = {"pca": reduced[:, :3]}
            for dimensions in (2, 3):
                with progress.stage(f"t-SNE {dimensions}-D"):
                    places[f"tsne{dimensions}"] = _tsne(reduced, dimensions, perplexity, seed)
        with cache.store(key) as folder:
            for name, array in places.items():
                np.save(folder / f"{name}.npy", array)
            write_json(folder / "explained.json", explained)
    return _kept(cache.entry(key), perplexity)


def _kept(entry: Path, perplexity: float) -> Projection:
    arrays = {name: np.load(entry / f"{name}.npy", allow_pickle=False) for name in _NAMES}
    first, second, third = json.loads((entry / "explained.json").read_text(encoding="utf-8"))
    return Projection(**arrays, explained=(first, second, third), perplexity=perplexity)


def _pca(units: NDArray[np.float32], seed: int) -> tuple[NDArray[np.float32], list[float]]:
    """At most 50 principal components of each point, and the share of the first three."""
    from sklearn.decomposition import PCA

    model = PCA(n_components=min(_COMPONENTS, *units.shape), random_state=seed)
    with warnings.catch_warnings():  # points that are all the same have no variance to share
        warnings.simplefilter("ignore", RuntimeWarning)
        reduced = model.fit_transform(units.astype(np.float64))
    shares = np.nan_to_num(model.explained_variance_ratio_)[:3].tolist()
    missing = 3 - reduced.shape[1]  # vectors of one or two numbers
    if missing > 0:
        reduced = np.pad(reduced, ((0, 0), (0, missing)))
    return reduced.astype(np.float32), shares + [0.0] * max(0, missing)


def _tsne(
    reduced: NDArray[np.float32], dimensions: int, perplexity: float, seed: int
) -> NDArray[np.float32]:
    from sklearn.manifold import TSNE

    # init as scikit-learn's "pca" scales it, but without dividing by a variance of zero.
    start = reduced[:, :dimensions].astype(np.float32)
    scale = float(start[:, 0].std()) or 1.0
    model = TSNE(
        n_components=dimensions, perplexity=perplexity, init=start / scale * 1e-4, random_state=seed
    )
    found: NDArray[np.float32] = model.fit_transform(reduced).astype(np.float32)
    return found


def _digest(units: NDArray[np.float32]) -> str:
    return hashlib.sha256(np.ascontiguousarray(units).data).hexdigest()
