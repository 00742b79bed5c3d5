"""``edge build``."""

from pathlib import Path
from typing import Annotated

import typer

from edge.cli import options as shared
from edge.cli.help import example, spread
from edge.cli.make import options as making
from edge.runtime.streams import say
from edge.training.options import SPARSE, HeadOptions, Strategy, parse_hidden, parse_metric


@example("edge build photos --output bundle")
@spread
def build(
    photos: Annotated[
        Path,
        typer.Argument(
            help="Folder with one folder of images per class, or train/, val/ and test/ of such.",
            show_default=False,
        ),
    ],
    output: shared.Output,
    *,
    network: shared.NetworkFlags,
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
    groups: making.Groups = None,
    divide_groups: making.DivideGroups = False,
    name: shared.Name = None,
    flags: making.BundleFlags,
) -> None:
    """Train a classifier on a folder of photos and write a verified bundle."""
    from edge.cli.make.view import note_faults, print_report, shown_where_refused
    from edge.cli.output import print_json
    from edge.cli.terminal import shown_progress
    from edge.pipeline.build import build as run
    from edge.pipeline.options import BuildOptions

    options = BuildOptions(
        photos=photos,
        base=network.options(flags.seed),
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
                seed=flags.seed,
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
        strict=flags.strict,
        groups=groups,
        divide_groups=making.checked_divide(groups, divides=divide_groups),
        output=flags.output_options(output, name),
    )
    with shown_where_refused(json=flags.json):
        report = run(options, shown_progress(quiet=flags.quiet))
    if report is None:
        say("This worker has trained with the others; the first worker writes the bundle.")
    elif flags.json:
        note_faults(report)
        print_json(report.to_json())
    else:
        print_report(report, output)
