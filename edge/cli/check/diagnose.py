"""``edge diagnose``."""

from pathlib import Path
from typing import Annotated

import typer

from edge.cli import options as shared
from edge.cli.help import example
from edge.errors import NegativeVerdict


@example("edge diagnose bundle photos/test --plot layers.png")
def diagnose(
    bundle: Annotated[
        Path, typer.Argument(help="A bundle with int8 variants.", show_default=False)
    ],
    directory: Annotated[
        Path,
        typer.Argument(help="Folder of images, of any or no class.", show_default=False),
    ],
    images: Annotated[
        int,
        typer.Option(
            help="Largest number of images; they are spread evenly over the folder.", min=1
        ),
    ] = 32,
    all_layers: Annotated[
        bool, typer.Option("--all-layers", help="Show every layer, not only the 10 worst.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Picture of the error of each layer to write: .png or .svg.", show_default=False
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the picture at --plot.")
    ] = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Find where a written file goes wrong: converter, quantizer or kernel, and which layer."""
    from edge.cli.output import print_json
    from edge.cli.terminal import shown_progress
    from edge.diagnosis.diagnose import diagnose as run

    if plot is not None:
        from edge.dataset.folder import check_outside
        from edge.diagnosis.plot import SUFFIXES
        from edge.runtime.place import check_new_file

        check_new_file(plot, SUFFIXES, overwrite=overwrite, option="--plot")
        check_outside(plot, directory, option="--plot")
    result = run(bundle, directory, images=images, progress=shown_progress(quiet=quiet))
    if json:
        print_json(result.to_json())
    else:
        from edge.cli.check.view import print_diagnosis

        print_diagnosis(result, all_layers=all_layers)
    if plot is not None:
        from edge.diagnosis.plot import draw

        draw(result, plot)
    if not result.healthy:
        hint = "The evidence is in the tables above."
        if any(item.culprit == "quantizer" for item in result.findings):
            hint += " A mixed file may help: export again with --quantize auto."
        raise NegativeVerdict(result.conclusion, hint=hint)
