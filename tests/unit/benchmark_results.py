"""Rows of every kind, for the tests of outputs, pictures and diffs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accelerators.base import Coverage, Label, OperatorTime, Unit
from benchmarks.result import (
    BenchmarkRow,
    EndToEnd,
    MeasuredModel,
    Moment,
    Parity,
    Results,
    Stability,
    Status,
    Timing,
)
from edge.runtime.contract import Preprocessing

ENVIRONMENT = {
    "machine": "aarch64",
    "system": "Linux-6.6.31-rpi",
    "cpus": 4,
    "board": "Raspberry Pi 4 Model B Rev 1.4",
    "cpu": {"model": "Cortex-A72", "logical": 4, "governors": ["ondemand"]},
}


def measured_model(
    name: str = "tflite-int8", top1: float | None = 0.7, **values: Any
) -> MeasuredModel:
    standard = {
        "name": name,
        "path": Path(f"{name}.tflite"),
        "sha256": f"{abs(hash(name)) % 16**8:064x}" if name != "tflite-int8" else "ab" * 32,
        "size_bytes": 4_300_000,
        "format": "tflite",
        "bundle": "flowers",
        "top1": top1,
        "preprocessing": Preprocessing(height=224, width=224),
    }
    return MeasuredModel(**standard | values)


def samples(milliseconds: float, count: int = 120, seed: int = 0, scatter: float = 0.02) -> Any:
    """As a clock of 1 ns gives them."""
    random = np.random.default_rng(seed)
    drawn = 1e-3 * milliseconds * random.lognormal(0, scatter, count)
    return tuple(round(float(value), 9) for value in drawn)


def timing(milliseconds: float, **options: Any) -> Timing:
    return Timing(
        load=0.012345678,
        first=2e-3 * milliseconds,
        warm_up=(0.003, 0.002),
        samples=samples(milliseconds, **options),
    )


def row(milliseconds: float = 5.0, **values: Any) -> BenchmarkRow:
    """A measured row on the CPU."""
    standard: dict[str, Any] = {
        "model": measured_model(),
        "accelerator": "litert-cpu",
        "unit": Unit.CPU,
        "threads": 1,
        "batch": 1,
        "status": Status.MEASURED,
        "engine": "ai-edge-litert 2.3.0",
        "device": "Cortex-A72",
        "label": Label.HARDWARE,
        "coverage": Coverage(operators=65, accelerated=65, partitions=1),
        "stability": Stability.STABLE,
    }
    given = standard | values
    return BenchmarkRow(timing=given.pop("timing", timing(milliseconds)), **given)


def untimed(status: Status, **values: Any) -> BenchmarkRow:
    return row(timing=None, stability=None, coverage=None, status=status, **values)


PARTIAL = Coverage(
    operators=67,
    accelerated=40,
    partitions=3,
    left={"SOFTMAX": 1, "RESHAPE": 26},
    reasons=("SOFTMAX: not supported",),
)
AGREES = Parity(
    ok=True, reference="litert-cpu", worst=2.0, unit="quantization steps", detail="2 steps"
)
DIFFERS = replace(AGREES, ok=False, worst=201.0, detail="all its elements are 0")


def every_kind() -> tuple[BenchmarkRow, ...]:
    """One row of each status, label and field."""
    return (
        row(5.0, end_to_end=EndToEnd(decode=0.004, encode=0.0001, invoke=0.005, post=0.0002)),
        row(
            40.0,
            accelerator="litert-gpu",
            unit=Unit.GPU,
            label=Label.SOFTWARE_GPU,
            coverage=PARTIAL,
            parity=AGREES,
            stability=Stability.NOISY,
            device="SwiftShader",
            peak_memory=52_000_000,
            order=1,
        ),
        row(
            61.0,
            accelerator="onnxruntime-qnn",
            unit=Unit.NPU,
            label=Label.SIMULATOR,
            parity=AGREES,
            profile=(OperatorTime(name="conv1", type="Conv", seconds=0.0012, where="QNN"),),
            sustained=(
                Moment(elapsed=1.0, median=0.061, runs=16),
                Moment(
                    elapsed=2.0,
                    median=0.075,
                    runs=13,
                    temperature_c=-2.5,
                    frequency_hz=1.5e9,
                    throttled=0x50005,
                ),
            ),
            order=2,
        ),
        untimed(
            Status.ESTIMATED,
            accelerator="ethos-u",
            unit=Unit.NPU,
            label=Label.ESTIMATE,
            estimate=0.0161,
            facts={"sram_kib": 192.0, "config": "ethos-u55-128"},
            device="ethos-u55-128 at 500 MHz",
            order=3,
        ),
        untimed(
            Status.UNAVAILABLE,
            accelerator="openvino-npu",
            unit=Unit.NPU,
            label=None,
            engine="",
            device="",
            reason="openvino finds no NPU",
            hint="Use a machine with an Intel NPU",
            order=4,
        ),
        row(
            7.77,
            accelerator="tflite-delegate",
            unit=Unit.NPU,
            status=Status.WRONG,
            parity=DIFFERS,
            reason="all its elements are 0",
            order=5,
        ),
        untimed(
            Status.FAILED,
            accelerator="tflite-runtime-cpu",
            reason="the process was aborted (SIGABRT)",
            order=6,
        ),
    )


def results(*rows: BenchmarkRow, **values: Any) -> Results:
    standard: dict[str, Any] = {
        "started": "2026-11-22T09:00:00Z",
        "environment": ENVIRONMENT,
        "protocol": {"runs": 50, "min_seconds": 1.0},
        "seed": 0,
        "rows": rows or every_kind(),
    }
    return Results(**standard | values)
