"""Accuracy by number of shots, with intervals, as a picture."""

import io
from pathlib import Path
from typing import Any, Final

from edge.fewshot.result import FewShotResult
from edge.markup import plot_text
from edge.runtime.place import write_output

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
