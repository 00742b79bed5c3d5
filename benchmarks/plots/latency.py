"""Times: the bars of all rows, and the curve of a sustained run."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from benchmarks.accelerators.base import Label, Unit
from benchmarks.outputs import describe
from benchmarks.plots import style
from benchmarks.result import BenchmarkRow, Moment, Results, Status
from benchmarks.stats import summary
from edge import wording

LINE: Final = 0.26  # inches of one bar
EDGES: Final = 1.3  # inches of titles and axis of a panel
MOST: Final = 240  # bars; a taller picture than that has no reader


def latency(results: Results) -> Any | None:
    """Draw bars grouped by model; None without a time.

    Whiskers reach from p5 to p95. Bars are hatched where the CPU computed the processor. Estimates
    are outlined, in a panel of their own.
    """
    timed = style.measured(results)[:MOST]
    estimated = [
        row for row in results.rows if row.status is Status.ESTIMATED and row.estimate is not None
    ]
    shown = [rows for rows in (timed, estimated) if rows]
    if not shown:
        return None
    heights = [LINE * _lines(rows) + EDGES for rows in shown]
    figure = style.new_figure(sum(heights) + 0.5)
    panels = figure.subplots(len(shown), 1, squeeze=False, height_ratios=heights)[:, 0]
    for panel, rows in zip(panels, shown, strict=True):
        if rows is timed:
            _measured(panel, rows, results)
        else:
            _estimates(panel, rows, results)
    style.title(
        figure, "Latency of one inference", results, [row for rows in shown for row in rows]
    )
    return figure


def _lines(rows: Sequence[BenchmarkRow]) -> int:
    models = len(describe.by_model(rows))
    return len(rows) + (models if models < len(rows) else 0)


def _measured(panel: Any, rows: Sequence[BenchmarkRow], results: Results) -> None:
    times = {id(row): summary(row.timing.samples) for row in rows if row.timing is not None}

    def bar(row: BenchmarkRow, position: float) -> None:
        spread = times[id(row)]
        assert row.label is not None
        panel.barh(
            position,
            1e3 * spread.median,
            height=0.72,
            color=style.UNIT_COLORS[row.unit],
            edgecolor="white",
            hatch=style.HATCHES.get(row.label),
            linewidth=0,
        )
        panel.plot(
            [1e3 * spread.p5, 1e3 * spread.p95], [position, position], color="black", linewidth=1.1
        )
        words = [wording.milliseconds(spread.median)]
        if row.coverage is not None and not row.coverage.full and row.unit is not Unit.CPU:
            words.append(f"{describe.coverage(row)}")
        words += [describe.outcome(row).removeprefix(Label.HARDWARE.value).removeprefix(", ")]
        _beside(
            panel, 1e3 * max(spread.median, spread.p95), position, ", ".join(filter(None, words))
        )

    _rows(panel, rows, results, bar)
    ends = [1e3 * item.p5 for item in times.values()]
    ends += [1e3 * item.p95 for item in times.values()]
    _scale(panel, ends, "milliseconds: bar to the median, line from p5 to p95")
    _legend(panel, rows)


def _estimates(panel: Any, rows: Sequence[BenchmarkRow], results: Results) -> None:
    def bar(row: BenchmarkRow, position: float) -> None:
        value = 1e3 * (row.estimate or 0.0)
        panel.barh(position, value, height=0.72, fill=False, edgecolor="#555555", linewidth=1.2)
        _beside(panel, value, position, wording.milliseconds(row.estimate))

    _rows(panel, rows, results, bar)
    _scale(panel, [1e3 * (row.estimate or 0.0) for row in rows], "milliseconds, estimated")
    panel.set_title("Estimates of a compiler: nothing was measured", fontsize=9, loc="left")


def _rows(
    panel: Any,
    rows: Sequence[BenchmarkRow],
    results: Results,
    bar: Callable[[BenchmarkRow, float], None],
) -> None:
    """Draw the bars from top to bottom, under the names of their models.

    Models of one row each have no heading: their name stands beside the bar.
    """
    groups = describe.by_model(rows)
    alone = len(groups) == len(rows)
    names: list[str] = []
    headings: list[int] = []
    for group in groups.values():
        model = style.name(group[0], rows)
        if not alone:
            headings.append(len(names))
            names.append(model)
        for row in group:
            bar(row, len(names))
            path = f"{row.accelerator}{describe.setting(row, results)}"
            names.append(f"{model}, {path}" if alone else path)
    positions = range(len(names))
    panel.set_yticks(positions, names, fontsize=8)
    panel.tick_params(axis="y", length=0)
    for position, label in zip(positions, panel.get_yticklabels(), strict=True):
        if position in headings:
            label.set_fontweight("bold")
    panel.set_ylim(len(names) - 0.4, -0.6)
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(axis="x", alpha=0.3)
    panel.set_axisbelow(True)


def _beside(panel: Any, at: float, position: float, text: str) -> None:
    panel.annotate(
        text, (at, position), xytext=(5, 0), textcoords="offset points", va="center", fontsize=7.5
    )


def _scale(panel: Any, times: Sequence[float], label: str) -> None:
    """Leave room for the words beside the longest bar."""
    logarithmic = style.time_axis(panel.xaxis, times, label)
    low, high = min(times), max(times)
    if logarithmic:
        panel.set_xlim(low / 2, high * (high / low) ** 0.25)
    else:
        panel.set_xlim(0, high * 1.35)
    panel.xaxis.label.set_fontsize(8)
    panel.tick_params(axis="x", labelsize=8)


def _legend(panel: Any, rows: Sequence[BenchmarkRow]) -> None:
    from matplotlib.patches import Patch

    kinds = dict.fromkeys((row.unit, row.label) for row in rows)
    if len(kinds) < 2:
        return
    patches = [
        Patch(
            facecolor=style.UNIT_COLORS[unit],
            edgecolor="white",
            hatch=style.HATCHES.get(label) if label is not None else None,
            label=unit.upper() if label is Label.HARDWARE else f"{unit.upper()}, {label}",
        )
        for unit, label in kinds
    ]
    style.legend(panel, len(patches), patches)


THROTTLED_NOW: Final = 0xF  # the low bits of the Raspberry Pi's firmware; the others are history


def sustained(results: Results) -> Any | None:
    """Draw a line for each row that was run for minutes; None without such a row."""
    rows = [row for row in style.measured(results) if row.sustained]
    if not rows:
        return None
    panels: list[tuple[str, Callable[[Moment], float | None]]] = [
        ("median ms", lambda moment: 1e3 * moment.median)
    ]
    moments = [moment for row in rows for moment in row.sustained]
    if any(moment.temperature_c is not None for moment in moments):
        panels.append(("temperature, °C", lambda moment: moment.temperature_c))
    if any(moment.frequency_hz is not None for moment in moments):
        panels.append(("clock, GHz", _gigahertz))
    ratios = [2.0, *[1.0] * (len(panels) - 1)]
    figure = style.new_figure(1.2 + 1.7 * sum(ratios))
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
    for axis, (label, value) in zip(axes, panels, strict=True):
        _draw(axis, rows, results, value)
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    _mark_throttled(axes[0], rows)
    axes[0].set_ylim(bottom=0)
    axes[-1].set_xlabel("minutes of the steady phase")
    style.legend(axes[0], 2)
    style.title(figure, "Latency under sustained load", results, rows)
    return figure


def _gigahertz(moment: Moment) -> float | None:
    return None if moment.frequency_hz is None else moment.frequency_hz / 1e9


def _draw(
    axis: Any,
    rows: Sequence[BenchmarkRow],
    results: Results,
    value: Callable[[Moment], float | None],
) -> None:
    for number, row in enumerate(rows):
        known = [(m.elapsed / 60, value(m)) for m in row.sustained if value(m) is not None]
        axis.plot(
            [minutes for minutes, _ in known],
            [number for _, number in known],
            color=style.COLORS[number % len(style.COLORS)],
            marker=style.MARKERS[number % len(style.MARKERS)],
            markersize=3,
            linewidth=1.2,
            label=f"{style.name(row, rows)}, {row.accelerator}{describe.setting(row, results)}"
            + ("" if row.label is None or row.label == "hardware" else f" ({row.label})"),
        )


def _mark_throttled(axis: Any, rows: Sequence[BenchmarkRow]) -> None:
    """Draw a red cross where the firmware says that it held the clock or the voltage was low."""
    points = [
        (moment.elapsed / 60, 1e3 * moment.median)
        for row in rows
        for moment in row.sustained
        if moment.throttled is not None and moment.throttled & THROTTLED_NOW
    ]
    if points:
        axis.plot(*zip(*points, strict=True), "x", color="#B00020", markersize=5, label="throttled")
