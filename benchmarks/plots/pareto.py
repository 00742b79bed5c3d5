"""Accuracy against latency, and the front of what nothing else beats in both."""

from collections.abc import Sequence
from typing import Any, Final

from benchmarks.accelerators.base import Label
from benchmarks.outputs import describe
from benchmarks.plots import style
from benchmarks.result import BenchmarkRow, Results
from benchmarks.stats import median

# Where a label may stand, in points from its marker: the nearest that hides nothing is taken.
_PLACES: Final = tuple(
    (x, y, side)
    for near in (6, 11)
    for x, y, side in (
        (-near, near, "right"),
        (0, near + 2, "center"),
        (near, -near, "left"),
        (0, -near - 2, "center"),
        (near, near, "left"),
        (-near, -near, "right"),
        (near + 2, 0, "left"),
        (-near - 2, 0, "right"),
    )
)
_MARKER: Final = 4.5  # half the extent of a marker, pixels
PALE: Final = 0.4  # opacity of a point that another one beats
MOST_NAMED: Final = 24  # points; of more, only those of the front have a name


def pareto(
    results: Results, what: str = "Accuracy against latency", most_named: int = MOST_NAMED
) -> Any | None:
    """Draw top-1 over milliseconds per image; None where no measured row has a known accuracy.

    Only times of real hardware make the front. Hollow markers are software GPUs and simulators,
    and pale ones are beaten by another row in both.
    """
    rows = [row for row in style.measured(results) if row.model.top1 is not None]
    if not rows:
        return None
    figure = style.new_figure(5.2)
    panel = figure.subplots()
    paths = dict.fromkeys(f"{row.accelerator}{describe.setting(row, results)}" for row in rows)
    best = front([row for row in rows if row.label is Label.HARDWARE])
    for number, path in enumerate(paths):
        _draw_path(panel, number, path, [r for r in rows if _path(r, results) == path], best)
    if best:
        # From point to point: steps would run through every point that is as accurate as one of
        # the front and slower, as if it were part of it. The last one twice: one is a line too.
        panel.plot(
            [per_image(row) for row in (*best, best[-1])],
            [_percent(row) for row in (*best, best[-1])],
            color="black",
            linewidth=0.9,
            linestyle="--",
            zorder=1,
            label="Pareto front",
        )
    style.time_axis(panel.xaxis, [per_image(row) for row in rows], "median milliseconds per image")
    panel.set_ylabel("top-1 accuracy, percent")
    panel.margins(0.12)
    low, high = panel.get_ylim()
    panel.set_ylim(max(low, 0), min(high, 100))  # no share is outside; markers are not cut
    panel.grid(alpha=0.3)
    style.legend(panel, 3)
    style.title(figure, what, results, rows)
    _name_points(figure, panel, best, rows, most_named)
    return figure


def front(rows: Sequence[BenchmarkRow]) -> list[BenchmarkRow]:
    """Return the rows that no other beats, being as good in the one and better in the other."""
    best: list[BenchmarkRow] = []
    for row in sorted(rows, key=lambda item: (per_image(item), -_percent(item))):
        point = (per_image(row), _percent(row))
        if (
            not best
            or point[1] > _percent(best[-1])
            or point == (per_image(best[-1]), _percent(best[-1]))
        ):
            best.append(row)
    return best


def per_image(row: BenchmarkRow) -> float:
    """Return the median milliseconds of one image."""
    assert row.timing is not None
    return 1e3 * median(row.timing.samples) / row.batch


def _percent(row: BenchmarkRow) -> float:
    return 100 * (row.model.top1 or 0.0)


def _path(row: BenchmarkRow, results: Results) -> str:
    return f"{row.accelerator}{describe.setting(row, results)}"


def _draw_path(
    panel: Any, number: int, path: str, rows: Sequence[BenchmarkRow], best: Sequence[BenchmarkRow]
) -> None:
    """Draw the points of one path: those of the front in full colour, the others pale."""
    color = style.COLORS[number % len(style.COLORS)]
    hardware = all(row.label is Label.HARDWARE for row in rows)
    on_front = {id(row) for row in best}
    label: str | None = path if hardware else f"{path} ({rows[0].label})"
    for shown, alpha in (
        ([row for row in rows if id(row) in on_front], 1.0),
        ([row for row in rows if id(row) not in on_front], PALE if hardware else 1.0),
    ):
        if shown:
            panel.plot(
                [per_image(row) for row in shown],
                [_percent(row) for row in shown],
                style.MARKERS[number % len(style.MARKERS)],
                markersize=6,
                color=color,
                markerfacecolor=color if hardware else "none",
                linestyle="none",
                alpha=alpha,
                clip_on=False,
                label=label,
            )
            label = None  # one entry of the legend


def _name_points(
    figure: Any, panel: Any, best: Sequence[BenchmarkRow], rows: Sequence[BenchmarkRow], most: int
) -> None:
    """Name the front's points first, then others as far as there is room."""
    from matplotlib.patheffects import withStroke
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()  # settles the layout
    renderer = figure.canvas.get_renderer()
    frame = panel.get_window_extent(renderer)
    points = panel.transData.transform([(per_image(row), _percent(row)) for row in rows])
    taken = [Bbox([point - _MARKER, point + _MARKER]) for point in points]
    others = rows if len(rows) <= most else ()
    ordered = list(dict.fromkeys((*map(id, best), *map(id, others))))
    by_id = {id(row): row for row in rows}
    for row in (by_id[key] for key in ordered):
        label = panel.annotate(
            style.name(row, rows),
            (per_image(row), _percent(row)),
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=7.5,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )
        for x, y, side in _PLACES:
            label.set(ha=side, va="center")
            label.xyann = (x, y)
            box = label.get_window_extent(renderer)
            inside = frame.contains(*box.min) and frame.contains(*box.max)
            if inside and not box.count_overlaps(taken):
                taken.append(box)
                break
        else:
            label.remove()
