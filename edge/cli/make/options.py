"""Options of the commands that make bundles."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from edge.cli import options as shared
from edge.errors import UsageError
from edge.training.options import (
    Augmentation,
    HeadOptions,
    Strategy,
    TrainingOptions,
    TuningOptions,
    check_metric,
)

if TYPE_CHECKING:
    from edge.pipeline.options import OutputOptions

PANEL: Final = "Training"


def _option(*names: str, **settings: Any) -> Any:
    """An option that ``--help`` shows with those of its kind."""
    return typer.Option(*names, rich_help_panel=PANEL, **settings)


STRATEGY_HELP: Final = (
    "What is trained. features: a head, on features that are computed once. augment: "
    "after that, the head on changed images. fine-tune: after that, the end of the "
    "network too. auto: one of these, chosen by the data, with the reason."
)
Strategies = Annotated[Strategy, _option("--strategy", help=STRATEGY_HELP)]
Head = Annotated[
    str,
    _option(
        help="Head of the network: the units of dense layers before the softmax (none, 128, "
        "256,128 ...); or knn or imprinted, which learn without gradient steps, and new "
        "classes on the device."
    ),
]
Optimizer = Annotated[str, _option(help="Name of a Keras optimizer.")]
Loss = Annotated[str, _option(help="Name of a Keras classification loss.")]
LearningRate = Annotated[
    float,
    _option(
        help="Learning rate of the head, for a batch of 32; it is scaled with the batch.", min=1e-8
    ),
]
BatchSize = Annotated[int, _option(help="Number of images in a training step.", min=1)]
Epochs = Annotated[
    int, _option(help="Largest number of passes over the images that train the head.", min=1)
]
Patience = Annotated[
    int,
    _option(
        help="Number of passes without a better validation loss after which training ends.", min=1
    ),
]
ClassWeights = Annotated[
    bool,
    _option(
        "--class-weights/--no-class-weights", help="Give rare classes as much weight as others."
    ),
]
LabelSmoothing = Annotated[
    float, _option(help="Share of the target that is spread over all classes.", min=0.0, max=0.9)
]
Unfreeze = Annotated[
    str | None,
    _option(
        help="With fine-tune: the number of the network's last layers that learn, the name of the "
        "first one, or all.  \\[default: a quarter of them]",
        show_default=False,
    ),
]
TuneRate = Annotated[
    float | None,
    _option(
        help="With augment and fine-tune: the highest learning rate, for a batch of 32.  "
        "\\[default: a tenth of --learning-rate]",
        min=1e-9,
        show_default=False,
    ),
]
TuneEpochs = Annotated[
    int | None,
    _option(
        help="With augment and fine-tune: the largest number of passes; the learning rate warms up "
        "and then follows a cosine.  "
        "\\[default: 15]",
        min=1,
        show_default=False,
    ),
]
Augmentations = Annotated[
    Augmentation | None,
    _option(
        "--augmentation",
        help="With augment and fine-tune: how images are changed.  \\[default: basic]",
        show_default=False,
    ),
]
Mirror = Annotated[
    bool | None,
    _option(
        "--mirror/--no-mirror",
        help="With augment and fine-tune: mirror images too, which harms letters and digits.  "
        "\\[default: mirror; auto: only near ImageNet]",
        show_default=False,
    ),
]
TrainImages = Annotated[
    int | None,
    _option(
        help="Largest number of images to learn from, validation among them; the classes take "
        "turns.  \\[default: all]",
        min=2,
        show_default=False,
    ),
]
Mixup = Annotated[
    float,
    _option(
        help="With augment and fine-tune: blend images with a share drawn from Beta(A, A), "
        "where A is this number; 0.2 is usual.",
        min=0.0,
    ),
]
Cutmix = Annotated[
    bool, _option("--cutmix", help="With augment and fine-tune: put parts of images into others.")
]


Groups = Annotated[
    Path | None,
    typer.Option(
        "--groups",
        help="CSV file with the columns file (path below PHOTOS) and group: no group is divided "
        "between the splits. A picture that it does not name is a group of its own.",
        show_default=False,
    ),
]
DivideGroups = Annotated[
    bool,
    typer.Option(
        "--divide-groups",
        help="With --groups: divide the pictures of a class with too few groups one by one, and "
        "say that this flatters the score, instead of failing.",
    ),
]
CalibrationImages = Annotated[
    int, typer.Option(help="Largest number of images that calibrate int8.", min=1)
]


class Quantize(StrEnum):
    """The files that are written besides those of every bundle."""

    INT8 = "int8"
    W8A16 = "w8a16"
    AUTO = "auto"


QuantizeOption = Annotated[
    Quantize,
    typer.Option(
        "--quantize",
        help="How files are quantized: int8; w8a16 adds TFLite with int16 activations; auto "
        "adds mixed files, which keep the fewest blocks in floats that hold --max-drop.",
    ),
]
MaxDrop = Annotated[
    float | None,
    typer.Option(
        help="Percentage points of top-1 accuracy that a mixed file may lose; the exit code "
        "is 1 if no file holds this.  \\[default with --quantize auto: 0.5; with --recipe: what "
        "that says]",
        min=0.0,
        max=100.0,
        show_default=False,
    ),
]
Recipe = Annotated[
    Path | None,
    typer.Option(
        help="File recipe.json of an earlier search: its mixed files are made without a search.",
        show_default=False,
    ),
]
Variants = Annotated[
    str | None,
    typer.Option(
        help="Names of the variants to write, separated by commas, such as tflite-int8,onnx-fp32.  "
        "\\[default: the six without mixed and w8a16]",
        show_default=False,
    ),
]


DefaultVariant = Annotated[
    str | None,
    typer.Option(
        "--default",
        help="Name of the variant that runs by default, such as tflite-int8.  \\[default: the "
        "fastest here of those that are as accurate]",
        show_default=False,
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Fail on an image that cannot be decoded, or that is named and missing; and, with "
        "exit code 1, on an integer file that is less accurate than the model or slower here than "
        "the float file of its format.",
    ),
]


def checked_divide(groups: Path | None, *, divides: bool) -> bool:
    """Return whether groups may be divided.

    Raises:
        UsageError: There are none.
    """
    if divides and groups is None:
        raise UsageError(
            "--divide-groups has no effect without --groups", hint="Add --groups FILE."
        )
    return divides


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
    """Return the options as the pipeline takes them.

    Raises:
        UsageError: An option would have no effect with the strategy.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleFlags:
    """The options of every job that makes a bundle; ``spread`` makes options of the fields."""

    variants: Variants = None
    quantize: QuantizeOption = Quantize.INT8
    max_drop: MaxDrop = None
    recipe: Recipe = None
    default: DefaultVariant = None
    strict: Strict = False
    calibration_images: CalibrationImages = 100
    seed: shared.Seed = 0
    overwrite: shared.Overwrite = False
    cache: shared.Cache = None
    json: shared.Json = False
    quiet: shared.Quiet = False

    def output_options(self, output: Path, name: str | None = None) -> "OutputOptions":
        """Return the options of the job, whatever the bundle is made from.

        Args:
            output: The folder of the bundle.
            name: The name of the bundle; None for that of what it is made from.

        Raises:
            UsageError: Options about variants contradict one another, or would have no effect.
            OutputError: The stage cache cannot be used.
        """
        from edge.pipeline.options import OutputOptions

        replayed = self.recipe is not None
        variants = variant_names(self.variants, self.quantize, recipe=replayed)
        required = required_variants(self.variants, self.quantize, recipe=replayed)
        return OutputOptions(
            output=output,
            overwrite=self.overwrite,
            cache=shared.cache_root(self.cache),
            variants=variants,
            required=with_default(required, self.default, variants),
            default_variant=self.default,
            strict=self.strict,
            max_drop_points=allowed_drop(self.max_drop, self.quantize, recipe=replayed),
            recipe=self.recipe,
            calibration_images=self.calibration_images,
            name=name,
            seed=self.seed,
        )


def variant_names(
    text: str | None, quantize: Quantize = Quantize.INT8, *, recipe: bool = False
) -> tuple[str, ...]:
    """Return the names of the targets to write.

    Raises:
        UsageError: A name is unknown, empty or there twice, there is no name, or nothing decides
            about a mixed file.
    """
    from converters.base import DEFAULT_TARGETS, TARGETS, Precision, targets

    extra = _added(quantize, recipe=recipe)
    added = {TARGETS[name].precision for name in extra}
    if text is None:
        return (*DEFAULT_TARGETS, *extra)
    names = tuple(part.strip() for part in text.split(","))
    if not any(names):
        raise UsageError("--variants names none", hint=f"Known: {', '.join(TARGETS)}.")
    if "" in names:
        raise UsageError(
            f"--variants {text!r} has an empty name", hint="Separate names by one comma each."
        )
    wanted = targets(names)
    if len(wanted) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"--variants names {twice} twice", hint="Name each variant once.")
    mixed = [item.name for item in wanted if item.precision is Precision.MIXED]
    if mixed and Precision.MIXED not in added:
        raise UsageError(
            f"what {mixed[0]} keeps in floats is not decided",
            hint="Add --quantize auto with --max-drop POINTS, or --recipe FILE.",
        )
    if extra and not any(item.precision in added for item in wanted):
        raise UsageError(
            f"--variants leaves out what --quantize {quantize} or --recipe adds",
            hint=f"Name one of {', '.join(extra)} as well.",
        )
    return tuple(target.name for target in wanted)


def required_variants(
    text: str | None, quantize: Quantize = Quantize.INT8, *, recipe: bool = False
) -> tuple[str, ...]:
    """Return the variants that an option asked for: without one of them no bundle is written."""
    if text is None:
        return _added(quantize, recipe=recipe)
    return variant_names(text, quantize, recipe=recipe)


def with_default(
    required: tuple[str, ...], default: str | None, variants: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the variants that have to be written, with the one that is to run by default.

    Raises:
        UsageError: That one is not to be written at all.
    """
    if default is None:
        return required
    if default not in variants:
        raise UsageError(
            f"--default {default} is none of the variants that are written",
            hint=f"These are {', '.join(variants)}; --variants and --quantize choose them.",
        )
    return tuple(name for name in variants if name in required or name == default)


def _added(quantize: Quantize, *, recipe: bool) -> tuple[str, ...]:
    """Return what ``--quantize`` and ``--recipe`` add to the usual targets."""
    from converters.base import TARGETS, Precision

    added = {Quantize.W8A16: {Precision.W8A16}, Quantize.AUTO: {Precision.MIXED}}.get(
        quantize, set()
    )
    if recipe:
        added.add(Precision.MIXED)
    return tuple(name for name, target in TARGETS.items() if target.precision in added)


DEFAULT_MAX_DROP = 0.5  # percentage points of top-1


def allowed_drop(value: float | None, quantize: Quantize, *, recipe: bool) -> float | None:
    """Return the loss that mixed files may have, in percentage points; None for no mixed files.

    Raises:
        UsageError: A loss is given and no mixed file is made, or two options decide about them.
    """
    if value is not None and quantize is not Quantize.AUTO and not recipe:
        raise UsageError(
            "--max-drop is the loss that mixed files may have, and none is made",
            hint="Add --quantize auto, or --recipe FILE.",
        )
    if quantize is Quantize.AUTO and recipe:
        raise UsageError(
            "--quantize auto searches, --recipe replays: only one of them can decide",
            hint="Leave out one of the two.",
        )
    return DEFAULT_MAX_DROP if value is None and quantize is Quantize.AUTO else value
