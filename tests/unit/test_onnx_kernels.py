"""What ONNX Runtime computes of an integer file is what the file says, on every processor.

No two weights overflow that a processor adds in 16 bits, and what stays in floats does.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from converters.onnx_quantization import QuantizableONNX
from converters.quantizable import Calibration
from converters.rounding import LEVELS, compensated, nearest, paired_scales, scales
from edge.inspection.model import inspect_model
from edge.modelfile.pairs import MOST

SIDE = 8


def network() -> Any:
    """Each kind of layer, its weights of one sign: the pairs are as large as they can be."""
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)

    def kernel(*shape: int) -> NDArray[np.float32]:
        return random.uniform(0.5, 1, shape).astype(np.float32) / np.float32(np.prod(shape[1:]))

    constants = {
        "odd": kernel(6, 3, 3, 3),
        "own": kernel(6, 1, 3, 3),
        "point": kernel(8, 6, 1, 1),
        "groups": kernel(8, 4, 3, 3),
        "rows": kernel(800, 8),
        "columns": kernel(800, 5),
        "bias": np.linspace(-1, 1, 5, dtype=np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "odd"], ["a"], "net/odd/Conv"),
        helper.make_node("Conv", ["a", "own"], ["b"], "net/own/Conv", group=6),
        helper.make_node("Conv", ["b", "point"], ["c"], "net/point/Conv"),
        helper.make_node("Conv", ["c", "groups"], ["d"], "net/groups/Conv", group=2),
        helper.make_node("GlobalAveragePool", ["d"], ["e"], "net/pool/Pool"),
        helper.make_node("Flatten", ["e"], ["f"], "net/flat/Flatten"),
        helper.make_node("Gemm", ["f", "rows"], ["g"], "net/rows/Gemm", transB=1),
        helper.make_node("MatMul", ["g", "columns"], ["h"], "net/columns/MatMul"),
        helper.make_node("Add", ["h", "bias"], ["y"], "net/columns/Add"),
    ]
    shape: list[int | str] = ["batch", 3, SIDE, SIDE]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 5])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class _Bright(Calibration):
    """Pictures near white: each product is as large as it can be."""

    def __iter__(self) -> Any:
        for image in super().__iter__():
            yield np.ascontiguousarray(image.transpose(0, 3, 1, 2))


@pytest.fixture(params=[True, False], ids=["corrected", "plain"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> QuantizableONNX:
    pixels = np.random.default_rng(1).integers(200, 256, (6, SIDE, SIDE, 3), np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    calibration = _Bright(tmp_path / "pixels.npy", 0)
    return QuantizableONNX(network(), calibration, corrected=request.param)


@pytest.fixture
def quantized(model: QuantizableONNX) -> bytes:
    return model.quantized()


def pairs(weights: NDArray[np.int8]) -> NDArray[np.int64]:
    """Sums of neighbouring inputs of an output, position by position: (outputs, pairs)."""
    wide = weights.astype(np.int64)
    flat = wide.reshape(*wide.shape[:2], -1).transpose(0, 2, 1).reshape(len(wide), -1)
    flat = np.pad(flat, ((0, 0), (0, flat.shape[1] % 2)))
    return flat[:, ::2] + flat[:, 1::2]


def test_no_pair_overflows(quantized: bytes) -> None:
    import onnx

    graph = onnx.load_from_string(quantized).graph
    constants = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    writers = {name: node for node in graph.node for name in node.output}
    seen = []
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        weights = constants[writers[node.input[1]].input[0]]
        assert weights.dtype == np.int8
        if "columns" in node.name:
            weights = weights.T
        seen.append(node.name)
        if "own" in node.name:  # its kernels add nothing in 16 bits: it has all levels
            assert np.abs(weights).max() == LEVELS
            continue
        most = np.abs(pairs(weights)).max()
        assert MOST - 4 <= most <= MOST, node.name
    assert len(seen) == 6


class _Reader:
    """The pictures for ONNX Runtime's own quantizer."""

    def __init__(self) -> None:
        random = np.random.default_rng(1)
        self._left = [random.uniform(200, 255, (1, 3, SIDE, SIDE)) for _ in range(4)]

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return {"x": self._left.pop().astype(np.float32)} if self._left else None


def by_tools(folder: Path, form: str, *, reduce_range: bool) -> Path:
    """The network's int8 file by ONNX Runtime's quantizer."""
    import onnx
    from onnxruntime import quantization

    onnx.save(network(), folder / "float.onnx")
    made = folder / "int8.onnx"
    kinds = {
        "weight_type": quantization.QuantType.QInt8,
        "per_channel": True,
        "reduce_range": reduce_range,
    }
    if form == "dynamic":
        quantization.quantize_dynamic(folder / "float.onnx", made, **kinds)
        return made
    quantization.quantize_static(
        folder / "float.onnx",
        made,
        _Reader(),
        quant_format=quantization.QuantFormat[form],
        activation_type=quantization.QuantType.QUInt8,
        **kinds,
    )
    return made


@pytest.mark.parametrize(("form", "layers"), [("QDQ", 5), ("QOperator", 5), ("dynamic", 5)])
def test_files_that_overflow_are_told(
    form: str, layers: int, quantized: bytes, tmp_path: Path
) -> None:
    report = inspect_model(by_tools(tmp_path, form, reduce_range=False))
    (note,) = [note for note in report.notes if "overflow" in note]
    assert note.startswith(f"{layers} of its {layers} layers of int8 weights overflow on x86")
    others = by_tools(tmp_path, form, reduce_range=True), tmp_path / "ours.onnx"
    others[1].write_bytes(quantized)
    for path in others:
        assert not [note for note in inspect_model(path).notes if "overflow" in note]


def answer(content: bytes, *, exact: bool) -> NDArray[np.float32]:
    """To a white picture, by the fast kernels or by those of floats."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if exact:
        level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.graph_optimization_level = level
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    pixels = np.full((1, 3, SIDE, SIDE), 255, np.uint8)
    found: NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: pixels})[0]
    return found


def test_the_fast_kernels_give_what_exact_ones_give(quantized: bytes) -> None:
    fast, exact = (answer(quantized, exact=exact) for exact in (False, True))
    assert np.abs(fast - exact).max() < 0.02 * np.ptp(exact)


KEPT = ("net/odd", "net/own", "net/point", "net/groups", "net/rows", "net/columns")


@pytest.mark.parametrize("kept", [*((name,) for name in KEPT), KEPT[1:3], KEPT], ids=str)
def test_what_stays_in_floats_is_computed_in_floats(
    kept: tuple[str, ...], model: QuantizableONNX, tmp_path: Path
) -> None:
    """ONNX Runtime would round the weights of a layer in floats that reads integers."""
    import onnx
    import onnxruntime

    names = [block.name for block in model.blocks]
    assert len(names) == len(KEPT)
    content = model.quantized([names[KEPT.index(name)] for name in kept])
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    operators = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    integers = [name for name in operators if name in ("QLinearConv", "QGemm", "QLinearMatMul")]
    real = [name for name in operators if name in ("Conv", "FusedConv", "Gemm", "MatMul")]
    assert (len(integers), len(real)) == (len(KEPT) - len(kept), len(kept))
    fast, exact = (answer(content, exact=exact) for exact in (False, True))
    assert np.abs(fast - exact).max() < 0.02 * np.ptp(exact)


def weights(outputs: int, inputs: int, positions: int = 1) -> NDArray[np.float32]:
    random = np.random.default_rng(outputs)
    return random.normal(size=(outputs, inputs, positions)).astype(np.float32)


@pytest.mark.parametrize("shape", [(4, 6, 1), (4, 7, 1), (5, 3, 9), (2, 1, 1)])
def test_a_step_is_as_small_as_the_pairs_allow(shape: tuple[int, int, int]) -> None:
    kernel = weights(*shape)
    step = paired_scales(kernel)
    levels = np.rint(kernel / step).astype(np.int64)
    most = np.abs(levels).max()
    assert most <= LEVELS
    assert np.abs(pairs(levels)).max() <= MOST
    assert (step >= scales(kernel) * (1 - 1e-12)).all()
    assert (step <= 2 * scales(kernel)).all()  # half the levels: what the guide advises
    assert np.isfinite(paired_scales(np.zeros_like(kernel))).all()


@pytest.mark.parametrize("inputs", [2, 7, 64, 201])
def test_compensation_keeps_to_the_pairs(inputs: int) -> None:
    kernel = np.abs(weights(16, inputs))[:, :, 0]
    causes = np.random.default_rng(3).normal(size=(500, 4)) @ weights(4, inputs)[:, :, 0]
    covariance = np.asarray(np.cov(np.maximum(causes, 0).T), np.float32).reshape(inputs, inputs)
    step = paired_scales(kernel[:, :, np.newaxis])[:, 0, 0]
    rounded = compensated(kernel, covariance, step)
    levels = rounded / step[:, np.newaxis]
    assert np.abs(levels - np.rint(levels)).max() < 1e-3
    assert np.abs(pairs(np.rint(levels).astype(np.int64)[:, :, np.newaxis])).max() <= MOST
    plain = nearest(kernel, scale=step[:, np.newaxis])
    lost = [
        float(np.einsum("oi,ij,oj", d, covariance, d)) for d in (rounded - kernel, plain - kernel)
    ]
    assert lost[0] < 1.001 * lost[1]
