import numpy as np
import pytest

from edge.errors import InferenceError
from edge.runtime.postprocess import dequantize, top_k
from edge.runtime.spec import QuantizationParams, TensorSpec


def spec(
    dtype: str, scales: tuple[float, ...], points: tuple[int, ...], axis: int = 0
) -> TensorSpec:
    quantization = QuantizationParams(scales=scales, zero_points=points, quantized_dimension=axis)
    return TensorSpec(name="out", shape=(1, 3), dtype=dtype, quantization=quantization)


@pytest.mark.parametrize(
    ("dtype", "value", "point", "expected"),
    [
        ("int8", -128, 127, -255.0),  # would wrap around to 1 in int8
        ("int8", 127, -128, 255.0),
        ("uint8", 0, 255, -255.0),
        ("uint8", 255, 0, 255.0),
        ("int16", -32768, 32767, -65535.0),
        ("int8", 5, 5, 0.0),
    ],
)
def test_integers_are_widened_before_the_zero_point(
    dtype: str, value: int, point: int, expected: float
) -> None:
    tensor = np.array([[value]], dtype)
    real = dequantize(tensor, spec(dtype, (0.5,), (point,)))
    assert real.dtype == np.float32
    assert real.tolist() == [[expected / 2]]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_per_channel_parameters_run_along_their_axis(axis: int) -> None:
    tensor = np.arange(-12, 12, dtype=np.int8).reshape(2, 3, 4)
    count = tensor.shape[axis]
    scales = tuple(0.25 * (index + 1) for index in range(count))
    points = tuple(10 * index - 5 for index in range(count))
    real = dequantize(tensor, spec("int8", scales, points, axis))
    for position in np.ndindex(tensor.shape):
        channel = position[axis]
        expected = scales[channel] * (int(tensor[position]) - points[channel])
        assert real[position] == pytest.approx(expected)


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
def test_real_values_pass(dtype: str) -> None:
    tensor = np.array([[0.25, 0.75]], dtype)
    real = dequantize(tensor, TensorSpec(name="out", shape=(1, 2), dtype=dtype))
    assert real.dtype == np.float32
    assert real.tolist() == [[0.25, 0.75]]


def scores(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array(values, np.float32)


def test_best_first() -> None:
    answers = top_k(scores(0.25, 0.5, 0.125, 0.125), ["a", "b", "c", "d"], 3)
    assert [(item.index, item.label, item.score) for item in answers] == [
        (1, "b", 0.5),
        (0, "a", 0.25),
        (2, "c", 0.125),
    ]
    assert isinstance(answers[0].score, float)
    assert isinstance(answers[0].index, int)


def test_ties_are_in_the_order_of_their_index() -> None:
    labels = [str(index) for index in range(64)]
    assert [item.index for item in top_k(scores(*[1 / 64] * 64), labels, 64)] == list(range(64))
    assert [item.index for item in top_k(scores(0.1, 0.4, 0.1, 0.4), labels[:4], 4)] == [1, 3, 0, 2]


@pytest.mark.parametrize(("k", "count"), [(1, 1), (2, 2), (3, 2), (100, 2), (0, 0)])
def test_at_most_k_answers(k: int, count: int) -> None:
    assert len(top_k(scores(0.5, 0.5), ["a", "b"], k)) == count


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_an_answer_that_is_no_number(bad: float) -> None:
    with pytest.raises(InferenceError, match="not finite"):
        top_k(scores(0.5, bad), ["a", "b"], 1)


@pytest.mark.parametrize("shape", [(1,), (3,), (1, 2), ()])
def test_as_many_scores_as_labels(shape: tuple[int, ...]) -> None:
    with pytest.raises(InferenceError, match="for 2 labels"):
        top_k(np.zeros(shape, np.float32), ["a", "b"], 1)
