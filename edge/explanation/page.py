"""``index.html``: every picture and figure of an explanation in one file that needs no other."""

import base64
from collections.abc import Sequence
from html import escape
from typing import Final

from edge.explanation.result import Explanation, HeatMap, ImageExplanation
from edge.markup import printable

_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .25rem .9rem .25rem 0; text-align: right; }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left; }
tr { border-bottom: 1px solid #8884; }
h2 { margin-top: 3rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
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
    """The page.

    Args:
        explained: What was found.
        maps: PNG of each image's maps.
        layers: PNG of each image's layers, where there are some.
        filters: PNG of the first filters, where there are some.
    """
    title = f"What {_text(explained.name)} looks at"
    parts = [f"<h1>{title}</h1>", _how(explained)]
    for item, map_png, layer_png in zip(explained.images, maps, layers, strict=True):
        parts.append(_image(item, map_png, layer_png))
    if filters is not None and explained.filters is not None:
        parts.append("<h2>First filters</h2>" + _picture(filters, "filters of the first layer"))
    for path, why in explained.problems.items():
        parts.append(f"<p>Not explained: {_text(path)}: {_text(why)}</p>")
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
        f"{settings['masks']} times, parts of the image were replaced by the blurred image, and "
        "the very file that the device runs answered. Bright is what its answer stands on, in "
        "log-odds of the class."
    )
    cam = (
        f"Grad-CAM: gradients of the Keras model at {_text(str(settings['gradcam_layer']))}, "
        f"its last feature map of {' x '.join(map(str, settings['gradcam_places']))} places; "
        "without a scale that compares with the others."
        if not explained.without_gradcam
        else f"No Grad-CAM: {_text(explained.without_gradcam)}."
    )
    alike = (
        "r: Pearson correlation with the map of the first file, 1 for equal ones. Repeatability: "
        "the correlation to be expected with a map of as many other random masks."
    )
    return f"<p>{covered}</p><p>{cam} {alike}</p>"


def _image(item: ImageExplanation, maps: bytes, layers: bytes | None) -> str:
    head = f"<h2>{_text(item.image)}: {_text(item.label)}</h2>"
    rows = "".join(_row(found) for found in item.maps)
    columns = "".join(f"<th>{name}</th>" for name in _COLUMNS)
    table = f'<div class="scroll"><table><tr>{columns}</tr>{rows}</table></div>'
    shown = _picture(maps, f"maps of {item.image}")
    if layers is not None:
        shown += "<h3>Layers of the Keras model</h3>" + _picture(layers, "channels of layers")
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
    return "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in cells) + "</tr>"


def _picture(png: bytes, alt: str) -> str:
    return f'<img alt="{_text(alt)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _text(text: str) -> str:
    return escape(printable(text))
