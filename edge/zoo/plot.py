"""Published accuracy against measured latency."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.plots import style
from benchmarks.plots.pareto import pareto
from benchmarks.result import Results, Row
from edge.errors import UsageError
from edge.zoo.result import ZooResults

# Of float files alone: the published accuracy is of float weights, not of an int8 file.
VARIANTS: Final = ("tflite-fp32", "onnx-fp32")


def picture(results: ZooResults, form: str) -> bytes:
    """A picture in ``png`` or ``svg``.

    Raises:
        UsageError: No network has both, a time and a published accuracy.
    """
    figure = pareto(_as_results(results))
    if figure is None:
        raise UsageError("there is nothing to plot: no network of the published table has a time")
    figure.axes[0].set_ylabel("top-1 on ImageNet as published, percent")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"zoo.{form}"
        style.write(figure, path)
        return path.read_bytes()


def _as_results(results: ZooResults) -> Results:
    """The float rows, each named as its network and as accurate as that is published to be."""
    rows: list[Row] = []
    for entry in results.entries:
        if entry.published is None:
            continue
        share = entry.published.top1 / 100
        for variant in VARIANTS:
            if variant in entry.rows:
                row = entry.rows[variant]
                subject = replace(row.subject, name=entry.network, bundle="", top1=share)
                rows.append(replace(row, subject=subject, accelerator=variant))
    return Results(
        started=results.started,
        environment=results.environment,
        protocol={},
        seed=0,
        rows=tuple(rows),
    )
