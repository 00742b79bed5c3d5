"""``edge predict``."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from edge.cli import options as shared
from edge.cli.help import example, spread
from edge.cli.model_file import ModelFileFlags
from edge.errors import UsageError
from edge.runtime.numbers import MOST_THREADS

if TYPE_CHECKING:
    from edge.runtime.classifier import Classifier
    from edge.runtime.commands.predict import Form
    from edge.runtime.tasks.model import TaskModel


@example("edge predict detector.tflite photo.jpg --draw drawn.jpg")
@spread
def predict(
    model: Annotated[
        Path,
        typer.Argument(
            help="Folder of a bundle, a .tflite or .onnx file, or a network of Keras Applications, "
            "which answers with the 1000 classes of ImageNet: mobilenet (its weights are "
            "shipped), resnet50 ...",
            show_default=False,
            metavar="BUNDLE|FILE|NETWORK",
        ),
    ],
    images: Annotated[
        list[str],
        typer.Argument(
            help="Image files, folders of any depth, or - for one picture on standard input.",
            show_default=False,
        ),
    ],
    model_file: ModelFileFlags,
    top_k: Annotated[
        int | None,
        typer.Option(
            help="Number of classes that a classifier answers with.  \\[default: 3]",
            min=1,
            show_default=False,
        ),
    ] = None,
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
    """Say what each image shows: classes, objects, masks, points or a vector.

    An image that cannot be read does not stop the others; the exit code is then 2.
    """
    from edge.embedding.imagenet import names_network
    from edge.runtime.commands.predict import Form

    form = Form(top_k=top_k, json=json, csv=csv, draw=draw, overwrite=overwrite, quiet=quiet)
    form.check()
    if not _is_model_file(model) and names_network(model):
        model_file.refuse(f"with {model}, which is a network of Keras Applications")
        if draw is not None:
            raise UsageError(
                f"--draw draws boxes, masks and points; {model} answers with classes",
                hint="Leave out --draw.",
            )
        raise typer.Exit(_by_network(str(model), images, variant, engine, threads, cache, form))
    if cache is not None:
        raise UsageError(
            "--cache has no effect with a bundle or a model file, which are as they are",
            hint="Leave out --cache.",
        )
    if _is_model_file(model):
        if variant is not None:
            raise UsageError(
                f"{model.name} is one file and has no variants; --variant is {variant}",
                hint="Leave out --variant, or name a bundle.",
            )
        raise typer.Exit(_by_file(model, images, model_file, engine, threads, form))
    raise typer.Exit(_by_bundle(model, images, model_file, variant, engine, threads, form))


def _is_model_file(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in (".tflite", ".onnx")


def _by_file(
    path: Path,
    images: list[str],
    flags: ModelFileFlags,
    engine: str | None,
    threads: int,
    form: "Form",
) -> int:
    """Find out what the file is, say what nothing in it states, and answer."""
    from edge.identification.identify import identify
    from edge.runtime.classifier import Classifier
    from edge.runtime.commands.predict import answered
    from edge.runtime.session import open_session
    from edge.runtime.streams import say
    from edge.runtime.tasks.model import TaskModel

    found = identify(path, flags.stated())
    for fact in found.facts:
        if not fact.sure:  # the answer may be of the wrong thing, which --quiet does not hide
            option = f" ({fact.option} changes it)" if fact.option else ""
            say(f"note: {fact.what}: {fact.value}: {fact.source}{option}", err=True)

    def opened() -> "Classifier | TaskModel":
        session = open_session(path, engine=engine, threads=threads)
        if found.decoder is None:
            contract, output = found.preprocessing, found.output
            return Classifier(session, found.labels, contract, answers=output)
        return TaskModel(session, found.labels, found.preprocessing, found.decoder)

    return answered(opened, images, path.name, form)


# What can be changed of a bundle while it runs; the rest is part of what was scored.
_RUNNING: Final = ("--score-threshold", "--iou-threshold", "--max-results")


def _by_bundle(
    bundle: Path,
    images: list[str],
    flags: ModelFileFlags,
    variant: str | None,
    engine: str | None,
    threads: int,
    form: "Form",
) -> int:
    """Do what the command of the device does, so that both give the same answers."""
    from edge.runtime.bundle import Bundle
    from edge.runtime.commands.predict import answered
    from edge.runtime.tasks.model import TaskModel, open_predictor

    opened = Bundle.open(bundle)
    name = opened.manifest.variant(variant).name
    if opened.manifest.decoder is None:
        flags.refuse("with a bundle of a classifier")
        model = open_predictor(opened, variant=variant, engine=engine, threads=threads)
        return answered(lambda: model, images, name, form)
    flags.refuse("with a bundle, which says itself what it is", but=_RUNNING)
    changed = {
        "score_threshold": flags.score_threshold,
        "iou_threshold": flags.iou_threshold,
        "max_results": flags.max_results,
    }
    running = TaskModel.open(
        opened,
        variant=variant,
        engine=engine,
        threads=threads,
        parameters={name: value for name, value in changed.items() if value is not None},
    )
    return answered(lambda: running, images, name, form)


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
