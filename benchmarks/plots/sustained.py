"""Sustained runs: the median over time, with heat and clock beneath where they are known."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from benchmarks.outputs import describe
from benchmarks.plots import style
from benchmarks.result import Moment, Results, Row

THROTTLED_NOW: Final = 0xF  # the low bits of the Raspberry Pi's firmware; the others are history


def sustained(results: Results) -> Any | None:
    """One line per row that was run for long; None without such a row."""
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
    axis: Any, rows: Sequence[Row], results: Results, value: Callable[[Moment], float | None]
) -> None:
    for number, row in enumerate(rows):
        known = [(m.elapsed / 60, value(m)) for m in row.sustained if value(m) is not None]
        axis.plot(
            [minutes for minutes, _ in known],
            [found for _, found in known],
            color=style.COLORS[number % len(style.COLORS)],
            marker=style.MARKERS[number % len(style.MARKERS)],
            markersize=3,
            linewidth=1.2,
            label=f"{style.name(row, rows)}, {row.accelerator}{describe.setting(row, results)}"
            + ("" if row.label is None or row.label == "hardware" else f" ({row.label})"),
        )


def _mark_throttled(axis: Any, rows: Sequence[Row]) -> None:
    """A red cross where the firmware says that it held the clock or the voltage was low."""
    points = [
        (moment.elapsed / 60, 1e3 * moment.median)
        for row in rows
        for moment in row.sustained
        if moment.throttled is not None and moment.throttled & THROTTLED_NOW
    ]
    if points:
        axis.plot(*zip(*points, strict=True), "x", color="#B00020", markersize=5, label="throttled")
