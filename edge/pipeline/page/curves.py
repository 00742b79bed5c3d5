"""Learning curves and the reliability diagram, as line charts in inline SVG.

The colours follow the page's: light or dark. The charts are drawn here and not by matplotlib: its
pictures cannot follow the reader's colours, and its import alone takes longer than the whole page.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from edge.pipeline.class_report import ModelOnClasses
from edge.pipeline.page.element import Element, element, model_name, percent, section, table
from edge.pipeline.report import Training
from edge.training.tuning import Phase

KINDS: Final = ("a", "b")  # classes of the two models of a diagram


def learning_curves(training: Training | None) -> Element | None:
    """Return the loss and the accuracy of each epoch, on training and validation images.

    Args:
        training: The training of the report; None for an export.
    """
    phases = [] if training is None else [it for it in training.phases if it.history.get("loss")]
    if not phases:
        return None
    charts = element("div", _curve("loss", phases), _curve("accuracy", phases), class_="charts")
    return section("Learning curves", charts, _phases(phases))


def _curve(name: str, phases: Sequence[Phase]) -> Element | None:
    series: dict[str, list[tuple[float, float]]] = {name: [], f"val_{name}": []}
    marks = []
    done = 0
    for phase in phases:
        history = phase.history
        if len(phases) > 1:
            marks.append((done + 1, phase.name))
        for key, points in series.items():
            values = history.get(key) or ()
            points += [(done + number, float(value)) for number, value in enumerate(values, 1)]
        done += len(history["loss"])
    values = [value for points in series.values() for _, value in points]
    if not values:
        return None
    low, high = (0.0, 1.1 * max(values)) if name == "loss" else (_floor(min(values)), 1.0)
    lines = [
        Series(name=title, points=tuple(points), kind=kind)
        for title, points, kind in zip(
            ("training", "validation"), series.values(), KINDS, strict=True
        )
        if points
    ]
    epochs = Axis(title="epoch", low=1, high=max(done, 2))
    return line_chart(epochs, Axis(title=name, low=low, high=high or 1.0), lines, marks)


def _floor(value: float) -> float:
    """Return a tenth below the smallest accuracy, so that its curve stays off the axis."""
    return max(0.0, min(0.9, int(10 * value - 0.5) / 10))


def _phases(phases: Sequence[Phase]) -> Element:
    """Return what each phase trained."""
    rows: list[tuple[Element | str, ...]] = [
        (
            phase.name,
            f"{phase.trainable:,}",
            f"{phase.learning_rate:g}",
            f"{phase.epochs} of {len(phase.history['loss'])}",
            _validation(phase),
        )
        for phase in phases
    ]
    titles = ("phase", "parameters trained", "learning rate", "best epoch", "validation accuracy")
    return table(titles, rows)


def _validation(phase: Phase) -> str:
    """Return the validation accuracy of the epoch whose weights were kept."""
    values = phase.history.get("val_accuracy") or ()
    return percent(values[phase.epochs - 1] if phase.epochs <= len(values) else None)


def reliability_diagram(models: Mapping[str, ModelOnClasses]) -> Element | None:
    """Return how often each model is right by how sure it is, with its calibration error."""
    known = {name: model for name, model in models.items() if model.reliability}
    if not known:
        return None
    series = [Series(name="", points=((0.0, 0.0), (1.0, 1.0)), kind="guide")]
    for kind, (name, model) in zip(KINDS, known.items(), strict=False):
        points = tuple((point.confidence, point.accuracy) for point in model.reliability)
        # Area by number of images: a bin of two says little.
        radii = tuple(
            round(2 + 10 * math.sqrt(point.images / model.images), 1) for point in model.reliability
        )
        series.append(Series(name=model_name(name), points=points, kind=kind, radii=radii))
    chart = line_chart(
        Axis(title="confidence", low=0, high=1), Axis(title="share right", low=0, high=1), series
    )
    errors = "; ".join(
        f"{model_name(name)} {percent(model.calibration_error)}" for name, model in known.items()
    )
    text = (
        f"Expected calibration error, 15 bins: {errors}. A dot on the dashed line is right as "
        "often as its confidence says. Larger: more images; small dots lie off it by chance."
    )
    return section("Calibration", element("p", text), element("div", chart, class_="charts"))


WIDTH, HEIGHT = 440, 240  # units of the picture, which scales with the page
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 18, 40
_NAME = 60  # largest width of the name of a phase
_TICKS: Final = 5  # the largest number, about

Scale = Callable[[float], float]
"""A value -> where it stands in the picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A line.

    Attributes:
        name: The name in the legend; empty for a line without one.
        points: (x, y), in order of x.
        kind: The class of the style sheet: ``a``, ``b``, or ``guide``.
        radii: The radius of a dot at each point, instead of a line; empty for a line.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    kind: str
    radii: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A direction: its title and what it spans, low < high."""

    title: str
    low: float
    high: float


def ticks(low: float, high: float) -> list[float]:
    """Return round numbers within a range, about ``_TICKS`` of them."""
    step = 10.0 ** math.floor(math.log10((high - low) / _TICKS))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= _TICKS)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def line_chart(
    x: Axis, y: Axis, series: Sequence[Series], marks: Sequence[tuple[float, str]] = ()
) -> Element:
    """Return a chart with its legend.

    Args:
        x: The axis to the right.
        y: The axis upwards.
        series: The lines.
        marks: (x, name): where something begins.
    """

    def right(value: float) -> float:
        return round(_LEFT + (value - x.low) / (x.high - x.low) * (WIDTH - _LEFT - _RIGHT), 1)

    def down(value: float) -> float:
        span = HEIGHT - _TOP - _BOTTOM
        return round(_TOP + (y.high - min(max(value, y.low), y.high)) / (y.high - y.low) * span, 1)

    drawn = [*_grid(x, y, right, down)]
    for value, name in marks:
        at = right(value)
        drawn.append(element("path", d=f"M{at} {_TOP}V{HEIGHT - _BOTTOM}", class_="mark"))
        anchor = "end" if at > WIDTH - _RIGHT - _NAME else "start"
        # Above the lines; a name near the right border goes to the left.
        drawn.append(element("text", name, x=at, y=_TOP - 4, text_anchor=anchor, class_="mark"))
    for item in series:
        radii = item.radii or ((3.0,) if len(item.points) == 1 else ())
        if not radii:
            line = " ".join(f"{right(a)},{down(b)}" for a, b in item.points)
            drawn.append(element("polyline", points=line, class_=f"line {item.kind}"))
        for (a, b), radius in zip(item.points, radii, strict=False):
            drawn.append(
                element("circle", cx=right(a), cy=down(b), r=radius, class_=f"dot {item.kind}")
            )
    picture = element(
        "svg", *drawn, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=f"{y.title}"
    )
    legend = [
        element("span", element("i", class_=item.kind), item.name) for item in series if item.name
    ]
    return element("figure", picture, element("figcaption", *legend), class_="chart")


def _grid(x: Axis, y: Axis, right: Scale, down: Scale) -> list[Element]:
    drawn = []
    low, bottom = _LEFT, HEIGHT - _BOTTOM
    for value in ticks(y.low, y.high):
        at = down(value)
        drawn.append(element("path", d=f"M{low} {at}H{WIDTH - _RIGHT}", class_="grid"))
        drawn.append(element("text", f"{value:g}", x=low - 6, y=at + 4, text_anchor="end"))
    for value in ticks(x.low, x.high):
        at = right(value)
        drawn.append(element("path", d=f"M{at} {bottom}v4", class_="axis"))
        drawn.append(element("text", f"{value:g}", x=at, y=bottom + 16, text_anchor="middle"))
    frame = f"M{low} {_TOP}V{bottom}H{WIDTH - _RIGHT}"
    middle = (low + WIDTH - _RIGHT) / 2
    return [
        *drawn,
        element("path", d=frame, class_="axis"),
        element("text", x.title, x=middle, y=HEIGHT - 6, text_anchor="middle", class_="title"),
        element(
            "text",
            y.title,
            transform=f"translate(13 {(_TOP + bottom) / 2}) rotate(-90)",
            text_anchor="middle",
            class_="title",
        ),
    ]
