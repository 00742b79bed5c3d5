"""Options of ``edge build`` that say how the network learns."""

from typing import Annotated, Any, Final

import typer

from edge.errors import UsageError
from edge.training.options import (
    Augmentation,
    HeadOptions,
    Strategy,
    TrainingOptions,
    TuningOptions,
    check_metric,
)

PANEL: Final = "Training"


def _option(*names: str, **settings: Any) -> Any:
    """An option that ``--help`` shows with those of its kind."""
    return typer.Option(*names, rich_help_panel=PANEL, **settings)


STRATEGY_HELP: Final = (
    "features: a head on features that are computed once. augment: then the head on changed "
    "images. fine-tune: then the end of the network too. auto: by the data, and it says why."
)
Strategies = Annotated[Strategy, _option("--strategy", help=STRATEGY_HELP)]
Head = Annotated[
    str,
    _option(
        help="Units of dense layers before the softmax: none, 128, 256,128 ...; or knn or "
        "imprinted: a head without gradient steps, which learns new classes on the device."
    ),
]
Optimizer = Annotated[str, _option(help="Any Keras optimizer.")]
Loss = Annotated[str, _option(help="Any Keras classification loss.")]
LearningRate = Annotated[
    float, _option(help="Of the head, for a batch of 32; scaled with the batch.", min=1e-8)
]
BatchSize = Annotated[int, _option(help="Images per training step.", min=1)]
Epochs = Annotated[int, _option(help="At most so many passes for the head.", min=1)]
Patience = Annotated[
    int, _option(help="Passes without a better validation loss before the end.", min=1)
]
ClassWeights = Annotated[
    bool,
    _option("--class-weights/--no-class-weights", help="Let rare classes weigh as much as others."),
]
LabelSmoothing = Annotated[
    float, _option(help="Share of the target spread over all classes.", min=0.0, max=0.9)
]
Unfreeze = Annotated[
    str | None,
    _option(
        help="fine-tune: how many of the network's last layers learn, the first layer that does, "
        "or all.  \\[default: a quarter of them]",
        show_default=False,
    ),
]
TuneRate = Annotated[
    float | None,
    _option(
        help="augment, fine-tune: highest learning rate for a batch of 32.  "
        "\\[default: a tenth of --learning-rate]",
        min=1e-9,
        show_default=False,
    ),
]
TuneEpochs = Annotated[
    int | None,
    _option(
        help="augment, fine-tune: at most so many passes, from a warm-up along a cosine.  "
        "\\[default: 15]",
        min=1,
        show_default=False,
    ),
]
Augmentations = Annotated[
    Augmentation | None,
    _option(
        "--augmentation",
        help="augment, fine-tune: how images are changed.  \\[default: basic]",
        show_default=False,
    ),
]
Mirror = Annotated[
    bool | None,
    _option(
        "--mirror/--no-mirror",
        help="augment, fine-tune: mirror images too; not for letters and digits.  "
        "\\[default: mirror; auto: only near ImageNet]",
        show_default=False,
    ),
]
TrainImages = Annotated[
    int | None,
    _option(
        help="Learn from at most so many images, validation among them, the classes in turn.  "
        "\\[default: all]",
        min=2,
        show_default=False,
    ),
]
Mixup = Annotated[
    float,
    _option(help="augment, fine-tune: blend images, Beta(a, a); 0.2 is usual.", min=0.0),
]
Cutmix = Annotated[
    bool, _option("--cutmix", help="augment, fine-tune: put parts of images into others.")
]


def training_options(
    strategy: Strategy,
    head: HeadOptions,
    *,
    unfreeze: str | None,
    learning_rate: float | None,
    epochs: int | None,
    augmentation: Augmentation | None,
    mirror: bool | None,
    mixup: float,
    cutmix: bool,
) -> TrainingOptions:
    """The options as the pipeline takes them.

    Raises:
        UsageError: An option that would have no effect under the strategy.
    """
    check_metric(strategy, head)
    if strategy is not Strategy.FINE_TUNE and strategy is not Strategy.AUTO and unfreeze:
        raise UsageError(
            f"--unfreeze has no effect with --strategy {strategy}",
            hint="Use --strategy fine-tune or auto.",
        )
    given = {
        "--tune-learning-rate": learning_rate,
        "--tune-epochs": epochs,
        "--augmentation": augmentation,
        "--mirror": mirror,
        "--mixup": mixup or None,
        "--cutmix": cutmix or None,
    }
    named = [name for name, value in given.items() if value is not None]
    if strategy is Strategy.FEATURES and named:
        raise UsageError(
            f"{named[0]} has no effect with --strategy features",
            hint="Use --strategy augment, fine-tune or auto.",
        )
    standard = TuningOptions()
    tuning = TuningOptions(
        unfreeze=unfreeze,
        learning_rate=learning_rate,
        epochs=epochs or standard.epochs,
        augmentation=augmentation or standard.augmentation,
        mirror=mirror,
        mixup=mixup,
        cutmix=cutmix,
    )
    return TrainingOptions(strategy=strategy, head=head, tuning=tuning)
