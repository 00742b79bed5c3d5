"""``edge build``."""

from pathlib import Path
from typing import Annotated

import typer

from edge.cli import options as shared
from edge.cli.help import example
from edge.cli.make import options as making
from edge.runtime.spec import Resize
from edge.runtime.streams import say
from edge.training.options import SPARSE, HeadOptions, Strategy, parse_hidden, parse_metric


@example("edge build photos --output bundle")
def build(
    photos: Annotated[
        Path,
        typer.Argument(
            help="Folder with one folder of images per class, or train/, val/ and test/ of such.",
            show_default=False,
        ),
    ],
    output: shared.Output,
    backbone: shared.Backbone = "mobilenet",
    weights: shared.Weights = "imagenet",
    size: shared.Size = None,
    alpha: shared.Alpha = 1.0,
    resize: shared.Resize = Resize.CENTER_CROP,
    input_range: shared.InputRange = None,
    channel_order: shared.ChannelOrder = None,
    strategy: making.Strategies = Strategy.FEATURES,
    head: making.Head = "none",
    optimizer: making.Optimizer = "adam",
    loss: making.Loss = SPARSE,
    learning_rate: making.LearningRate = 1e-3,
    batch_size: making.BatchSize = 32,
    epochs: making.Epochs = 100,
    patience: making.Patience = 5,
    class_weights: making.ClassWeights = True,
    label_smoothing: making.LabelSmoothing = 0.0,
    unfreeze: making.Unfreeze = None,
    tune_learning_rate: making.TuneRate = None,
    tune_epochs: making.TuneEpochs = None,
    augmentation: making.Augmentations = None,
    mirror: making.Mirror = None,
    mixup: making.Mixup = 0.0,
    cutmix: making.Cutmix = False,
    train_images: making.TrainImages = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail on an image that cannot be decoded.")
    ] = False,
    variants: making.Variants = None,
    quantize: making.QuantizeOption = making.Quantize.INT8,
    max_drop: making.MaxDrop = None,
    recipe: making.Recipe = None,
    calibration_images: making.CalibrationImages = 100,
    name: shared.Name = None,
    seed: shared.Seed = 0,
    overwrite: shared.Overwrite = False,
    cache: shared.Cache = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Train a classifier on a folder of photos and write a verified bundle."""
    from edge.cli.make.view import print_report
    from edge.cli.output import print_json
    from edge.cli.terminal import shown_progress
    from edge.pipeline.build import build as run
    from edge.pipeline.options import BuildOptions
    from edge.training.options import BaseOptions

    report = run(
        BuildOptions(
            photos=photos,
            base=BaseOptions(
                backbone=backbone,
                weights=weights,
                size=size,
                alpha=alpha,
                resize=resize,
                input_range=input_range,
                channel_order=channel_order,
                seed=seed,
            ),
            training=making.training_options(
                strategy,
                HeadOptions(
                    hidden=parse_hidden(head),
                    metric=parse_metric(head),
                    optimizer=optimizer,
                    loss=loss,
                    learning_rate=learning_rate,
                    batch_size=batch_size,
                    epochs=epochs,
                    patience=patience,
                    class_weights=class_weights,
                    label_smoothing=label_smoothing,
                    seed=seed,
                ),
                unfreeze=unfreeze,
                learning_rate=tune_learning_rate,
                epochs=tune_epochs,
                augmentation=augmentation,
                mirror=mirror,
                mixup=mixup,
                cutmix=cutmix,
            ),
            train_images=train_images,
            strict=strict,
            output=making.output_options(
                output,
                overwrite=overwrite,
                cache=cache,
                variants=variants,
                quantize=quantize,
                max_drop=max_drop,
                recipe=recipe,
                calibration_images=calibration_images,
                name=name,
                seed=seed,
            ),
        ),
        shown_progress(quiet=quiet),
    )
    if report is None:
        say("This worker has trained with the others; the first worker writes the bundle.")
    elif json:
        print_json(report.to_json())
    else:
        print_report(report, output)
