"""What ``edge explain`` leaves in a folder: a page that needs no other file, pictures, numbers."""

import base64
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np

from edge.errors import OutputError
from edge.explanation.picture import filters_png, layers_png, maps_png
from edge.explanation.result import Explanation, HeatMap, ImageExplanation
from edge.runtime.files import write_bytes, write_json
from edge.runtime.printable import one_line

PAGE: Final = "index.html"
RECORD: Final = "explanation.json"


def write(explained: Explanation, output: Path) -> dict[str, Any]:
    """Write every file, and return the record of them as JSON values.

    Raises:
        OutputError: The folder cannot be written.
    """
    try:
        output.mkdir(exist_ok=True)
        maps, layers, images = [], [], []
        for number, item in enumerate(explained.images):
            name = _name(number, item.image)
            maps.append(maps_png(item))
            write_bytes(output / f"{name}.png", maps[-1])
            write_bytes(output / f"{name}.npz", _numbers(item))
            layers.append(layers_png(item.layers) if item.layers else None)
            if layers[-1] is not None:
                write_bytes(output / f"{name}-layers.png", layers[-1])
            images.append(_record(item, name))
        filters = None if explained.filters is None else filters_png(*explained.filters)
        if filters is not None:
            write_bytes(output / "filters.png", filters)
        html = page(explained, maps, layers, filters)
        write_bytes(output / PAGE, html.encode())
        record = {
            "name": explained.name,
            "settings": asdict(explained.settings),
            "images": images,
            "problems": explained.problems,
            "without_keras": explained.without_keras,
            "without_gradcam": explained.without_gradcam,
        }
        write_json(output / RECORD, record)
    except OSError as error:
        raise OutputError(
            f"{output} cannot be written: {error.strerror or error}",
            hint="Free some space, or choose another --output.",
        ) from error
    return record


def _record(item: ImageExplanation, name: str) -> dict[str, Any]:
    return {
        "image": item.image,
        "class": item.label,
        "picture": f"{name}.png",
        "data": f"{name}.npz",
        "maps": [heat_map.to_json() for heat_map in item.maps],
        "layers": [{"name": layer.layer, "channels": layer.channels} for layer in item.layers],
    }


def _numbers(item: ImageExplanation) -> bytes:
    """Return an .npz of the image, a map by file, and ``layer NAME`` by layer."""
    arrays: dict[str, Any] = {"image": item.pixels}
    arrays |= {heat_map.source: heat_map.values for heat_map in item.maps}
    arrays |= {f"layer {layer.layer}": layer.maps for layer in item.layers}
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def _name(number: int, image: str) -> str:
    """Return a file name that no other image of the run has, fit for any file system."""
    stem = re.sub(r"[^\w.-]+", "_", Path(image).stem)[:60].strip("._") or "image"
    return f"{number + 1:02}-{stem}"


_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .25rem .9rem .25rem 0; text-align: right; }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left; }
tr { border-bottom: 1px solid #8884; }
h2 { margin-top: 3rem; overflow-wrap: anywhere; }
p, td { overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  table, tbody, tr, td { display: block; }
  tr:first-child { display: none; }
  tr { padding: .3rem 0; }
  td, td:nth-child(2) { padding: 0; text-align: left; }
  td:first-child { font-weight: 600; }
  td:not(:first-child) { padding-left: 1rem; }
  td:not(:first-child)::before { content: attr(data-title) ": "; opacity: .7; }
  td:empty { display: none; }
}
"""
_COLUMNS: Final = (
    "file",
    "method",
    "probability",
    "answer",
    "r",
    "repeatability",
    "inferences",
    "seconds",
)


def page(
    explained: Explanation,
    maps: Sequence[bytes],
    layers: Sequence[bytes | None],
    filters: bytes | None,
) -> str:
    """Return the HTML of the page.

    Args:
        explained: What the page shows.
        maps: The PNG with the maps of each image.
        layers: The PNG with the layers of each image, or None.
        filters: The PNG of the first filters, or None.
    """
    title = f"What {_text(explained.name)} looks at"
    parts = [f"<h1>{title}</h1>", _how(explained)]
    # Whoever gets the page need not know where the pictures lay.
    names = short_names([*(item.image for item in explained.images), *explained.problems])
    for item, map_png, layer_png in zip(explained.images, maps, layers, strict=True):
        parts.append(_image(item, names[item.image], map_png, layer_png))
    if filters is not None and explained.filters is not None:
        parts.append("<h2>First filters</h2>" + _picture(filters, "filters of the first layer"))
    for path, why in explained.problems.items():
        parts.append(f"<p>Not explained: {_text(why.replace(path, names[path]))}</p>")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _how(explained: Explanation) -> str:
    settings = explained.settings
    covered = (
        f"{settings.masks} times, parts of the image were replaced by the blurred image, and "
        "the very file that the device runs answered. Bright is what its answer stands on, in "
        "log-odds of the class."
    )
    cam = (
        f"Grad-CAM: gradients of the Keras model at {_text(str(settings.gradcam_layer))}, "
        f"its last feature map of {' x '.join(map(str, settings.gradcam_places or ()))} places; "
        "without a scale that compares with the others."
        if not explained.without_gradcam
        else f"No Grad-CAM: {_text(explained.without_gradcam)}."
    )
    alike = (
        "r: Pearson correlation with the map of the first file, 1 for equal ones. Repeatability: "
        "the correlation to be expected with a map of as many other random masks."
    )
    return f"<p>{covered}</p><p>{cam} {alike}</p>"


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """Return the end of each path that tells it from the others: mostly the name of the file."""
    names = {path: PurePosixPath(path).name or path for path in paths}
    for length in range(2, 1 + max((len(PurePosixPath(path).parts) for path in paths), default=0)):
        count = Counter(names.values())
        for path, name in names.items():
            if count[name] > 1:
                names[path] = "/".join(PurePosixPath(path).parts[-length:])
    return names


def _image(item: ImageExplanation, name: str, maps: bytes, layers: bytes | None) -> str:
    head = f"<h2>{_text(name)}: {_text(item.label)}</h2>"
    rows = "".join(_row(heat_map) for heat_map in item.maps)
    columns = "".join(f"<th>{name}</th>" for name in _COLUMNS)
    table = f"<table><tr>{columns}</tr>{rows}</table>"
    files = ", ".join(dict.fromkeys(heat_map.source for heat_map in item.maps))
    shown = _picture(maps, f"{name}, and what {files} look at in it for {item.label}")
    if layers is not None:
        shown += "<h3>Layers of the Keras model</h3>" + _picture(
            layers, f"what channels of the Keras model's layers answer to {name}"
        )
    return head + shown + table


def _row(item: HeatMap) -> str:
    r = "flat" if item.flat else "" if item.correlation is None else f"{item.correlation:.3f}"
    cells = (
        item.source,
        item.method,
        f"{100 * item.score:.1f} %",
        item.answer,
        r,
        "" if item.repeatability is None else f"{item.repeatability:.3f}",
        str(item.invokes),
        f"{item.seconds:.1f}",
    )
    row = "".join(
        f'<td data-title="{title}">{_text(cell)}</td>'
        for title, cell in zip(_COLUMNS, cells, strict=True)
    )
    return f"<tr>{row}</tr>"


def _picture(png: bytes, alt: str) -> str:
    return f'<img alt="{_text(alt)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _text(text: str) -> str:
    return escape(one_line(text))
