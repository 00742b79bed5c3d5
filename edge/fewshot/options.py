"""What ``edge fewshot`` takes: resolved values."""

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

    CLASSES = "classes"  # single classes, whichever
    GROUPS = "groups"  # all classes of a group: what stands before the first "-" of their names


@dataclass(frozen=True, slots=True, kw_only=True)
class ReptileOptions:
    """Numbers of the training; the defaults are the paper's for 5-way Omniglot (its table 3).

    Attributes:
        iterations: Meta-iterations; the paper's 100 000 take days on two cores.
        meta_batch: Tasks of one meta-iteration.
        inner_iterations: Steps in one task.
        inner_batch: Pictures of one step.
        train_shots: Pictures of each class of a task of the training.
        learning_rate: Of Adam, in training and in episodes.
        meta_step: epsilon at the start.
        episode_iterations: Steps in an episode that is scored.
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
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class FewShotOptions:
    """One run.

    Attributes:
        photos: Folder with one folder of images per class.
        cache: Root of the stage cache.
        base: Whose features are the embeddings.
        bundle: A bundle whose features are the embeddings, instead of ``base``.
        methods: In the order of the table.
        ways: Classes of an episode.
        shots: Pictures shown of each class; one table column each, rising.
        queries: Pictures asked for of each class.
        episodes: How many.
        split: What is held out from meta-training.
        train_share: Share of the classes (or groups) that meta-training may see; the rest is
            what every method is scored on.
        rotations: Meta-train on every picture turned by 0, 90, 180 and 270 degrees, as classes
            of their own.
        size: Height and width of the pictures that the network of Reptile sees, pixels.
        reptile: Numbers of the meta-training.
        seed: Of split, episodes and initial weights.
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
        """Whether classes have to be kept apart to train on."""
        return not META_TRAINED.isdisjoint(self.methods)


def parse_methods(text: str | None) -> tuple[FewShotMethod, ...]:
    """Names separated by commas, in the order of the table; all without a text.

    Raises:
        UsageError: An unknown name, or none.
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
    """Counts separated by commas, such as ``1,5``; rising, each once.

    Raises:
        UsageError: Something else.
    """
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError:
        found = [0]
    if found[0] < 1:
        raise UsageError(f"--shots {text!r} is no list of counts", hint="Such as 1,5.")
    return tuple(found)
