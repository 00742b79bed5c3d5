"""``edge evaluate``."""

from pathlib import Path
from typing import Annotated

import typer

from edge.cli import options as shared

EPILOG = "Example: edge evaluate bundle photos/test --variant tflite-int8"


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="A bundle.", show_default=False)],
    directory: Annotated[
        Path,
        typer.Argument(
            help="Folder with one folder of images per class, or images named by WordNet id.",
            show_default=False,
        ),
    ],
    variant: Annotated[
        list[str] | None,
        typer.Option(
            help="Variant to score; may be repeated.  \\[default: all]", show_default=False
        ),
    ] = None,
    engine: shared.Engine = None,
    cache: shared.Cache = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Score the written files of a bundle on labelled images; TensorFlow is not needed."""
    from edge.cli.output import percent, print_json, print_table
    from edge.cli.progress import shown_progress
    from edge.evaluation.evaluate import evaluate as run

    result = run(
        bundle,
        directory,
        variants=tuple(variant or ()),
        engine=engine,
        cache=shared.cache_root(cache),
        progress=shown_progress(quiet=quiet),
    )
    if json:
        print_json(result.to_json())
        return
    rows = [
        (
            item.name,
            percent(item.score.top1),
            percent(item.score.top5),
            percent(item.score.agreement),
        )
        for item in result.variants
    ]
    print_table(
        f"{result.name}: {result.images} images, {result.labelled} labelled",
        ("variant", "top-1", "top-5", f"agreement with {result.variants[0].name}"),
        rows,
    )
