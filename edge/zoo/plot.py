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

VARIANT: Final = "tflite-fp32"  # the published accuracy is of float weights, not of an int8 file


def picture(results: ZooResults, form: str) -> bytes:
    """A picture in ``png`` or ``svg``.

    Raises:
        UsageError: No network has both, a time and a published accuracy.
    """
    figure = pareto(
        _as_results(results), "Published accuracy against latency measured here", most_named=100
    )
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
        if VARIANT in entry.rows:
            row = entry.rows[VARIANT]
            subject = replace(row.subject, name=entry.network, bundle="", top1=share)
            rows.append(replace(row, subject=subject, accelerator=VARIANT))
    return Results(
        started=results.started,
        environment=results.environment,
        protocol={},
        seed=0,
        rows=tuple(rows),
    )
