"""What ``edge fewshot`` takes, as resolved values."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from edge.errors import UsageError
from edge.training.options import BaseOptions


class FewShotMethod(StrEnum):
    """How an episode is learnt from its few pictures."""

    PIXELS = "pixels"  # k-NN on the pixels themselves
    KNN = "knn"  # k-NN on embeddings
    IMPRINTED = "imprinted"  # nearest class mean on embeddings
    LOGISTIC = "logistic"  # logistic regression on embeddings
    CONV4 = "conv4"  # the network of Reptile from random weights
    REPTILE_HEAD = "reptile-head"  # a meta-trained head on embeddings
    REPTILE = "reptile"  # the network of Reptile, meta-trained, on the pictures


EMBEDDED: Final = frozenset(
    {FewShotMethod.KNN, FewShotMethod.IMPRINTED, FewShotMethod.LOGISTIC, FewShotMethod.REPTILE_HEAD}
)
BATCHED: Final = frozenset(
    {FewShotMethod.CONV4, FewShotMethod.REPTILE}
)  # they normalise over a batch
META_TRAINED: Final = frozenset({FewShotMethod.REPTILE, FewShotMethod.REPTILE_HEAD})


class Split(StrEnum):
    """What is held out from meta-training."""

    CLASSES = "classes"  # single classes
    GROUPS = "groups"  # all classes with the same text before the first "-" of their names


@dataclass(frozen=True, slots=True, kw_only=True)
class ReptileOptions:
    """The parameters of Reptile; the defaults are those of Nichol et al., table 3, 5-way Omniglot.

    Attributes:
        iterations: The number of meta-iterations; the 100 000 of the paper take days on two cores.
        meta_batch: The number of tasks in one meta-iteration.
        inner_iterations: The number of steps in one task.
        inner_batch: The number of pictures in one step.
        train_shots: The number of pictures of each class in a task of the training.
        learning_rate: The learning rate of Adam, in training and in episodes.
        meta_step: The step size epsilon at the start.
        episode_iterations: The number of steps in an episode that is scored.
    """

    iterations: int = 2000
    meta_batch: int = 5
    inner_iterations: int = 5
    inner_batch: int = 10
    train_shots: int = 10
    learning_rate: float = 1e-3
    meta_step: float = 1.0
    episode_iterations: int = 50

    def to_json(self) -> dict[str, Any]:
        """Return the parameters as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class FewShotOptions:
    """The options of one run.

    Attributes:
        photos: The folder with one folder of images per class.
        cache: The root of the stage cache.
        base: The base whose features are the embeddings.
        bundle: The bundle whose features are the embeddings, instead of those of ``base``.
        methods: The methods to score, in the order of the table.
        ways: The number of classes in an episode.
        shots: The numbers of pictures shown of each class, rising; each is a column of the table.
        queries: The number of pictures asked for of each class.
        episodes: The number of episodes.
        split: What is held out from meta-training.
        train_share: The share of the classes (or groups) that meta-training may see; every method
            is scored on the rest.
        rotations: Whether to meta-train on every picture turned by 0, 90, 180 and 270 degrees, as
            classes of their own.
        size: The height and width of the pictures that the network of Reptile sees, in pixels.
        reptile: The parameters of the meta-training.
        seed: The seed of split, episodes and initial weights.
    """

    photos: Path
    cache: Path
    base: BaseOptions = field(default_factory=BaseOptions)
    bundle: Path | None = None
    methods: tuple[FewShotMethod, ...] = tuple(FewShotMethod)
    ways: int = 5
    shots: tuple[int, ...] = (1, 5)
    queries: int = 5
    episodes: int = 200
    split: Split = Split.CLASSES
    train_share: float = 0.75
    rotations: bool = True
    size: int = 28
    reptile: ReptileOptions = field(default_factory=ReptileOptions)
    seed: int = 0

    @property
    def meta_trains(self) -> bool:
        """Whether classes have to be kept apart for meta-training."""
        return not META_TRAINED.isdisjoint(self.methods)


def parse_methods(text: str | None) -> tuple[FewShotMethod, ...]:
    """Parse names separated by commas into methods, in the order of the table; None means all.

    Raises:
        UsageError: A name is unknown, or there is none.
    """
    if text is None:
        return tuple(FewShotMethod)
    names = {part.strip().lower() for part in text.split(",") if part.strip()}
    unknown = sorted(names - set(FewShotMethod))
    if unknown or not names:
        raise UsageError(
            f"--methods names {unknown[0]!r}" if unknown else "--methods names none",
            hint=f"Known: {', '.join(FewShotMethod)}.",
        )
    return tuple(method for method in FewShotMethod if method in names)


def parse_shots(text: str) -> tuple[int, ...]:
    """Parse counts separated by commas, such as ``1,5``, into rising numbers, each once.

    Raises:
        UsageError: The text is something else.
    """
    try:
        counts = sorted({int(part) for part in text.split(",")})
    except ValueError:
        counts = [0]
    if counts[0] < 1:
        raise UsageError(f"--shots {text!r} is not a list of counts", hint="Write it as in 1,5.")
    return tuple(counts)
