"""The map for people: one HTML file that loads nothing, and a picture of the two planes."""

import colorsys
import json
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge.embedding.cleaning import Review
from edge.embedding.collection_map import CollectionMap, data_uri
from edge.figures import plot_text, write_figure
from edge.runtime.printable import one_line

LISTED: Final = 50  # entries of each list on the page
_DIGITS: Final = 5  # significant digits of a coordinate


def map_page(result: CollectionMap) -> str:
    """Return the HTML of the page."""
    here = resources.files("edge.embedding")
    page = here.joinpath("map.html").read_text(encoding="utf-8")
    script = here.joinpath("map.js").read_text(encoding="utf-8")
    # Only "<" can end a script element or begin a comment in it (HTML, section 13.2.5.4), and
    # ASCII alone says the same in every encoding, whatever a name holds.
    data = json.dumps(_data(result), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return page.replace("__SCRIPT__", script.strip()).replace("__DATA__", data)


def _data(result: CollectionMap) -> dict[str, Any]:
    counts = Counter(map(one_line, result.classes))
    classes = sorted(counts)
    label = {name: index for index, name in enumerate(classes)}
    return {
        # The name of the folder alone: whoever gets the page need not know where it lay.
        "title": f"{one_line(Path(result.root).name) or 'Map'}: {len(result.paths)} pictures",
        "summary": _summary(result),
        "paths": [one_line(path) for path in result.paths],
        "classes": classes,
        "counts": [counts[name] for name in classes],
        "colors": class_colors(classes),
        "label": [label[one_line(name)] for name in result.classes],
        "thumbnails": [data_uri(jpeg) for jpeg in result.thumbnails],
        "pca": _rounded(result.projection.pca),
        "tsne2": _rounded(result.projection.tsne2),
        "tsne3": _rounded(result.projection.tsne3),
        "explained": list(result.projection.explained),
        "perplexity": round(result.projection.perplexity, 1),
        "lists": _lists(result.review),
    }


def _summary(result: CollectionMap) -> str:
    parts = [f"Embeddings by {one_line(result.name)}, compared by cosine."]
    if result.total > len(result.paths):
        parts.append(f"A random sample of the {result.total} pictures in the file.")
    missing = sum(jpeg is None for jpeg in result.thumbnails)
    if missing:
        parts.append(f"{missing} without a small picture: too many, or moved or changed since.")
    return " ".join(parts)


def _rounded(array: Any) -> list[list[float]]:
    return [[float(f"{value:.{_DIGITS}g}") for value in point] for point in array.tolist()]


def _lists(review: Review) -> list[dict[str, Any]]:
    same = [{"rows": group[:4], "value": f"{len(group)} files"} for group in review.same]
    near = [
        {"rows": [pair.first, pair.second], "value": f"cosine {pair.cosine:.4f}"}
        for pair in review.near
    ]
    far = [
        {"rows": [item.row], "value": f"distance {item.distance:.3f}, z {item.score:.1f}"}
        for item in review.outliers
    ]
    titles = {"same": "Duplicates", "near": "Near duplicates", "outliers": "Outliers"}
    lists: dict[str, Sequence[dict[str, Any]]] = {"same": same, "near": near, "outliers": far}
    totals = {"same": len(same), "near": review.near_total, "outliers": len(far)}
    return [
        {
            "title": titles[kind],
            "formula": review.formulas[kind],
            "items": list(items[:LISTED]),
            "total": totals[kind],
        }
        for kind, items in lists.items()
    ]


_NAMED: Final = 24  # classes; a legend of more does not help
_LONGEST: Final = 24  # characters of a name in the legend


def draw_map(result: CollectionMap, path: Path) -> None:
    """Write the map as a PNG picture: PCA and t-SNE on the plane, side by side.

    Raises:
        OutputError: The picture cannot be written.
    """
    write_figure(_figure(result), path, dpi=96)


def _figure(result: CollectionMap) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 5.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    projection = result.projection
    first, second = (100 * share for share in projection.explained[:2])
    for panel, points in ((left, projection.pca), (right, projection.tsne2)):
        _scatter(panel, points, result)
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


def _scatter(panel: Any, points: Any, result: CollectionMap) -> None:
    classes = sorted(set(result.classes))
    labels = np.array(result.classes)
    size = 6 if len(labels) > 1000 else 14
    for name, color in zip(classes, class_colors(classes), strict=True):
        some = points[labels == name]
        label = plot_text(name or "no class", _LONGEST)
        panel.scatter(some[:, 0], some[:, 1], s=size, color=color, linewidths=0, label=label)


# Matplotlib's "tab10" (Tableau), readable on light and dark paper.
_TEN: Final = (
    "#1f77b4",
    "#ff7f0e",
    "#2ca02c",
    "#d62728",
    "#9467bd",
    "#8c564b",
    "#e377c2",
    "#17becf",
    "#bcbd22",
    "#7f7f7f",
)
_GREY: Final = "#8a8a8a"  # the colour of what has no class
_GOLDEN: Final = 0.61803398875  # hues a golden section apart come close only after many


def class_colors(classes: Sequence[str]) -> list[str]:
    """Return a colour, ``#rrggbb``, for each class; grey for the one without a name.

    The colours tell classes apart on white and on black.
    """
    named = [name for name in classes if name]
    if len(named) <= len(_TEN):
        colors = dict(zip(named, _TEN, strict=False))
    else:
        colors = {name: _hue(number) for number, name in enumerate(named)}
    return [colors.get(name, _GREY) for name in classes]


def _hue(number: int) -> str:
    lightness = (0.45, 0.6)[number % 2]
    rgb = colorsys.hls_to_rgb(number * _GOLDEN % 1, lightness, 0.65)
    return "#" + "".join(f"{round(255 * value):02x}" for value in rgb)
