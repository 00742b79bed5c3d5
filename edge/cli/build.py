"""``edge build``."""

from pathlib import Path
from typing import Annotated

import typer

from edge.cli import options as shared
from edge.runtime.spec import Resize

EPILOG = "Example: edge build photos --output bundle"


def build(
    photos: Annotated[
        Path,
        typer.Argument(
            help="Folder with one folder of images per class, or train/, val/ and test/ of such.",
            show_default=False,
        ),
    ],
    output: shared.Output,
    backbone: Annotated[
        str,
        typer.Option(help="Any network of Keras Applications, or a Keras model file to build on."),
    ] = "mobilenet",
    weights: Annotated[
        str, typer.Option(help="imagenet, none (random), or the path of a weights file.")
    ] = "imagenet",
    size: Annotated[
        int | None,
        typer.Option(
            help="Height and width of the input, pixels.  \\[default: the network's own]",
            min=32,
            max=1024,
            show_default=False,
        ),
    ] = None,
    alpha: Annotated[
        float, typer.Option(help="Width of a MobileNet: the share of its channels, such as 0.25.")
    ] = 1.0,
    resize: Annotated[
        Resize, typer.Option(help="How images become that size.")
    ] = Resize.CENTER_CROP,
    head: Annotated[
        str, typer.Option(help="Units of dense layers before the softmax: none, 128, 256,128 ...")
    ] = "none",
    optimizer: Annotated[str, typer.Option(help="Any Keras optimizer.")] = "adam",
    loss: Annotated[
        str, typer.Option(help="Any Keras classification loss.")
    ] = "sparse_categorical_crossentropy",
    learning_rate: Annotated[float, typer.Option(help="Of the optimizer.", min=1e-8)] = 1e-3,
    batch_size: Annotated[int, typer.Option(help="Images per training step.", min=1)] = 32,
    epochs: Annotated[int, typer.Option(help="At most so many passes.", min=1)] = 100,
    patience: Annotated[
        int, typer.Option(help="Passes without a better validation loss before the end.", min=1)
    ] = 5,
    class_weights: Annotated[
        bool,
        typer.Option(
            "--class-weights/--no-class-weights", help="Let rare classes weigh as much as others."
        ),
    ] = True,
    augment: Annotated[
        bool, typer.Option("--augment", help="Then train on changed images through the base.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail on an image that cannot be decoded.")
    ] = False,
    variants: shared.Variants = None,
    quantize: shared.QuantizeOption = shared.Quantize.INT8,
    max_drop: shared.MaxDrop = None,
    recipe: shared.Recipe = None,
    calibration_images: shared.CalibrationImages = 100,
    seed: shared.Seed = 0,
    overwrite: shared.Overwrite = False,
    cache: shared.Cache = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Train a classifier on a folder of photos and write a verified bundle."""
    from edge.cli.output import print_json, print_report
    from edge.cli.progress import shown_progress
    from edge.pipeline.build import build as run
    from edge.pipeline.options import BuildOptions, OutputOptions
    from edge.training.base import BaseOptions
    from edge.training.head import HeadOptions, parse_hidden

    report = run(
        BuildOptions(
            photos=photos,
            base=BaseOptions(
                backbone=backbone,
                weights=weights,
                size=size,
                alpha=alpha,
                resize=resize,
                seed=seed,
            ),
            head=HeadOptions(
                hidden=parse_hidden(head),
                optimizer=optimizer,
                loss=loss,
                learning_rate=learning_rate,
                batch_size=batch_size,
                epochs=epochs,
                patience=patience,
                class_weights=class_weights,
                seed=seed,
            ),
            augment=augment,
            strict=strict,
            output=OutputOptions(
                output=output,
                overwrite=overwrite,
                cache=shared.cache_root(cache),
                variants=shared.variant_names(variants, quantize, recipe=recipe is not None),
                max_drop_points=shared.max_drop(max_drop, quantize, recipe=recipe is not None),
                recipe=recipe,
                calibration_images=calibration_images,
                seed=seed,
            ),
        ),
        shown_progress(quiet=quiet),
    )
    if json:
        print_json(report.to_json())
    else:
        print_report(report, output)
