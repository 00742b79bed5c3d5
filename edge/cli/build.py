"""``edge build``."""

from pathlib import Path
from typing import Annotated

import typer

from edge.cli import base_options as base
from edge.cli import options as shared
from edge.cli import training_options as training
from edge.runtime.spec import Resize
from edge.runtime.streams import say
from edge.training.options import SPARSE, HeadOptions, Strategy, parse_hidden, parse_metric

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
    backbone: base.Backbone = "mobilenet",
    weights: base.Weights = "imagenet",
    size: base.Size = None,
    alpha: base.Alpha = 1.0,
    resize: base.Resize = Resize.CENTER_CROP,
    input_range: base.InputRange = None,
    channel_order: base.ChannelOrder = None,
    strategy: training.Strategies = Strategy.FEATURES,
    head: training.Head = "none",
    optimizer: training.Optimizer = "adam",
    loss: training.Loss = SPARSE,
    learning_rate: training.LearningRate = 1e-3,
    batch_size: training.BatchSize = 32,
    epochs: training.Epochs = 100,
    patience: training.Patience = 5,
    class_weights: training.ClassWeights = True,
    label_smoothing: training.LabelSmoothing = 0.0,
    unfreeze: training.Unfreeze = None,
    tune_learning_rate: training.TuneRate = None,
    tune_epochs: training.TuneEpochs = None,
    augmentation: training.Augmentations = None,
    mirror: training.Mirror = None,
    mixup: training.Mixup = 0.0,
    cutmix: training.Cutmix = False,
    train_images: training.TrainImages = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail on an image that cannot be decoded.")
    ] = False,
    variants: shared.Variants = None,
    quantize: shared.QuantizeOption = shared.Quantize.INT8,
    max_drop: shared.MaxDrop = None,
    recipe: shared.Recipe = None,
    calibration_images: shared.CalibrationImages = 100,
    name: shared.Name = None,
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
            training=training.training_options(
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
            output=OutputOptions(
                output=output,
                overwrite=overwrite,
                cache=shared.cache_root(cache),
                variants=shared.variant_names(variants, quantize, recipe=recipe is not None),
                required=shared.required_variants(variants, quantize, recipe=recipe is not None),
                max_drop_points=shared.max_drop(max_drop, quantize, recipe=recipe is not None),
                recipe=recipe,
                calibration_images=calibration_images,
                name=name,
                seed=seed,
            ),
        ),
        shown_progress(quiet=quiet),
    )
    if report is None:
        say("This worker has trained with the others; the first one writes the bundle.")
    elif json:
        print_json(report.to_json())
    else:
        print_report(report, output)
