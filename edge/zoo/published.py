"""The table of Keras Applications, as its documentation publishes it.

Source: https://keras.io/api/applications/ . Times there are one step of batch 32, the average of
30 batches and 10 repetitions, on an AMD EPYC processor with IBPB (92 cores), 1.7 TB of memory, and
a Tesla A100.
"""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

BATCH: Final = 32
CPU: Final = "AMD EPYC, 92 cores"
GPU: Final = "Tesla A100"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One row; None where the documentation leaves a cell empty.

    Attributes:
        model: Name of the function in ``keras.applications``.
        size_mb: Of the weights file, units of 2**20 bytes.
        top1: On the ImageNet validation set, percent.
        top5: Likewise.
        params_m: Parameters, millions, one decimal.
        params: Exact, where an exact figure was published.
        depth: Layers with parameters; activations are not among them.
        cpu_ms: Milliseconds per step of batch 32 on ``CPU``.
        gpu_ms: Likewise on ``GPU``.
    """

    model: str
    size_mb: float
    top1: float
    top5: float
    params_m: float
    params: int | None
    depth: int | None
    cpu_ms: float | None
    gpu_ms: float | None


@cache
def published() -> dict[str, Published]:
    """Every row by the model's name, in the order of the documentation."""
    text = files("edge.zoo").joinpath("published.csv").read_text(encoding="utf-8")
    rows = (_row(row) for row in csv.DictReader(text.splitlines()))
    return {row.model: row for row in rows}


def _row(cells: dict[str, str]) -> Published:
    values: dict[str, Any] = {"model": cells["model"]}
    for name in ("params", "depth"):
        values[name] = int(cells[name]) if cells[name] else None
    for name in ("cpu_ms", "gpu_ms"):
        values[name] = float(cells[name]) if cells[name] else None
    for name in ("size_mb", "top1", "top5", "params_m"):
        values[name] = float(cells[name])
    return Published(**values)
