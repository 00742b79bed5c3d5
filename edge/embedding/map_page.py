"""The map as one HTML file that loads nothing: a canvas, its script, and the small pictures."""

import json
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final

from edge.embedding.cleaning import Review
from edge.embedding.collection_map import CollectionMap, data_uri
from edge.embedding.colors import class_colors
from edge.runtime.printable import one_line

LISTED: Final = 50  # entries of each list on the page
_DIGITS: Final = 5  # of a coordinate


def map_page(result: CollectionMap) -> str:
    """The whole page."""
    here = resources.files("edge.embedding")
    page = here.joinpath("map.html").read_text(encoding="utf-8")
    script = here.joinpath("map.js").read_text(encoding="utf-8")
    # Within a script element only "<" can end it or begin a comment (HTML, section 13.2.5.4);
    # ASCII alone says the same whatever a name holds.
    data = json.dumps(_data(result), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return page.replace("__SCRIPT__", script.strip()).replace("__DATA__", data)


def _data(result: CollectionMap) -> dict[str, Any]:
    counts = Counter(map(one_line, result.classes))
    classes = sorted(counts)
    label = {name: index for index, name in enumerate(classes)}
    return {
        # The folder's name: whoever gets the page need not know where it lay.
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
    found: dict[str, Sequence[dict[str, Any]]] = {"same": same, "near": near, "outliers": far}
    totals = {"same": len(same), "near": review.near_total, "outliers": len(far)}
    return [
        {
            "title": titles[kind],
            "formula": review.formulas[kind],
            "items": list(items[:LISTED]),
            "total": totals[kind],
        }
        for kind, items in found.items()
    ]
