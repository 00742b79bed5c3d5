"""Models that nobody here made, on LiteRT's CPU path."""

import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accelerators.base import EngineSettings
from benchmarks.accelerators.litert_cpu import open_litert
from benchmarks.inputs import tensors
from edge.errors import ModelLoadError

pytestmark = pytest.mark.shared_data


@pytest.fixture(scope="module")
def models() -> Path:
    folder = os.environ.get("EDGE_TEST_DATA")
    if not folder:
        pytest.skip("EDGE_TEST_DATA does not name the folder of shared models")
    return Path(folder) / "models"


@pytest.mark.parametrize(
    ("name", "operators", "left", "output"),
    [
        (
            "deeplab_mobilenet_edgetpu_slim_cityscapes_quant",
            84,
            {"AVERAGE_POOL_2D": 1, "TILE": 1, "ARG_MAX": 1},
            (1, 513, 513),
        ),
        (
            "keras_lstm_mnist_ptq",
            6,
            {"QUANTIZE": 2, "UNIDIRECTIONAL_SEQUENCE_LSTM": 1, "SOFTMAX": 1},
            (1, 10),
        ),
        ("mobilenet_v1_0.25_128_quant", 31, {"AVERAGE_POOL_2D": 1, "SOFTMAX": 1}, (1, 1001)),
        ("mobilenet_v2_1.0_224_quant", 66, {"AVERAGE_POOL_2D": 1, "SOFTMAX": 1}, (1, 1001)),
        ("tf2_mobilenet_v2_1.0_224_ptq", 68, {"QUANTIZE": 2, "SOFTMAX": 1}, (1, 1001)),
    ],
)
def test_a_foreign_model_runs(
    models: Path, name: str, operators: int, left: dict[str, int], output: tuple[int, ...]
) -> None:
    runner = open_litert(models / f"{name}.tflite", EngineSettings())
    feeds = tensors(runner.inputs, 1, None)
    (answer,) = runner.run(*feeds)
    assert answer.shape == runner.outputs[0].shape == output
    assert len(np.unique(answer)) > 1
    found = runner.coverage()
    assert found is not None
    assert (found.operators, found.left) == (operators, left)
    assert found.accelerated == operators - sum(left.values())


def test_an_operator_that_nobody_has_is_refused(models: Path) -> None:
    with pytest.raises(ModelLoadError, match="the custom operator fake-op-double") as raised:
        open_litert(models / "model_invoking_error.tflite", EngineSettings())
    assert "only the program that the file was made for" in raised.value.message


def test_a_state_that_fixes_the_batch_is_told(models: Path) -> None:
    with pytest.raises(ModelLoadError) as raised:
        open_litert(models / "keras_lstm_mnist_ptq.tflite", EngineSettings(batch=2))
    assert "--batch 1" in raised.value.hint
