import dataclasses
from pathlib import Path

import pytest

from benchmarks.accelerators.table import ACCELERATORS
from benchmarks.plan import BenchmarkPlan, cells, reference
from benchmarks.result import MeasuredModel
from edge.errors import UsageError


def model(format_: str) -> MeasuredModel:
    return MeasuredModel(
        name=f"m.{format_}", path=Path(f"m.{format_}"), sha256="0", size_bytes=1, format=format_
    )


def names(format_: str, *paths: str, threads: tuple[int, ...] = (1,)) -> list[tuple[str, int]]:
    found = cells((model(format_),), BenchmarkPlan(paths=paths, threads=threads))
    return [(cell.path.name, cell.threads) for cell in found]


@pytest.mark.parametrize(
    ("format_", "path"),
    [("tflite", "litert-cpu"), ("onnx", "onnxruntime-cpu"), ("keras", "keras-cpu")],
)
def test_cpu_is_the_formats_own_engine(format_: str, path: str) -> None:
    assert names(format_, "cpu") == [(path, 1)]
    found = reference(format_)
    assert found is not None
    assert found.name == path


def test_gpu_and_all_are_every_path_that_takes_the_format() -> None:
    gpus = [name for name, _ in names("onnx", "gpu")]
    assert gpus == [
        "onnxruntime-cuda",
        "onnxruntime-tensorrt",
        "onnxruntime-webgpu",
        "openvino-gpu",
    ]
    everything = {name for name, _ in names("tflite", "all")}
    assert everything == {row.name for row in ACCELERATORS.values() if "tflite" in row.formats}


def test_threads_make_rows_on_a_cpu_alone() -> None:
    found = names("tflite", "litert-cpu", "litert-gpu", threads=(1, 2))
    assert found == [("litert-cpu", 1), ("litert-cpu", 2), ("litert-gpu", 1)]


def test_a_path_named_twice_is_measured_once() -> None:
    assert names("tflite", "cpu", "litert-cpu") == [("litert-cpu", 1)]


def test_a_format_that_no_named_path_takes_is_refused() -> None:
    with pytest.raises(UsageError, match=r"none of litert-cpu takes m\.onnx") as caught:
        names("onnx", "litert-cpu")
    assert "onnxruntime-cpu" in caught.value.hint


def test_an_unknown_path_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="unknown accelerator 'coral'") as caught:
        names("tflite", "coral")
    assert "tflite-delegate" in caught.value.hint


def test_every_callable_of_the_table_exists() -> None:
    import importlib

    for row in ACCELERATORS.values():
        for place in (row.open, row.probe):
            module, _, function = place.partition(":")
            assert callable(getattr(importlib.import_module(module), function)), place


def test_the_plan_that_results_hold_is_json() -> None:
    import json

    plan = dataclasses.replace(BenchmarkPlan(), cool_down=1.0)
    assert json.loads(json.dumps(plan.to_json()))["cool_down_seconds"] == 1.0
