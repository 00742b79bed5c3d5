"""Every picture that results allow."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.plots import style
from benchmarks.plots.latency import latency, sustained
from benchmarks.plots.pareto import pareto
from benchmarks.result import Results
from edge.errors import OutputError, UsageError
from edge.figures import write_figure

PICTURES: Final[dict[str, Callable[[Results], Any | None]]] = {
    "latency": latency,
    "pareto": pareto,
    "sustained": sustained,
}


def draw(results: Results, folder: Path, forms: tuple[str, ...] = style.FORMATS) -> list[Path]:
    """Write every picture that the results have the numbers for.

    Args:
        results: What to show.
        folder: Where to write; made if it is missing.
        forms: ``png``, ``svg`` or both.

    Returns:
        What was written.

    Raises:
        UsageError: No row has a time.
        OutputError: The folder cannot be written.
    """
    figures = {name: picture(results) for name, picture in PICTURES.items()}
    if not any(figure is not None for figure in figures.values()):
        raise UsageError(
            "there is nothing to plot: no row has a time",
            hint="The Markdown or CSV form says why each row has none.",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be made: {error.strerror}", hint="Choose another folder."
        ) from error
    written = []
    for name, figure in figures.items():
        for form in forms if figure is not None else ():
            written.append(folder / f"{name}.{form}")
            write_figure(figure, written[-1], dpi=style.DPI)
    return written
