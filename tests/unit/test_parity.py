"""Parity: rounding passes, wrong kernels do not, in the units that suit the outputs."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.parity import FLOAT16, FLOAT32, INTEGER, LABELS_UNIT, RANGE_UNIT, STEPS_UNIT, parity
from edge.modelfile.contents import integers_inside
from edge.runtime.spec import QuantizationParams, TensorSpec

DATA = Path(__file__).parents[1] / "data"
RANDOM = np.random.default_rng(0)
CLASSES = 1000


def floats(name: str = "scores") -> TensorSpec:
    return TensorSpec(name=name, shape=(1, CLASSES), dtype="float32")


def bytes_(scale: float = 1 / 256, point: int = 0, dtype: str = "uint8") -> TensorSpec:
    quantization = QuantizationParams(scales=(scale,), zero_points=(point,))
    return TensorSpec(name="scores", shape=(1, CLASSES), dtype=dtype, quantization=quantization)


def softmax(seed: int = 1) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(0, 2.5, (1, CLASSES))
    return (np.exp(logits) / np.exp(logits).sum()).astype(np.float32)


def quantized(real: np.ndarray, scale: float = 1 / 256, point: int = 0) -> np.ndarray:
    return np.clip(np.round(real / scale) + point, 0, 255).astype(np.uint8)


def test_the_same() -> None:
    found = parity([softmax()], [softmax()], [floats()], "litert-cpu")
    assert (found.ok, found.worst, found.unit, found.reference) == (
        True,
        0.0,
        RANGE_UNIT,
        "litert-cpu",
    )


def test_floats_are_measured_by_the_range() -> None:
    """Outputs a thousand times larger may be off by a thousand times as much."""
    for size in (1e-3, 1.0, 1e3):
        right = size * softmax()
        off = right + np.float32(5e-4 * np.ptp(right))
        found = parity([right], [off], [floats()], "r")
        assert found.ok
        assert found.worst == pytest.approx(5e-4, rel=0.01)
        assert not parity([right], [right + np.float32(2e-3 * np.ptp(right))], [floats()], "r").ok


@pytest.mark.parametrize(
    ("share", "passes"), [(5e-4, {FLOAT32, FLOAT16, INTEGER}), (1e-2, {FLOAT16, INTEGER})]
)
def test_looser_tolerances(share: float, passes: set[Any]) -> None:
    right = softmax()
    off = right.copy()
    off[0, 3] += share * np.ptp(right)
    for tolerance in (FLOAT32, FLOAT16, INTEGER):
        found = parity([right], [off], [floats()], "r", tolerance=tolerance)
        assert found.ok is (tolerance in passes)


def test_quantized_outputs_are_measured_in_steps() -> None:
    right = RANDOM.integers(0, 200, (1, CLASSES)).astype(np.uint8)
    off = right.copy()
    off[0, 5] += 4
    found = parity([right], [off], [bytes_()], "r")
    assert (found.ok, found.worst, found.unit) == (True, pytest.approx(4), STEPS_UNIT)


def test_real_values_against_quantized_ones() -> None:
    real = RANDOM.random((1, CLASSES)).astype(np.float32) * 0.9
    found = parity([quantized(real)], [real], [bytes_()], "r", own=[floats()])
    assert found.ok
    assert 0 < found.worst <= 0.5001
    assert found.unit == STEPS_UNIT


def test_another_zero_point_and_scale() -> None:
    """Both sides quantized, each in its own way."""
    real = RANDOM.random((1, CLASSES)).astype(np.float32) * 0.9
    other = quantized(real, 1 / 200, 20)
    found = parity([quantized(real)], [other], [bytes_()], "r", own=[bytes_(1 / 200, 20)])
    assert found.ok
    assert found.worst < 2
    assert not parity([quantized(real)], [other], [bytes_()], "r").ok


def test_steps_of_each_channel() -> None:
    quantization = QuantizationParams(scales=(1.0, 0.01), zero_points=(0, 0), quantized_dimension=1)
    spec = TensorSpec(name="o", shape=(8, 2), dtype="uint8", quantization=quantization)
    right = RANDOM.integers(0, 200, (8, 2)).astype(np.uint8)
    off = right.copy()
    off[0, 1] += 7
    assert parity([right], [off], [spec], "r").worst == pytest.approx(7)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_not_finite(wrong: float) -> None:
    off = softmax()
    off[0, :7] = wrong
    found = parity([softmax()], [off], [floats()], "r", tolerance=INTEGER)
    assert not found.ok
    assert "7 of its elements" in found.detail
    assert np.isfinite(found.worst)


@pytest.mark.parametrize("value", [0.0, 0.001])
def test_a_constant_where_the_right_answer_varies(value: float) -> None:
    """Within the tolerance of a nearly flat reference, and still wrong."""
    flat = np.full((1, CLASSES), value, np.float32)
    found = parity([softmax()], [flat], [floats()], "r", tolerance=INTEGER)
    assert not found.ok
    assert "the right answer varies" in found.detail


def test_a_reference_that_proves_little_says_so() -> None:
    flat = np.full((1, CLASSES), 0.001, np.float32)
    found = parity([flat], [flat], [floats()], "r")
    assert found.ok
    assert "proves little" in found.detail
    assert "proves little" not in parity([softmax()], [softmax()], [floats()], "r").detail


def test_answers_of_another_picture_are_wrong() -> None:
    """Nearly all classes near nothing on both sides: few steps apart, and not alike."""
    right, other = (quantized(softmax(seed)) for seed in (1, 2))
    found = parity([right], [other], [bytes_()], "r")
    assert not found.ok
    wrong = parity([softmax(1)], [softmax(2)], [floats()], "r", tolerance=INTEGER)
    assert not wrong.ok


def test_label_maps() -> None:
    spec = TensorSpec(name="labels", shape=(1, 100, 100), dtype="int64")
    right = RANDOM.integers(0, 19, (1, 100, 100))
    off = right.copy()
    off[0, :10] = 19
    found = parity([right], [off], [spec], "r")
    assert (found.ok, found.worst, found.unit) == (True, pytest.approx(0.1), LABELS_UNIT)
    off[0, :30] = 19
    assert not parity([right], [off], [spec], "r").ok


def test_the_worst_output_decides() -> None:
    right, off = softmax(), softmax() * np.float32(1.5)
    specs = [floats("first"), floats("second")]
    found = parity([right, right], [right, off], specs, "r")
    assert not found.ok
    assert "'second'" in found.detail


def test_other_shapes_and_counts() -> None:
    assert "shape" in parity([softmax()], [softmax()[:, :9]], [floats()], "r").detail
    found = parity([softmax()], [], [floats()], "litert-cpu")
    assert not found.ok
    assert "0 outputs" in found.detail


@pytest.mark.shared_data
@pytest.mark.parametrize(
    "name", ["mobilenet_v2_1.0_224_quant.tflite", "mobilenet_v1_0.25_128_quant.tflite"]
)
def test_two_right_engines_agree(name: str) -> None:
    """XNNPACK and LiteRT's reference kernels, on a real picture; and not on two pictures."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType
    from PIL import Image

    from edge.runtime.backends.litert import tensor_spec

    folder = os.environ.get("EDGE_TEST_DATA")
    if not folder:
        pytest.skip("EDGE_TEST_DATA does not name the folder of shared models")
    models = Path(folder) / "models"

    def answer(picture: str, resolver: Any) -> tuple[np.ndarray, TensorSpec]:
        interpreter = Interpreter(
            str(models / name), num_threads=1, experimental_op_resolver_type=resolver
        )
        interpreter.allocate_tensors()
        (put,), (get,) = interpreter.get_input_details(), interpreter.get_output_details()
        size = tuple(put["shape"][2:0:-1])
        pixels = np.asarray(Image.open(models / picture).convert("RGB").resize(size))
        interpreter.set_tensor(put["index"], pixels[np.newaxis])
        interpreter.invoke()
        return interpreter.get_tensor(get["index"]), tensor_spec(get)

    right, spec = answer("cat.bmp", OpResolverType.AUTO)
    other, _ = answer("cat.bmp", OpResolverType.BUILTIN_REF)
    assert parity([right], [other], [spec], "litert-cpu").ok
    another, _ = answer("sunflower.bmp", OpResolverType.AUTO)
    assert not parity([right], [another], [spec], "litert-cpu").ok


@pytest.mark.parametrize(("name", "expected"), [("int8", True), ("fp32", False)])
def test_a_tflite_file_says_whether_it_computes_with_integers(name: str, expected: bool) -> None:
    assert integers_inside(DATA / f"channels_{name}.tflite") is expected


@pytest.mark.parametrize(
    ("operator", "expected"),
    [("QuantizeLinear", True), ("DynamicQuantizeLinear", True), ("Relu", False)],
)
def test_an_onnx_file_too(operator: str, expected: bool, tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    node = helper.make_node(operator, ["x"], ["y"])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    path = tmp_path / "m.onnx"
    path.write_bytes(helper.make_model(helper.make_graph([node], "g", [x], [])).SerializeToString())
    assert integers_inside(path) is expected


def test_half_a_file_is_not_understood(tmp_path: Path) -> None:
    content = (DATA / "channels_int8.tflite").read_bytes()
    path = tmp_path / "m.tflite"
    for length in range(0, len(content), 97):
        path.write_bytes(content[:length])
        assert integers_inside(path) in (True, False)
    path.write_bytes(b"\xff" * 500)
    assert integers_inside(path) is False
