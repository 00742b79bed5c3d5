"""The error of each layer as a picture: one panel per int8 file, and per file with a fault."""

from pathlib import Path
from typing import Any, Final

from edge.diagnosis.result import Diagnosis, FileLayers, LayerError, traits
from edge.errors import UsageError
from edge.figures import plot_text, write_figure
from edge.wording import counted

SUFFIXES: Final = (".png", ".svg")
FLOOR: Final = (
    1e-6  # drawn in place of an error of nothing, which a logarithmic axis has no room for
)
MOST_SHOWN: Final = 60  # characters of a layer's name
MOST_NAMES: Final = 80  # layers of which each can still be named


def draw(result: Diagnosis, path: Path) -> None:
    """Write the picture; its format is that of the suffix.

    Raises:
        UsageError: No file has layers to draw.
        OutputError: The picture cannot be written.
    """
    accused = {finding.variant for finding in result.findings}
    files = [
        file
        for file in result.files
        if file.layers and (traits(file.precision).is_integer or file.variant in accused)
    ]
    if not files:
        raise UsageError("there is nothing to plot: no file's layers could be compared")
    write_figure(_figure(result, files), path, dpi=120, with_creator=True)


def _figure(result: Diagnosis, files: list[FileLayers]) -> Any:
    from matplotlib.figure import Figure

    longest = max(len(file.layers) for file in files)
    width = min(24.0, max(8.0, 0.22 * longest))
    figure = Figure(figsize=(width, 4.2 * len(files)), layout="constrained")
    panels = figure.subplots(len(files), 1, squeeze=False)[:, 0]
    for panel, file in zip(panels, files, strict=True):
        _draw_file(panel, file)
    figure.suptitle(
        f"{plot_text(result.name)}: error of each layer, {counted(result.images, 'image')}"
    )
    return figure


def _draw_file(panel: Any, file: FileLayers) -> None:
    positions = range(len(file.layers))

    def line(name: str, style: str, label: str) -> None:
        values = [getattr(layer, name) for layer in file.layers]
        panel.plot(positions, [_drawn(value) for value in values], style, label=label, markersize=3)

    line("accumulated", "-", "accumulated")
    line("alone", "o-", "alone")
    line("explained", "--", "alone, explained by rounding")
    costs = {block.layers[-1]: block.alone for block in file.blocks}
    heights = [_drawn(costs.get(layer.layer)) for layer in file.layers]
    if costs:
        panel.plot(positions, heights, "s", label="answers, by the block alone", markersize=4)
    wrong = [number for number in positions if _is_wrong(file.layers[number])]
    if wrong:
        heights = [_drawn(file.layers[number].alone) for number in wrong]
        panel.plot(wrong, heights, "rx", markersize=9, label="wrong")
    panel.set_yscale("log")
    panel.set_title(plot_text(file.variant))
    panel.set_ylabel("relative error")
    panel.grid(alpha=0.3)
    panel.margins(x=0.01)
    if len(file.layers) <= MOST_NAMES:
        panel.set_xticks(
            positions,
            [plot_text(layer.layer, MOST_SHOWN) for layer in file.layers],
            rotation=90,
            fontsize=7,
        )
    else:
        panel.set_xlabel("layer")
    panel.legend(loc="best", fontsize=8)


def _is_wrong(layer: LayerError) -> bool:
    return layer.divergent or bool(layer.failure)


def _drawn(value: float | None) -> float:
    """A gap where the error is not known, or nothing, for which the axis has no room."""
    return value or float("nan")
