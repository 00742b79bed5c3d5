"""The result of a run: accuracies with their intervals, as JSON and as a picture."""

import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge.fewshot.options import FewShotMethod
from edge.markup import plot_text
from edge.runtime.place import write_output

CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Mean accuracy over episodes.

    Attributes:
        shots: Pictures shown of each class.
        mean: 0..1.
        low: Lower end of the interval.
        high: Upper end.
        episodes: How many.
    """

    shots: int
    mean: float
    low: float
    high: float
    episodes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodAccuracy:
    """One method.

    Attributes:
        method: Which.
        accuracy: By number of shots, rising.
        seconds: Of learning and answering all episodes, measured; 0 where an earlier run had.
        meta_seconds: Of meta-training, measured when it was done; None where there is none.
    """

    method: FewShotMethod
    accuracy: tuple[Accuracy, ...]
    seconds: float
    meta_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FewShotResult:
    """One run.

    Attributes:
        name: Of the folder.
        ways: Classes of an episode.
        queries: Pictures asked for of each class.
        episodes: How many, of each number of shots; the same for every method.
        embedding: What the embeddings come from; None where no method uses any.
        classes: Counts: all, training, held_out, and held_out_groups (None for single classes).
        training: Names of the classes that meta-training saw.
        iterations: Of meta-training; None where no method does.
        rotations: Whether turned pictures were classes of their own in meta-training.
        rows: In the order of the table.
        seed: Of everything.
    """

    name: str
    ways: int
    queries: int
    episodes: int
    embedding: str | None
    classes: dict[str, int | None]
    training: tuple[str, ...]
    iterations: int | None
    rotations: bool
    rows: tuple[MethodAccuracy, ...]
    seed: int

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "schema_version": 1,
            "interval": "Student's t over episodes, 95 %",
            "transductive": True,
        } | asdict(self)


def mean_accuracy(shots: int, accuracies: Sequence[float]) -> Accuracy:
    """Mean and its interval, by Student's t over the episodes, cut at 0 and 1.

    Args:
        shots: For the answer.
        accuracies: Of each episode, at least two.
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
APART: Final = 0.012  # of the width between two methods, so that their intervals do not overlap


def draw(result: FewShotResult, path: Path) -> None:
    """Write the picture; its format is that of the suffix.

    Raises:
        OutputError: It cannot be written.
    """
    import matplotlib as mpl

    mpl.rcParams["svg.hashsalt"] = "edge"
    stream = io.BytesIO()
    form = path.suffix.lower()[1:]
    # Without a date: equal results, equal bytes.
    metadata = {"Date": None} if form == "svg" else {}
    _figure(result).savefig(stream, format=form, metadata=metadata, dpi=120)
    write_output(path, stream.getvalue())


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
        places = [place + APART * len(shots) * (number - middle) for place in range(len(shots))]
        panel.errorbar(
            places, means, yerr=spans, fmt="o-", capsize=3, linewidth=1, label=str(row.method)
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
        f"{result.classes['held_out']} {kind}"
    )
    panel.legend(loc="lower right", fontsize="small", ncols=2)
    panel.grid(axis="y", alpha=0.3)
    return figure
