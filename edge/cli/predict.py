"""``edge predict``."""

import os
from pathlib import Path
from typing import Annotated

import typer

from edge.cli import options as shared

EPILOG = "Example: edge predict bundle photo.jpg --top-k 3"


def predict(
    bundle: Annotated[Path, typer.Argument(help="A bundle.", show_default=False)],
    images: Annotated[list[Path], typer.Argument(help="Image files.", show_default=False)],
    top_k: Annotated[int, typer.Option(help="Answers per image.", min=1)] = 3,
    variant: shared.Variant = None,
    engine: shared.Engine = None,
    threads: Annotated[
        int, typer.Option(help="CPU threads of one inference.", min=1)
    ] = os.cpu_count() or 1,
    json: shared.Json = False,
) -> None:
    """Say what each image shows, with probabilities."""
    from edge.runtime.__main__ import main

    # The device's own command: what it says there is what it says here.
    extra = ["--top-k", str(top_k), "--threads", str(threads)]
    for name, value in (("--variant", variant), ("--engine", engine)):
        if value is not None:
            extra += [name, value]
    if json:
        extra.append("--json")
    raise typer.Exit(main(["predict", *extra, "--", str(bundle), *map(str, images)]))
