"""The table of Keras Applications, as its documentation publishes it.

Source: https://keras.io/api/applications/ . Times there are one step of batch 32, the average of
30 batches and 10 repetitions, on an AMD EPYC processor with IBPB (92 cores), 1.7 TB of memory, and
a Tesla A100.
"""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

BATCH: Final = 32
CPU: Final = "AMD EPYC, 92 cores"
GPU: Final = "Tesla A100"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One row of the table; None where the documentation leaves a cell empty.

    Attributes:
        model: The name of the function in ``keras.applications``.
        size_mb: The size of the weights file, in units of 2**20 bytes.
        top1: Top-1 accuracy on the ImageNet validation set, percent.
        top5: Top-5 accuracy on the same, percent.
        params_m: The number of parameters, in millions with one decimal.
        params: The exact number, where one was published.
        depth: The number of layers with parameters; activations are not among them.
        cpu_ms: Milliseconds of one step of batch 32 on ``CPU``.
        gpu_ms: Milliseconds of one step of batch 32 on ``GPU``.
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
    """Return every row by the model's name, in the order of the documentation."""
    text = files("edge.zoo").joinpath("published.csv").read_text(encoding="utf-8")
    rows = (_row(row) for row in csv.DictReader(text.splitlines()))
    return {row.model: row for row in rows}


def _row(cells: dict[str, str]) -> Published:
    return Published(
        model=cells["model"],
        size_mb=float(cells["size_mb"]),
        top1=float(cells["top1"]),
        top5=float(cells["top5"]),
        params_m=float(cells["params_m"]),
        params=int(cells["params"]) if cells["params"] else None,
        depth=int(cells["depth"]) if cells["depth"] else None,
        cpu_ms=float(cells["cpu_ms"]) if cells["cpu_ms"] else None,
        gpu_ms=float(cells["gpu_ms"]) if cells["gpu_ms"] else None,
    )
