"""Float files of others become int8 in their own format, and answer as before."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from converters.__main__ import _results
from converters.base import ConversionRequest, ConversionResult, Precision
from edge.errors import ConversionError, UsageError
from edge.modelfile import onnx_metadata, tflite_metadata
from edge.runtime.contract import ChannelOrder, Preprocessing, TensorLayout
from edge.runtime.postprocess import dequantize
from edge.runtime.session import encode_pixels, open_session
from edge.runtime.tasks.table import DecoderSpec

SIDE = 16
DECODER = DecoderSpec(name="tflite-detection")
PLAIN = Preprocessing(height=SIDE, width=SIDE)
CONTRACTS = {
    "pixels": PLAIN,
    "0..1": replace(PLAIN, value_range=(0.0, 1.0)),
    "mean 127.5": replace(PLAIN, mean=(127.5,) * 3, std=(127.5,) * 3),
    "mean 128": replace(PLAIN, mean=(128.0,) * 3, std=(64.0,) * 3),
    "bgr": replace(PLAIN, channel_order=ChannelOrder.BGR),
    "a mean each": replace(PLAIN, mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4)),
}
CHW = {"layout": TensorLayout.CHW}
# SQNR in dB, 20 log10 of signal over error. Seeded random layers of 8-bit steps give 30 to 40.
ENOUGH = 25.0


def pictures(count: int = 24) -> NDArray[np.uint8]:
    """Smooth noise of the whole range: (count, SIDE, SIDE, 3)."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return np.repeat(np.repeat(coarse, SIDE // 4, axis=1), SIDE // 4, axis=2)


def tflite_net(
    path: Path, *, scale: float, padding: str = "SAME", bias: bool = True, half: bool = False
) -> Path:
    """Two convolutions, then boxes of hundreds and scores of 0..1 joined in one output."""
    import tensorflow as tf

    rng = np.random.default_rng(5)
    weights = [rng.normal(0, 0.2, shape).astype(np.float32) for shape in _SHAPES]
    weights[0] *= scale

    @tf.function(input_signature=[tf.TensorSpec((1, SIDE, SIDE, 3), tf.float32, name="image")])
    def call(image: Any) -> Any:
        first = tf.nn.conv2d(image, weights[0], 2, padding)
        first = tf.nn.relu(first + np.float32(0.1) if bias else first)
        boxes = tf.nn.conv2d(first, weights[1], 1, "SAME") * 200.0
        scores = tf.sigmoid(tf.nn.conv2d(first, weights[2], 1, "SAME"))
        return tf.concat([boxes, scores], -1)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([call.get_concrete_function()])
    if half:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    path.write_bytes(converter.convert())
    return path


_SHAPES = ((3, 3, 3, 8), (1, 1, 8, 4), (3, 3, 8, 6))


def onnx_net(path: Path, *, scale: float, padded: bool = True, opset: int = 11) -> Path:
    """The same of channels first, with constants as nodes and nodes without names."""
    import onnx
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(5)
    weights = [
        rng.normal(0, 0.2, (shape[3], shape[2], *shape[:2])).astype(np.float32) for shape in _SHAPES
    ]
    weights[0] *= scale
    constants = [
        helper.make_node("Constant", [], [f"w{i}"], value=numpy_helper.from_array(value))
        for i, value in enumerate([*weights, np.float32([200.0])])
    ]
    pads = {"pads": [1, 1, 1, 1]}
    nodes = [
        *constants,
        helper.make_node(
            "Conv", ["image", "w0"], ["c"], strides=[2, 2], **(pads if padded else {})
        ),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "w1"], ["b"]),
        helper.make_node("Conv", ["r", "w2"], ["s"], **pads),
        helper.make_node("Mul", ["b", "w3"], ["boxes"]),
        helper.make_node("Sigmoid", ["s"], ["scores"]),
        helper.make_node("Concat", ["boxes", "scores"], ["out"], axis=1),
    ]
    image = helper.make_tensor_value_info("image", 1, ["batch", 3, SIDE, SIDE])
    out = helper.make_tensor_value_info("out", 1, ["batch", 10, None, None])
    graph = helper.make_graph(nodes, "net", [image], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=6)
    onnx.save(model, path)
    return path


def converted(
    folder: Path, file: Path, contract: Preprocessing, **changes: Any
) -> dict[str, ConversionResult]:
    np.save(folder / "calibration.npy", pictures())
    arguments = {
        "keras_model": None,
        "float_file": file,
        "decoder": DECODER,
        "format": file.suffix[1:],
        "precisions": (Precision.FP32, Precision.INT8),
        "output": folder,
        "calibration": folder / "calibration.npy",
        "name": "net",
        "labels": ("cat", "dog"),
        "preprocessing": contract,
    }
    request = ConversionRequest(**(arguments | changes))
    return {item.variant.split("-")[1]: item for item in _results(request, lambda: None)}


def answers(path: Path, contract: Preprocessing) -> NDArray[np.float32]:
    session = open_session(path)
    rows = []
    for picture in pictures(6):
        outputs = session.run(encode_pixels(picture, session.inputs[0], contract.encoding))
        assert session.outputs[0].dtype == "float32"
        rows.append(dequantize(outputs[0], session.outputs[0]))
    return np.concatenate(rows)


def noise(wanted: NDArray[np.float32], given: NDArray[np.float32], part: slice, axis: int) -> float:
    """SQNR in dB of some channels."""
    index = [slice(None)] * wanted.ndim
    index[axis] = part
    signal, error = wanted[tuple(index)], (wanted - given)[tuple(index)]
    return float(20 * np.log10(np.linalg.norm(signal) / max(np.linalg.norm(error), 1e-12)))


def first_scale(contract: Preprocessing) -> float:
    """Weights so small that the first layer answers about 1, whatever the contract."""
    return 0.01 / float(np.mean(contract.encoding.affine(3)[0]))


@pytest.mark.parametrize("name", CONTRACTS)
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_a_tflite_file_answers_alike_as_int8(tmp_path: Path, name: str, padding: str) -> None:
    contract = CONTRACTS[name]
    file = tflite_net(tmp_path / "net.tflite", scale=first_scale(contract), padding=padding)
    files = converted(tmp_path, file, contract)
    _check_alike(files, file, contract, -1, real=name == "a mean each" and padding == "SAME")


@pytest.mark.parametrize("name", CONTRACTS)
@pytest.mark.parametrize("padded", [True, False])
def test_an_onnx_file_answers_alike_as_int8(tmp_path: Path, name: str, padded: bool) -> None:
    contract = replace(CONTRACTS[name], layout=TensorLayout.CHW)
    file = onnx_net(tmp_path / "net.onnx", scale=first_scale(contract), padded=padded)
    files = converted(tmp_path, file, contract)
    _check_alike(files, file, contract, 1, real=name == "a mean each" and padded)


def _check_alike(
    files: dict[str, ConversionResult],
    source: Path,
    contract: Preprocessing,
    axis: int,
    *,
    real: bool,
) -> None:
    wanted = answers(source, contract)
    assert (answers(files["fp32"].path, contract) == wanted).all()
    given = answers(files["int8"].path, contract)
    # Boxes of hundreds beside scores of 0..1: one scale for both would leave the scores one bit.
    assert noise(wanted, given, slice(0, 4), axis) > ENOUGH
    assert noise(wanted, given, slice(4, 10), axis) > ENOUGH
    assert open_session(files["int8"].path).inputs[0].dtype == ("float32" if real else "uint8")
    assert bool(files["int8"].notes) == real


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_the_files_state_contract_labels_and_decoder(tmp_path: Path, kind: str) -> None:
    contract = PLAIN if kind == "tflite" else replace(PLAIN, layout=TensorLayout.CHW)
    make: Callable[..., Path] = tflite_net if kind == "tflite" else onnx_net
    for item in converted(tmp_path, make(tmp_path / f"net.{kind}", scale=0.01), contract).values():
        stated = _metadata(item.path)
        assert stated.labels == ("cat", "dog")
        assert stated.edge_preprocessing == contract.to_json()
        assert DecoderSpec.from_json(stated.edge_decoder) == DECODER


def _metadata(path: Path) -> Any:
    if path.suffix == ".tflite":
        return tflite_metadata.read(path.read_bytes())
    import onnx

    return onnx_metadata.read(onnx.load(path))


def test_integer_files_are_refused(tmp_path: Path) -> None:
    for make, contract in ((tflite_net, PLAIN), (onnx_net, replace(PLAIN, **CHW))):
        file = make(tmp_path / f"net.{make.__name__.split('_')[0]}", scale=0.01)
        given = converted(tmp_path, file, contract)["int8"].path
        with pytest.raises(ConversionError, match="is no float32 model"):
            converted(tmp_path, given, contract)


def test_what_no_format_has_is_refused(tmp_path: Path) -> None:
    file = tflite_net(tmp_path / "net.tflite", scale=0.01)
    with pytest.raises(ConversionError, match="not as dynamic"):
        converted(tmp_path, file, PLAIN, precisions=(Precision.DYNAMIC,))
    with pytest.raises(ConversionError, match="the contract states one of"):
        converted(tmp_path, file, replace(PLAIN, height=8))


def test_weights_of_half_precision_are_widened(tmp_path: Path) -> None:
    file = tflite_net(tmp_path / "net.tflite", scale=first_scale(PLAIN), half=True)
    _check_alike(converted(tmp_path, file, PLAIN), file, PLAIN, -1, real=False)


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_a_recipe_keeps_blocks_in_floats(tmp_path: Path, kind: str) -> None:
    contract = PLAIN if kind == "tflite" else replace(PLAIN, layout=TensorLayout.CHW)
    make: Callable[..., Path] = tflite_net if kind == "tflite" else onnx_net
    file = make(tmp_path / f"net.{kind}", scale=first_scale(PLAIN))
    with pytest.raises(UsageError, match=r"which the .* model lacks") as caught:
        converted(tmp_path, file, contract, precisions=(Precision.MIXED,), recipe=("no such",))
    assert "It has 3 blocks" in str(caught.value.hint)
    told = str(caught.value.hint).split("they are ")[1]
    names = tuple(re.findall(r"'([^']+)'", told))
    assert len(names) == 3
    kept = converted(tmp_path, file, contract, precisions=(Precision.MIXED,), recipe=names)
    session = open_session(kept["mixed"].path)
    assert session.inputs[0].dtype == "uint8"
    # All three blocks are kept, so only float32's own rounding is left of answers of hundreds.
    np.testing.assert_allclose(
        answers(kept["mixed"].path, contract), answers(file, contract), rtol=1e-4, atol=1e-3
    )


def test_what_is_no_float32_onnx_file_is_refused_in_one_line(tmp_path: Path) -> None:
    import onnx

    contract = replace(PLAIN, **CHW)
    file = onnx_net(tmp_path / "net.onnx", scale=0.01)
    model = onnx.load(file)
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    onnx.save(model, tmp_path / "double.onnx")
    with pytest.raises(ConversionError, match="its input is float64") as caught:
        converted(tmp_path, tmp_path / "double.onnx", contract)
    assert "\n" not in caught.value.message
    with pytest.raises(ConversionError, match="an extent of 16, not 32"):
        converted(tmp_path, file, replace(contract, height=32))


def test_nothing_to_quantize_is_refused(tmp_path: Path) -> None:
    import onnx
    from onnx import helper

    image, out = (helper.make_tensor_value_info(n, 1, [1, 3, SIDE, SIDE]) for n in ("image", "out"))
    graph = helper.make_graph([helper.make_node("Relu", ["image"], ["out"])], "net", [image], [out])
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), tmp_path / "r.onnx")
    with pytest.raises(ConversionError, match="no layer with constant float32 weights"):
        converted(tmp_path, tmp_path / "r.onnx", replace(PLAIN, **CHW))
