"""``edge explain``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge.cli import options as shared
from edge.cli.help import example, refuse_unused
from edge.explanation.options import MaskMethod
from edge.runtime.streams import say
from edge.wording import percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.explanation.result import ImageExplanation


@example("edge explain bundle photo.jpg -o explanation")
def explain(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(help="A bundle.", show_default=False)],
    images: Annotated[list[Path], typer.Argument(help="Image files.", show_default=False)],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Folder that the pictures are written to.", show_default=False
        ),
    ],
    variant: Annotated[
        list[str] | None,
        typer.Option(
            help="Name of a variant of the bundle; may be repeated.  \\[default: a float one "
            "and the bundle's]",
            show_default=False,
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            "--class",
            help="Class to explain.  \\[default: the most probable one of the first file]",
            show_default=False,
        ),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            help="Names of layers of the Keras model, separated by commas.  "
            "\\[default: first, middle, last]",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        MaskMethod,
        typer.Option(
            help="What is covered: random parts of the image (rise), or a window that moves "
            "over it (occlusion)."
        ),
    ] = MaskMethod.RISE,
    masks: Annotated[
        int,
        typer.Option(
            help="Number of random masks of rise; each costs one inference per file.", min=2
        ),
    ] = 600,
    seed: Annotated[int, typer.Option(help="Seed of the random masks.", min=0)] = 0,
    files_only: Annotated[
        bool,
        typer.Option(
            "--files-only",
            help="Leave out Grad-CAM and layers: this is quick and loads no TensorFlow.",
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files of the same names at --output.")
    ] = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Show what a bundle's files look at in an image: the float file, and the quantized one too."""
    from edge.cli.output import print_json, quoted
    from edge.cli.terminal import shown_progress
    from edge.explanation.explain import explain as run
    from edge.explanation.options import ExplainOptions
    from edge.explanation.page import PAGE, write
    from edge.runtime.place import check_folder

    if method is not MaskMethod.RISE:
        refuse_unused(context, f"with --method {method}", "masks", "seed")
    if files_only:
        refuse_unused(context, "with --files-only", "layers")
    check_folder(output, overwrite=overwrite)
    progress = shown_progress(quiet=quiet)
    found = run(
        ExplainOptions(
            bundle=bundle,
            images=tuple(images),
            variants=tuple(variant or ()),
            label=label,
            layers=tuple(part.strip() for part in (layers or "").split(",") if part.strip()),
            method=method,
            masks=masks,
            seed=seed,
            keras=not files_only,
        ),
        progress,
    )
    maps = [one for item in found.images for one in item.maps]
    for why in dict.fromkeys(filter(None, (found.without_keras, found.without_gradcam))):
        progress.note(f"no Grad-CAM: {why}")
    if any(one.repeatability is not None and one.repeatability < 0.5 for one in maps):
        progress.note(
            "a repeatability below 0.5 means that the map is mostly noise: the answer hardly "
            "depends on what is covered; try more --masks, or --method occlusion"
        )
    with progress.stage("pictures"):
        record = write(found, output)
    if json:
        print_json(record)
    else:
        for item in found.images:
            _print_maps(item)
        if maps:
            _print_legend(found.images)
        say(f"Next: open {quoted(output / PAGE)} in a browser")
    for why in found.problems.values():
        say(f"error: {why}", err=True)
    if found.problems:
        raise typer.Exit(2)


def _print_maps(item: "ImageExplanation") -> None:
    """Print a row for each map of an image."""
    from edge.cli.output import print_table

    rows = [
        (
            f"{one.source}, {one.method}",
            percent(one.score),
            "flat" if one.flat else _number(one.correlation),
            _number(one.repeatability),
            str(one.invokes),
            f"{one.seconds:.1f} s",
        )
        for one in item.maps
    ]
    columns = ("map", "probability", "r", "repeatability", "inferences", "time")
    title = f"{item.image}: {item.label}"
    print_table(title, columns, rows, least=("inferences", "time"))


def _print_legend(images: "Sequence[ImageExplanation]") -> None:
    """Say what the columns mean, and what a negative correlation with Grad-CAM says."""
    from edge.cli.output import print_folded
    from edge.explanation.result import KERAS

    maps = [one for item in images for one in item.maps]
    first = next(one.source for one in maps if one.source != KERAS)
    cams = [one for one in maps if one.source == KERAS]
    aside = " (keras stands above it and is no file)" if cams else ""
    print_folded(f"r: correlation with the map of {first}, the first file{aside}; -1 to 1.")
    if any(one.correlation is not None and one.correlation < 0 for one in cams):
        print_folded(
            "A negative r of Grad-CAM says that it marks other places than those that the file's "
            "answer depends on. Grad-CAM is as coarse as the network's last feature map; the map "
            "of the file was measured on the file that runs on the device."
        )
    if any(one.repeatability is not None for one in maps):
        print_folded(
            "Repeatability: the correlation to be expected if the map is made again with as many "
            "other random masks; 1 is the same map, and below 0.5 it is mostly noise."
        )
    say("Time: measured on this host's CPU.")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
