"""What ``edge explain`` leaves in a folder: a page, pictures, and the numbers."""

import io
import re
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge.errors import OutputError
from edge.explanation.page import page
from edge.explanation.picture import filters_png, layers_png, maps_png
from edge.explanation.result import Explanation, ImageExplanation
from edge.runtime.files import write_bytes, write_json

PAGE: Final = "index.html"
RECORD: Final = "explanation.json"


def write(explained: Explanation, output: Path) -> dict[str, Any]:
    """Write every file; the record of them, as JSON values.

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
            "settings": explained.settings,
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
        "maps": [found.to_json() for found in item.maps],
        "layers": [{"name": layer.layer, "channels": layer.channels} for layer in item.layers],
    }


def _numbers(item: ImageExplanation) -> bytes:
    """An .npz of the image, a map by file, and ``layer NAME`` by layer."""
    arrays: dict[str, Any] = {"image": item.pixels}
    arrays |= {found.source: found.values for found in item.maps}
    arrays |= {f"layer {layer.layer}": layer.maps for layer in item.layers}
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def _name(number: int, image: str) -> str:
    """A file name that no other image of the run has, fit for any file system."""
    stem = re.sub(r"[^\w.-]+", "_", Path(image).stem)[:60].strip("._") or "image"
    return f"{number + 1:02}-{stem}"
