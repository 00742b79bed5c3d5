"""The result of a run: accuracies with their intervals, as JSON and as a picture."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge.fewshot.options import FewShotMethod
from edge.figures import plot_text, write_figure

CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """The mean accuracy over episodes, with its interval.

    Attributes:
        shots: The number of pictures shown of each class.
        mean: The mean accuracy, 0..1.
        low: The lower end of the interval.
        high: The upper end of the interval.
        episodes: The number of episodes.
    """

    shots: int
    mean: float
    low: float
    high: float
    episodes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodAccuracy:
    """The accuracies of one method.

    Attributes:
        method: The method.
        accuracy: The accuracy for each number of shots, rising.
        seconds: The measured time to learn and answer all episodes; 0 if an earlier run did so.
        meta_seconds: The measured time of the meta-training, whenever it was done; None if the
            method has none.
    """

    method: FewShotMethod
    accuracy: tuple[Accuracy, ...]
    seconds: float
    meta_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCounts:
    """How many classes a run has.

    Attributes:
        all: The number of all classes.
        training: The number of those that meta-training saw.
        held_out: The number of those that episodes are drawn from.
        held_out_groups: The number of groups that these are; None if single classes are held out.
    """

    all: int
    training: int
    held_out: int
    held_out_groups: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FewShotResult:
    """The result of one run.

    Attributes:
        name: The name of the folder.
        ways: The number of classes in an episode.
        queries: The number of pictures asked for of each class.
        episodes: The number of episodes for each number of shots; all methods see the same ones.
        embedding: What the embeddings come from; None if no method uses any.
        classes: How many classes there are, and what for.
        training: The names of the classes that meta-training saw.
        iterations: The number of meta-iterations; None if no method is meta-trained.
        rotations: Whether turned pictures were classes of their own in meta-training.
        rows: The accuracies of each method, in the order of the table.
        seed: The seed of everything.
    """

    name: str
    ways: int
    queries: int
    episodes: int
    embedding: str | None
    classes: ClassCounts
    training: tuple[str, ...]
    iterations: int | None
    rotations: bool
    rows: tuple[MethodAccuracy, ...]
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {
            "schema_version": 1,
            "interval": "Student's t over episodes, 95 %",
            "transductive": True,
        } | asdict(self)


def mean_accuracy(shots: int, accuracies: Sequence[float]) -> Accuracy:
    """Return the mean and its interval, by Student's t over the episodes, cut at 0 and 1.

    Args:
        shots: The number of pictures shown of each class.
        accuracies: The accuracy of each episode; there are at least two.
    """
    from scipy.special import stdtrit

    values = np.asarray(accuracies, np.float64)
    count = len(values)
    mean = float(values.mean())
    quantile = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2))
    spread = quantile * float(values.std(ddof=1)) / math.sqrt(count)
    return Accuracy(
        shots=shots,
        mean=mean,
        low=max(0.0, mean - spread),
        high=min(1.0, mean + spread),
        episodes=count,
    )


SUFFIXES: Final = (".png", ".svg")
APART: Final = 0.012  # distance of two methods on the axis, so that their intervals do not overlap


def draw(result: FewShotResult, path: Path) -> None:
    """Write the accuracies by number of shots as a picture, in the format of the suffix.

    Raises:
        OutputError: The picture cannot be written.
    """
    write_figure(_figure(result), path, dpi=120, with_creator=True)


def _figure(result: FewShotResult) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    panel = figure.subplots()
    shots = [item.shots for item in result.rows[0].accuracy]
    middle = (len(result.rows) - 1) / 2
    for number, row in enumerate(result.rows):
        means = [100 * item.mean for item in row.accuracy]
        spans = [
            [100 * (item.mean - item.low) for item in row.accuracy],
            [100 * (item.high - item.mean) for item in row.accuracy],
        ]
        positions = [at + APART * len(shots) * (number - middle) for at in range(len(shots))]
        panel.errorbar(
            positions, means, yerr=spans, fmt="o-", capsize=3, linewidth=1, label=str(row.method)
        )
    chance = 100 / result.ways
    panel.axhline(chance, color="grey", linestyle=":", linewidth=1, label="chance")
    panel.set_xticks(range(len(shots)), [str(count) for count in shots])
    panel.set_ylim(0, 101)
    panel.set_xlabel("shots: pictures shown of each class")
    panel.set_ylabel("accuracy, percent; 95 % intervals")
    kind = "held-out classes" if result.training else "classes"
    panel.set_title(
        f"{plot_text(result.name)}: {result.ways}-way, {result.episodes} episodes of "
        f"{result.classes.held_out} {kind}"
    )
    panel.legend(loc="lower right", fontsize="small", ncols=2)
    panel.grid(axis="y", alpha=0.3)
    return figure
