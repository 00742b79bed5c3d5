"""``edge benchmark plot``."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from edge.runtime.streams import say

EPILOG = "Example: edge benchmark plot results.json -o pictures --format svg"


class Format(StrEnum):
    """Of a picture."""

    PNG = "png"
    SVG = "svg"


def plot(
    results: Annotated[
        Path, typer.Argument(help="File of edge benchmark --output.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the pictures.", show_default=False)
    ],
    form: Annotated[
        Format | None, typer.Option("--format", help="png or svg; both if unset.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace pictures of the same names at --output.")
    ] = False,
) -> None:
    """Draw latency bars, accuracy against latency, and sustained runs, as far as measured."""
    from benchmarks.outputs.reading import read_results
    from benchmarks.plots.draw import PICTURES, draw
    from edge.runtime.place import check_folder

    forms = tuple(item.value for item in (Format if form is None else (form,)))
    names = [f"{name}.{form}" for name in PICTURES for form in forms]
    check_folder(output, names, overwrite=overwrite, parents=True)
    for path in draw(read_results(results), output, forms):
        say(path)
