"""``edge predict``."""

import os
from pathlib import Path
from typing import Annotated

import typer

from edge.cli import options as shared

EPILOG = "Example: edge predict mobilenet photo.jpg --top-k 3"


def predict(
    model: Annotated[
        Path,
        typer.Argument(
            help="A bundle, or a network of Keras Applications, which answers with the 1000 "
            "classes of ImageNet: mobilenet (its weights are shipped), resnet50 ...",
            show_default=False,
            metavar="BUNDLE|NETWORK",
        ),
    ],
    images: Annotated[list[Path], typer.Argument(help="Image files.", show_default=False)],
    top_k: Annotated[int, typer.Option(help="Answers per image.", min=1)] = 3,
    variant: shared.Variant = None,
    engine: shared.Engine = None,
    threads: Annotated[
        int, typer.Option(help="CPU threads of one inference.", min=1)
    ] = os.cpu_count() or 1,
    cache: shared.Cache = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Say what each image shows, with probabilities."""
    from edge.embedding.imagenet import names_network

    if names_network(model):
        code = _by_network(str(model), images, top_k, variant, engine, threads, cache, json, quiet)
    else:
        code = _by_bundle(model, images, top_k, variant, engine, threads, json)
    raise typer.Exit(code)


def _by_bundle(
    bundle: Path,
    images: list[Path],
    top_k: int,
    variant: str | None,
    engine: str | None,
    threads: int,
    json: bool,
) -> int:
    """The device's own command: what it says there is what it says here."""
    from edge.runtime.__main__ import main

    extra = ["--top-k", str(top_k), "--threads", str(threads)]
    for name, value in (("--variant", variant), ("--engine", engine)):
        if value is not None:
            extra += [name, value]
    if json:
        extra.append("--json")
    return main(["predict", *extra, "--", str(bundle), *map(str, images)])


def _by_network(
    name: str,
    images: list[Path],
    top_k: int,
    variant: str | None,
    engine: str | None,
    threads: int,
    cache: Path | None,
    json: bool,
    quiet: bool,
) -> int:
    from edge.cache import StageCache
    from edge.cli.options import cache_root
    from edge.cli.progress import shown_progress
    from edge.embedding.imagenet import imagenet_classifier
    from edge.errors import UsageError
    from edge.runtime.commands.predict import answered

    if variant is not None:
        raise UsageError(
            f"{name} is a network and has no variants; --variant is {variant}",
            hint="Leave out --variant, or name a bundle.",
        )
    progress = shown_progress(quiet=quiet)
    network = imagenet_classifier(name, StageCache(cache_root(cache)), progress)
    classifier = network.open(engine=engine, threads=threads)
    return answered(classifier, images, top_k, network.name, json=json)
