"""How a head is trained, and how a base is tuned: resolved values."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from edge.errors import UsageError
from edge.runtime.contract import ChannelOrder, Resize
from edge.runtime.output import HeadKind

SPARSE: Final = "sparse_categorical_crossentropy"
TUNING_RATE: Final = 0.1  # share of the head's learning rate


IMAGENET: Final = "imagenet"
NONE: Final = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseOptions:
    """Which base, and how images come to it.

    Attributes:
        backbone: The name of a Keras Applications network, or path of a Keras model file.
        weights: ``imagenet``, ``none``, or a path; of no use with a model file.
        size: The height and width of the input, pixels; None for the network's own.
        alpha: The width, where the network has several.
        resize: How images become that size.
        crop_fraction: The part of the shorter side that center-crop keeps.
        input_range: What a model file wants to be fed, as ``parse_range`` reads it; None for
            0..255, unless pictures or the network itself tell otherwise: that stops the job.
        channel_order: The order of its channels; None for that of ``input_range``, or RGB.
        seed: The seed of random weights.
    """

    backbone: str = "mobilenet"
    weights: str = IMAGENET
    size: int | None = None
    alpha: float = 1.0
    resize: Resize = Resize.CENTER_CROP
    crop_fraction: float = 1.0
    input_range: str | None = None
    channel_order: ChannelOrder | None = None
    seed: int = 0


class Strategy(StrEnum):
    """How much of the network learns."""

    FEATURES = "features"  # a head, on features that are computed once
    AUGMENT = "augment"  # then the head, through the frozen base on changed images
    FINE_TUNE = "fine-tune"  # then the end of the base as well
    AUTO = "auto"  # one of these, by the data


class Augmentation(StrEnum):
    """How an image is changed while the base is run on it."""

    NONE = "none"
    BASIC = "basic"  # turned, zoomed, moved, brightened
    RANDAUGMENT = "randaugment"  # Cubuk et al. 2020, as Keras has it


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadOptions:
    """How a head is built and trained.

    Attributes:
        hidden: The units of each dense ReLU layer before the softmax; empty for none.
        metric: A head without gradient steps instead, which learns new classes on the device;
            every other option but the seed then has no effect.
        optimizer: The name of any Keras optimizer.
        loss: The name of any Keras classification loss.
        learning_rate: The rate of the optimizer for a batch of 32; it is scaled with the batch.
        batch_size: Images per step.
        epochs: The largest number of passes.
        patience: How many epochs without a better validation loss end the training.
        class_weights: Whether to weigh classes by the inverse of their share of the images.
        label_smoothing: The share of the target that is spread over all classes, [0, 1).
        seed: The seed of the initial weights and the shuffling.
    """

    hidden: tuple[int, ...] = ()
    metric: HeadKind | None = None
    optimizer: str = "adam"
    loss: str = SPARSE
    learning_rate: float = 1e-3
    batch_size: int = 32
    epochs: int = 100
    patience: int = 5
    class_weights: bool = True
    label_smoothing: float = 0.0
    seed: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the options as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningOptions:
    """How training goes on through the base.

    Attributes:
        unfreeze: How many of the base's last layers learn, or the first layer that does, or
            ``all``; None for a quarter of the layers.
        learning_rate: The rate for a batch of 32; None for a tenth of the head's.
        epochs: The largest number of passes; warm-up and cosine are laid over all of them.
        patience: How many epochs without a better validation loss end the training.
        warmup_epochs: The number of passes over which the learning rate rises from 0.
        augmentation: How images are changed.
        mirror: Whether to mirror every other image; None to leave it to the strategy.
        mixup: The alpha of the Beta distribution by which two images are blended (Zhang et al.
            2018); 0 for none.
        cutmix: Whether to put a part of one image into another (Yun et al. 2019).
    """

    unfreeze: str | None = None
    learning_rate: float | None = None
    epochs: int = 15
    patience: int = 4
    warmup_epochs: int = 1
    augmentation: Augmentation = Augmentation.BASIC
    mirror: bool | None = None
    mixup: float = 0.0
    cutmix: bool = False

    def rate(self, head: HeadOptions) -> float:
        """Return the learning rate for a batch of 32."""
        return (
            head.learning_rate * TUNING_RATE if self.learning_rate is None else self.learning_rate
        )

    def to_json(self) -> dict[str, Any]:
        """Return the options as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """What trains.

    Attributes:
        strategy: How much of the network learns.
        head: The head.
        tuning: What comes after the head.
    """

    strategy: Strategy = Strategy.FEATURES
    head: HeadOptions = field(default_factory=HeadOptions)
    tuning: TuningOptions = field(default_factory=TuningOptions)

    def to_json(self) -> dict[str, Any]:
        """Return the options as JSON values."""
        return {
            "strategy": str(self.strategy),
            "head": self.head.to_json(),
            "tuning": self.tuning.to_json(),
        }


def parse_metric(text: str) -> HeadKind | None:
    """Read ``knn`` or ``imprinted``; None for anything else, which ``parse_hidden`` reads."""
    name = text.strip().lower()
    return HeadKind(name) if name in list(HeadKind) else None


def check_metric(strategy: Strategy, head: HeadOptions) -> None:
    """Refuse options that a head without gradient steps would silently ignore.

    Raises:
        UsageError: There are some.
    """
    if head.metric is None:
        return
    if strategy is not Strategy.FEATURES:
        raise UsageError(
            f"--head {head.metric} learns without gradient steps, and --strategy {strategy} trains "
            "by them",
            hint="Leave out --strategy, or take a head such as none or 128.",
        )
    standard = asdict(HeadOptions(metric=head.metric, seed=head.seed))
    changed = [name for name, value in asdict(head).items() if value != standard[name]]
    if changed:
        option = changed[0].replace("_", "-")
        raise UsageError(
            f"--{option} has no effect with --head {head.metric}: nothing is trained by gradients",
            hint=f"Leave out --{option}, or take a head such as none or 128.",
        )


def parse_hidden(text: str) -> tuple[int, ...]:
    """Read ``none`` or units such as ``256,128``; no units for the words of ``parse_metric``.

    Raises:
        UsageError: Anything else.
    """
    if text.strip().lower() == "none" or parse_metric(text) is not None:
        return ()
    try:
        units = tuple(int(part) for part in text.split(","))
    except ValueError:
        units = (0,)
    if any(unit < 1 for unit in units):
        raise UsageError(
            f"--head {text!r} is not a head",
            hint="Use none, knn, imprinted, or units such as 128 or 256,128.",
        )
    return units
