"""The maps as pictures: all files side by side on one scale, layers and filters as grids."""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.explanation.keras_model import MOST_CHANNELS
from edge.explanation.result import KERAS, HeatMap, ImageExplanation, LayerMaps
from edge.figures import figure_bytes
from edge.runtime.preprocess import picture_of
from edge.runtime.printable import one_line

COLOR_MAP: Final = "viridis"  # perceptually even, and legible to the colour-blind
DOTS: Final = 110  # per inch
LONGEST: Final = 60  # characters of a name
PANEL: Final = 2.7  # inches


def maps_png(explained: ImageExplanation) -> bytes:
    """Draw the image, then each map over it in grey; the maps of the files share one scale."""
    from matplotlib.figure import Figure

    panels = len(explained.maps) + 1
    figure = Figure(figsize=(PANEL * panels + 0.9, PANEL + 0.75), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    axes[0].imshow(np.asarray(picture_of(explained.pixels).convert("RGB")), interpolation="nearest")
    _title(axes[0], f"what the models see\nexplained: {_name(explained.label)}\n")
    files = [item for item in explained.maps if item.source != KERAS]
    top = max((float(item.values.max()) for item in files), default=0.0)
    drawn = None
    for axis, item in zip(axes[1:], explained.maps, strict=True):
        own = float(item.values.max()) if item.source == KERAS else top
        shown = _overlay(axis, explained.pixels, item.values, own)
        drawn = drawn if item.source == KERAS else shown
        _title(axis, _caption(item, explained.label))
    for axis in axes:
        axis.set_axis_off()
    if drawn is not None and top > 0:
        figure.colorbar(drawn, ax=list(axes), shrink=0.9, label="log-odds of the class")
    return figure_bytes(figure, "png", dpi=DOTS)


def layers_png(layers: Sequence[LayerMaps]) -> bytes:
    """Draw the channels of each layer in a grid, each on its own scale."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PANEL * 1.5 * len(layers), PANEL * 1.5 + 0.5), layout="constrained")
    for axis, layer in zip(figure.subplots(1, len(layers), squeeze=False)[0], layers, strict=True):
        tiles = [_to_unit(layer.maps[:, :, channel]) for channel in range(layer.maps.shape[2])]
        axis.imshow(_grid(tiles), cmap=COLOR_MAP, interpolation="nearest", vmin=0, vmax=1)
        height, width = layer.maps.shape[:2]
        shown = f"{len(tiles)} of {layer.channels}" if len(tiles) < layer.channels else len(tiles)
        _title(axis, f"{_name(layer.layer)}\n{shown} channels of {height} x {width}")
        axis.set_axis_off()
    return figure_bytes(figure, "png", dpi=DOTS)


def filters_png(name: str, kernel: NDArray[np.float32]) -> bytes:
    """Draw filters (height, width, 3, filters) in colour, all on one scale around grey."""
    from matplotlib.figure import Figure

    most = float(np.abs(kernel).max()) or 1.0
    tiles = [kernel[..., number] / (2 * most) + 0.5 for number in range(kernel.shape[-1])]
    figure = Figure(figsize=(PANEL * 1.5, PANEL * 1.5 + 0.5), layout="constrained")
    axis = figure.subplots()
    axis.imshow(_grid(tiles[:MOST_CHANNELS]), interpolation="nearest")
    height, width = kernel.shape[:2]
    shown = min(len(tiles), MOST_CHANNELS)
    many = f"{shown} of {len(tiles)}" if shown < len(tiles) else f"{shown}"
    _title(axis, f"{_name(name)}\n{many} filters of {height} x {width}; grey is 0")
    axis.set_axis_off()
    return figure_bytes(figure, "png", dpi=DOTS)


def _overlay(axis: Any, pixels: NDArray[np.uint8], values: NDArray[np.float32], top: float) -> Any:
    """Draw the image in light grey, and the map over it, opaque where its values are high."""
    grey = pixels[:, :, :3].astype(np.float32).mean(axis=2)  # without opacity
    axis.imshow(grey, cmap="gray", interpolation="nearest", vmin=-60, vmax=255)
    share = np.clip(values / top, 0, 1) if top > 0 else np.zeros_like(values)
    return axis.imshow(
        np.clip(values, 0, None),
        cmap=COLOR_MAP,
        alpha=0.2 + 0.5 * share,
        vmin=0,
        vmax=top or 1.0,
        interpolation="bilinear",
    )


def _caption(item: HeatMap, label: str) -> str:
    method = {"grad-cam": "Grad-CAM"}.get(item.method, item.method)
    says = "" if item.answer == label else f" (it says {_name(item.answer)})"
    if item.flat:
        third = "flat: nothing covered changed it"
    elif item.correlation is None:
        third = ""
    else:
        third = f"r = {item.correlation:.2f} with the first file"
    if item.repeatability is not None and not item.flat:
        third += f"{', ' if third else ''}repeatability {item.repeatability:.2f}"
    return f"{_name(item.source)}, {method}\n{_name(label)} {100 * item.score:.1f} %{says}\n{third}"


def _name(text: str) -> str:
    return one_line(text, LONGEST)


def _title(axis: Any, text: str) -> None:
    axis.set_title(text, fontsize=8, parse_math=False)


def _to_unit(tile: NDArray[np.float32]) -> NDArray[np.float32]:
    low, high = float(tile.min()), float(tile.max())
    return (tile - low) / (high - low) if high > low else np.zeros_like(tile)


def _grid(tiles: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Arrange tiles (height, width) or (height, width, 3) in rows, with white lines between."""
    columns = math.ceil(math.sqrt(len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    height, width, *rest = tiles[0].shape
    gap = max(1, height // 24)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, *rest)
    sheet = np.full(shape, 1.0 if rest else np.nan, np.float32)
    for number, tile in enumerate(tiles):
        top, left = number // columns * (height + gap), number % columns * (width + gap)
        sheet[top : top + height, left : left + width] = tile
    return sheet
