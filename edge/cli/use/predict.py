"""``edge predict``."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge.cli import options as shared
from edge.cli.help import example
from edge.errors import UsageError
from edge.runtime.numbers import MOST_THREADS

if TYPE_CHECKING:
    from edge.runtime.classifier import Classifier
    from edge.runtime.commands.predict import Form


@example("edge predict mobilenet photos --top-k 3 --csv answers.csv")
def predict(
    model: Annotated[
        Path,
        typer.Argument(
            help="Folder of a bundle, or a network of Keras Applications, which answers with "
            "the 1000 classes of ImageNet: mobilenet (its weights are shipped), resnet50 "
            "...",
            show_default=False,
            metavar="BUNDLE|NETWORK",
        ),
    ],
    images: Annotated[
        list[str],
        typer.Argument(
            help="Image files, folders of any depth, or - for one picture on standard input.",
            show_default=False,
        ),
    ],
    top_k: Annotated[int, typer.Option(help="Number of answers for each image.", min=1)] = 3,
    variant: shared.Variant = None,
    engine: shared.Engine = None,
    threads: Annotated[
        int,
        typer.Option(help="Number of CPU threads of one inference.", min=1, max=MOST_THREADS),
    ] = min(os.cpu_count() or 1, MOST_THREADS),
    cache: shared.Cache = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            help="File to write a table to, with a row for each image; - prints the table.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    draw: Annotated[
        Path | None,
        typer.Option(
            help="File (.jpg or .png) to write the picture to, with the objects, masks or points "
            "that were found drawn on it; a folder where several pictures are asked for.",
            metavar="OUT",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the files at --csv and --draw.")
    ] = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Say what each image shows, with probabilities.

    An image that cannot be read does not stop the others; the exit code is then 2.
    """
    from edge.embedding.imagenet import names_network
    from edge.runtime.commands.predict import Form

    form = Form(top_k=top_k, json=json, csv=csv, draw=draw, overwrite=overwrite, quiet=quiet)
    form.check()
    if names_network(model):
        if draw is not None:
            raise UsageError(
                f"--draw draws boxes, masks and points; {model} answers with classes",
                hint="Leave out --draw.",
            )
        code = _by_network(str(model), images, variant, engine, threads, cache, form)
    elif cache is not None:
        raise UsageError(
            "--cache has no effect with a bundle, whose files are as they are",
            hint="Leave out --cache.",
        )
    else:
        code = _by_bundle(model, images, variant, engine, threads, form)
    raise typer.Exit(code)


def _by_bundle(
    bundle: Path,
    images: list[str],
    variant: str | None,
    engine: str | None,
    threads: int,
    form: "Form",
) -> int:
    """Do what the command of the device does, so that both give the same answers."""
    from edge.runtime.bundle import Bundle
    from edge.runtime.commands.predict import answered
    from edge.runtime.tasks.model import open_predictor

    opened = Bundle.open(bundle)
    model = open_predictor(opened, variant=variant, engine=engine, threads=threads)
    return answered(lambda: model, images, opened.manifest.variant(variant).name, form)


def _by_network(
    name: str,
    images: list[str],
    variant: str | None,
    engine: str | None,
    threads: int,
    cache: Path | None,
    form: "Form",
) -> int:
    from edge.cache import StageCache
    from edge.cli.options import cache_root
    from edge.cli.terminal import shown_progress
    from edge.embedding.imagenet import imagenet_classifier
    from edge.runtime.commands.predict import answered
    from edge.training.backbones import backbone

    if variant is not None:
        raise UsageError(
            f"{name} is a network and has no variants; --variant is {variant}",
            hint="Leave out --variant, or name a bundle.",
        )
    progress, stages = shown_progress(quiet=form.quiet), StageCache(cache_root(cache))

    def opened() -> "Classifier":
        return imagenet_classifier(name, stages, progress).open(engine=engine, threads=threads)

    return answered(opened, images, backbone(name).name, form)
