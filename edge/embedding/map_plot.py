"""The map as a picture: PCA and t-SNE on the plane, side by side."""

import io
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge.embedding.collection_map import CollectionMap
from edge.embedding.colors import class_colors
from edge.markup import plot_text
from edge.runtime.place import write_output

_NAMED: Final = 24  # classes of which a legend still helps
_LONGEST: Final = 24  # characters of a name in the legend


def draw_map(result: CollectionMap, path: Path) -> None:
    """Write the picture, PNG.

    Raises:
        OutputError: The picture cannot be written.
    """
    stream = io.BytesIO()
    _figure(result).savefig(stream, format="png", dpi=96, metadata={"Software": None})
    write_output(path, stream.getvalue())


def _figure(result: CollectionMap) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 5.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    projection = result.projection
    first, second = (100 * share for share in projection.explained[:2])
    for panel, places in ((left, projection.pca), (right, projection.tsne2)):
        _scatter(panel, places, result)
        panel.set_aspect("equal", adjustable="datalim")
        panel.grid(alpha=0.2)
    left.set_title("PCA")
    left.set_xlabel(f"component 1: {first:.1f} % of the variance")
    left.set_ylabel(f"component 2: {second:.1f} %")
    right.set_title(f"t-SNE, perplexity {projection.perplexity:g}")
    right.tick_params(labelbottom=False, labelleft=False)
    if 1 < len(set(result.classes)) <= _NAMED:
        figure.legend(*left.get_legend_handles_labels(), loc="outside right center", markerscale=2)
    name, source = plot_text(Path(result.root).name), plot_text(result.name)
    figure.suptitle(f"{name}: {len(result.paths)} pictures by {source}")
    return figure


def _scatter(panel: Any, places: Any, result: CollectionMap) -> None:
    classes = sorted(set(result.classes))
    labels = np.array(result.classes)
    size = 6 if len(labels) > 1000 else 14
    for name, color in zip(classes, class_colors(classes), strict=True):
        points = places[labels == name]
        label = plot_text(name or "no class", _LONGEST)
        panel.scatter(points[:, 0], points[:, 1], s=size, color=color, linewidths=0, label=label)
