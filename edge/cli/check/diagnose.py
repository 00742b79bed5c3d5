"""``edge diagnose``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge.cli import options as shared
from edge.cli.help import example, refuse_unused
from edge.errors import NegativeVerdict
from edge.runtime.streams import say

if TYPE_CHECKING:
    from edge.diagnosis.result import Attempt, Diagnosis


@example("edge diagnose bundle photos/test --plot layers.png")
def diagnose(
    context: typer.Context,
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
    block_images: Annotated[
        int,
        typer.Option(
            help="On how many of these the error is measured that each block of an integer file "
            "makes alone; 0 leaves it out.",
            min=0,
        ),
    ] = 4,
    no_try: Annotated[
        bool,
        typer.Option(
            "--no-try",
            help="Where a quantizer is to blame, do not make other files and run them on the same "
            "images to find one that helps.",
        ),
    ] = False,
    recipe_output: Annotated[
        Path | None,
        typer.Option(
            help="File to write for --recipe of edge export: which blocks the mixed file that was "
            "tried and helps keeps in floats. Without such a file, nothing is written.",
            show_default=False,
        ),
    ] = None,
    all_layers: Annotated[
        bool,
        typer.Option("--all-layers", help="Show every layer and block, not only the 10 worst."),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Picture of the error of each layer to write: .png or .svg.", show_default=False
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what lies at --plot and --recipe-output.")
    ] = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Find where a written file goes wrong: converter, quantizer or kernel, and which layer."""
    from edge.cli.output import print_json
    from edge.cli.terminal import shown_progress
    from edge.diagnosis.diagnose import diagnose as run

    if no_try:
        refuse_unused(context, "with --no-try, which makes no file", "recipe_output")
    _check_outputs(directory, plot, recipe_output, overwrite=overwrite)
    result = run(
        bundle,
        directory,
        images=images,
        block_images=block_images,
        attempts=not no_try,
        progress=shown_progress(quiet=quiet),
    )
    if json:
        print_json(result.to_json())
    else:
        from edge.cli.check.diagnosis_view import print_diagnosis

        print_diagnosis(result, all_layers=all_layers)
    if plot is not None:
        from edge.diagnosis.plot import draw

        draw(result, plot)
    if recipe_output is not None:
        _write_recipe(recipe_output, result)
    if not result.healthy:
        raise NegativeVerdict(result.conclusion, hint=_hint(result.suggestion, recipe_output))


def _check_outputs(
    directory: Path, plot: Path | None, recipe: Path | None, *, overwrite: bool
) -> None:
    """Refuse files that cannot be written, before the work."""
    from edge.dataset.folder import check_outside
    from edge.diagnosis.plot import SUFFIXES
    from edge.runtime.place import check_new_file

    for path, suffixes, option in (
        (plot, SUFFIXES, "--plot"),
        (recipe, (".json",), "--recipe-output"),
    ):
        if path is not None:
            check_new_file(path, suffixes, overwrite=overwrite, option=option)
            check_outside(path, directory, option=option)


def _hint(suggested: "Attempt | None", recipe: Path | None) -> str:
    """Where the evidence is, and what helps, if something was found."""
    hint = "The evidence is in the tables above."
    if suggested is None:
        return hint
    way = f" with {suggested.option}" if suggested.option else ""
    hint += f" Tried, and it helps: export again{way}."
    if suggested.kept and recipe is None:
        hint += " --recipe-output RECIPE writes the recipe."
    return hint


def _write_recipe(path: Path, result: "Diagnosis") -> None:
    """Write which blocks the file that was tried and helps keeps in floats, if there is one."""
    import json

    from edge.pipeline.variants import Recipe
    from edge.runtime.place import write_output

    suggested = result.suggestion
    if suggested is None or not suggested.kept:
        say(f"note: {path} is not written: no mixed file was tried that helps", err=True)
    else:
        recipe = Recipe(
            model=result.name,
            keep_float={suggested.instead_of.partition("-")[0]: suggested.kept},
        )
        write_output(path, json.dumps(recipe.to_json(), indent=2) + "\n")
