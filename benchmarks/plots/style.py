"""What the pictures share: colours, hatches, the title, and how they are written."""

from collections.abc import Sequence
from typing import Any, Final

from benchmarks.accelerators.base import Label, Unit
from benchmarks.outputs import describe
from benchmarks.result import BenchmarkRow, Results, Status
from edge.figures import plot_text

FORMATS: Final = ("png", "svg")
WIDTH: Final = 8.5  # inches; with DPI what a README shows without shrinking it to the illegible
DPI: Final = 110
# Okabe, Ito, "Color Universal Design", 2008: told apart with any colour vision.
COLORS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
UNIT_COLORS: Final = {Unit.CPU: COLORS[0], Unit.GPU: COLORS[4], Unit.NPU: COLORS[2]}
HATCHES: Final = {Label.SOFTWARE_GPU: "////", Label.SIMULATOR: "...."}
LOG_SPREAD: Final = 15  # the largest time / the least, from which the least is no visible bar
_TITLE: Final = 100  # characters; more does not fit WIDTH


def measured(results: Results) -> list[BenchmarkRow]:
    """Return the rows with a time that may be shown."""
    return [
        row
        for row in results.rows
        if row.status is Status.MEASURED and row.timing is not None and row.label is not None
    ]


def new_figure(height: float) -> Any:
    """Make an empty figure of that height in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def title(figure: Any, what: str, results: Results, rows: Sequence[BenchmarkRow]) -> None:
    """Write the title: what is shown, and below it where it was measured."""
    machine = describe.machine(results.environment)
    setting = describe.shared_setting(rows)
    shown = f"{machine}; {setting}"
    if len(shown) > _TITLE:
        shown = f"{machine[: _TITLE - len(setting) - 3]}…; {setting}"
    bundles = {row.model.bundle for row in rows}
    if len(bundles) == 1 and "" not in bundles:
        what = f"{what}: {plot_text(bundles.pop())}"
    figure.suptitle(f"{what}\n{plot_text(shown, 2 * _TITLE)}", fontsize=10)


def name(row: BenchmarkRow, rows: Sequence[BenchmarkRow]) -> str:
    """Return the model's name; without its bundle where all rows are of one."""
    one = len({item.model.bundle for item in rows}) == 1
    return plot_text(row.model.name if one else describe.model_name(row))


def time_axis(axis: Any, times: Sequence[float], label: str) -> bool:
    """Label an x axis of milliseconds, which is logarithmic where the times differ much.

    Returns:
        Whether it is logarithmic.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    logarithmic = max(times) > LOG_SPREAD * min(times)
    if logarithmic:
        axis.axes.set_xscale("log")
        axis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
        axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axis.set_label_text(label + (" (logarithmic)" if logarithmic else ""))
    return logarithmic


def legend(panel: Any, columns: int, handles: Sequence[Any] | None = None) -> None:
    """Put a legend above the panel, where it hides nothing."""
    given = {} if handles is None else {"handles": handles}
    panel.legend(
        **given,
        fontsize=8,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=columns,
        frameon=False,
    )
