"""Learning curves, and the reliability diagram."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from edge.pipeline.page.chart import Axis, Series, line_chart
from edge.pipeline.page.element import Element, element, section, table
from edge.pipeline.page.wording import model_name, percent

KINDS: Final = ("a", "b")  # of the two models of a diagram


def learning_curves(training: Mapping[str, Any]) -> Element | None:
    """Loss and accuracy of each epoch, on the images trained on and on those for validation.

    Args:
        training: Of the report; empty for an export.
    """
    phases = [phase for phase in training.get("phases", ()) if phase["history"].get("loss")]
    if not phases:
        return None
    charts = element("div", _curve("loss", phases), _curve("accuracy", phases), class_="charts")
    return section("Learning curves", charts, _phases(phases))


def _curve(name: str, phases: Sequence[Mapping[str, Any]]) -> Element | None:
    series: dict[str, list[tuple[float, float]]] = {name: [], f"val_{name}": []}
    marks = []
    done = 0
    for phase in phases:
        history = phase["history"]
        if len(phases) > 1:
            marks.append((done + 1, str(phase["name"])))
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
    """A tenth below the smallest accuracy, so that its curve stays off the axis."""
    return max(0.0, min(0.9, int(10 * value - 0.5) / 10))


def _phases(phases: Sequence[Mapping[str, Any]]) -> Element:
    """What each phase trained."""
    rows: list[tuple[Element | str, ...]] = [
        (
            str(phase["name"]),
            f"{phase['trainable']:,}",
            f"{phase['learning_rate']:g}",
            f"{phase['epochs']} of {len(phase['history']['loss'])}",
            _validation(phase),
        )
        for phase in phases
    ]
    titles = ("phase", "parameters trained", "learning rate", "best epoch", "validation accuracy")
    return table(titles, rows)


def _validation(phase: Mapping[str, Any]) -> str:
    """Validation accuracy of the epoch whose weights were kept."""
    values = phase["history"].get("val_accuracy") or ()
    return percent(values[phase["epochs"] - 1] if phase["epochs"] <= len(values) else None)


def reliability_diagram(models: Mapping[str, Mapping[str, Any]]) -> Element | None:
    """How often each model is right by how sure it is, and its expected calibration error."""
    known = {name: model for name, model in models.items() if model["reliability"]}
    if not known:
        return None
    series = [Series(name="", points=((0.0, 0.0), (1.0, 1.0)), kind="guide")]
    for kind, (name, model) in zip(KINDS, known.items(), strict=False):
        points = tuple((point["confidence"], point["accuracy"]) for point in model["reliability"])
        # Area by number of images: a bin of two says little.
        radii = tuple(
            round(2 + 10 * math.sqrt(point["images"] / model["images"]), 1)
            for point in model["reliability"]
        )
        series.append(Series(name=model_name(name), points=points, kind=kind, radii=radii))
    chart = line_chart(
        Axis(title="confidence", low=0, high=1), Axis(title="share right", low=0, high=1), series
    )
    errors = "; ".join(
        f"{model_name(name)} {percent(model['calibration_error'])}" for name, model in known.items()
    )
    text = (
        f"Expected calibration error, 15 bins: {errors}. A dot on the dashed line is right as "
        "often as its confidence says. Larger: more images; small dots lie off it by chance."
    )
    return section("Calibration", element("p", text), element("div", chart, class_="charts"))
