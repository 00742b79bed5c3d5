"""Inspection of model files: counts against hand-computed truth, and corrupt files."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.accelerators.table import accelerator
from benchmarks.request import Request, TimedModel, WorkerTask, ask
from edge.errors import ModelLoadError, UsageError
from edge.inspection.model import inspect_model, inspect_onnx, inspect_tflite
from edge.modelfile import mult_adds
from edge.modelfile.tflite import ReadBudget
from edge.runtime.backends.onnx import check_functions
from edge.runtime.session import open_session

ORT = accelerator("onnxruntime-cpu")

# ---- tiny models -------------------------------------------------------------------------------


class TinyTflite:
    """Builds a TFLite file with the schema's object API; every tensor has one type."""

    def __init__(self, *, int8: bool = False) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema, self.int8 = schema, int8
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model = schema.ModelT()
        self.model.version, self.model.description = 3, "tiny"
        self.model.operatorCodes, self.model.subgraphs = [], [self.graph]
        self.model.buffers = [schema.BufferT()]  # buffer 0 is empty by convention

    def tensor(self, *shape: int, constant: bool = False, integers: Any = None) -> int:
        s, tensor = self.schema, self.schema.TensorT()
        tensor.shape, tensor.name = list(shape), f"t{len(self.graph.tensors)}".encode()
        kind = np.int8 if self.int8 else np.float32
        tensor.type = s.TensorType.INT8 if self.int8 else s.TensorType.FLOAT32
        if integers is not None:
            tensor.type, kind = s.TensorType.INT32, np.int32
        elif self.int8:
            tensor.quantization = s.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [0.5], [-3]
        if constant or integers is not None:
            data = np.ones(shape, kind) if integers is None else np.asarray(integers, kind)
            buffer = s.BufferT()
            buffer.data = list(data.tobytes())
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def operator(self, name: str, inputs: list[int], output: int, custom: str = "") -> int:
        s, code, operator = self.schema, self.schema.OperatorCodeT(), self.schema.OperatorT()
        code.builtinCode = getattr(s.BuiltinOperator, name)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.customCode = custom or None
        self.model.operatorCodes.append(code)
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = inputs, [output]
        self.graph.operators.append(operator)
        return output

    def write(self, path: Path, inputs: list[int], output: int) -> Path:
        import flatbuffers

        self.graph.inputs, self.graph.outputs = inputs, [output]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), file_identifier=b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path


def convnet_tflite(path: Path, *, int8: bool = False) -> Path:
    """Scaling, 3x3 convolution, depthwise 3x3, reshape, fully connected."""
    t = TinyTflite(int8=int8)
    image = t.tensor(1, 5, 5, 3)
    scaled = t.operator("MUL", [image, t.tensor(1, constant=True)], t.tensor(1, 5, 5, 3))
    weights, bias = t.tensor(4, 3, 3, 3, constant=True), t.tensor(4, constant=True)
    conv = t.operator("CONV_2D", [scaled, weights, bias], t.tensor(1, 3, 3, 4))
    weights, bias = t.tensor(1, 3, 3, 4, constant=True), t.tensor(4, constant=True)
    depthwise = t.operator("DEPTHWISE_CONV_2D", [conv, weights, bias], t.tensor(1, 3, 3, 4))
    flat = t.operator("RESHAPE", [depthwise, t.tensor(2, integers=[1, 36])], t.tensor(1, 36))
    weights, bias = t.tensor(10, 36, constant=True), t.tensor(10, constant=True)
    answer = t.operator("FULLY_CONNECTED", [flat, weights, bias], t.tensor(1, 10))
    return t.write(path, [image], answer)


# 9 output positions x 3*3*3*4, 9 x 3*3*4, and 36*10; the scalar and the shape do not count.
CONVNET_MULT_ADDS = 972 + 324 + 360
CONVNET_PARAMETERS = (108 + 4) + (36 + 4) + (360 + 10)


def onnx_model(
    path: Path,
    nodes: list[Any],
    inputs: dict[str, tuple[Any, ...]],
    constants: dict[str, np.ndarray],
    output: tuple[Any, ...],
) -> Path:
    """Write an ONNX model whose only output is ``y``; the inputs are float32."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {"edge.preprocessing": "{}"})
    onnx.save(model, str(path))
    return path


def node(operator: str, inputs: str, output: str, **attributes: Any) -> Any:
    from onnx import helper

    return helper.make_node(operator, inputs.split(), output.split(), **attributes)


def floats(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def convnet_onnx(path: Path) -> Path:
    """Convolution, depthwise (grouped) convolution, unfolded scale, flatten, Gemm; open batch."""
    nodes = [
        node("Conv", "x w1 b1", "a"),
        node("Conv", "a w2", "b", group=4, pads=[1, 1, 1, 1]),
        node("Mul", "b scale", "c"),
        node("Mul", "c half", "d"),
        node("Reshape", "d shape", "e"),
        node("Gemm", "e w3 b3", "y", transB=1),
    ]
    constants = {
        "w1": floats(4, 3, 3, 3),
        "b1": floats(4),
        "w2": floats(4, 1, 3, 3),
        "scale": floats(4, 1, 1),
        "half": np.float32(0.5),
        "shape": np.array([-1, 36], np.int64),
        "w3": floats(10, 36),
        "b3": floats(10),
    }
    return onnx_model(path, nodes, {"x": ("batch", 3, 5, 5)}, constants, ("batch", 10))


# ---- formulas ----------------------------------------------------------------------------------


def test_formulas_give_the_figures_of_the_mobilenet_paper() -> None:
    # Table 4: full convolutions 4866 M, depthwise separable 569 M; here the layer of section 3.1
    # with D_K = 3, M = N = 512, D_F = 14, whose two costs stand in Table 3: 462 M and 52.3 M.
    full = mult_adds.convolution(
        output_positions=14 * 14, kernel_positions=9, in_channels=512, out_channels=512
    )
    separable = mult_adds.depthwise_convolution(
        output_positions=14 * 14, kernel_positions=9, out_channels=512
    ) + mult_adds.convolution(
        output_positions=14 * 14, kernel_positions=1, in_channels=512, out_channels=512
    )
    assert round(full / 1e6) == 462
    assert round(separable / 1e6, 1) == 52.3


def test_depthwise_is_the_grouped_convolution_of_one_channel_each() -> None:
    grouped = mult_adds.convolution(
        output_positions=9, kernel_positions=9, in_channels=4, out_channels=4, groups=4
    )
    assert grouped == mult_adds.depthwise_convolution(
        output_positions=9, kernel_positions=9, out_channels=4
    )


# ---- TFLite ------------------------------------------------------------------------------------


def test_tflite_counts(tmp_path: Path) -> None:
    report = inspect_tflite(convnet_tflite(tmp_path / "m.tflite"))
    assert (report.mult_adds, report.parameters) == (CONVNET_MULT_ADDS, CONVNET_PARAMETERS)
    assert dict(report.operators)["CONV_2D"] == 1 and sum(dict(report.operators).values()) == 5
    assert report.quantized_operators == 0
    assert (report.inputs[0].name, report.inputs[0].shape) == ("t0", (1, 5, 5, 3))
    assert report.outputs[0].shape == (1, 10)
    assert report.size_bytes == (tmp_path / "m.tflite").stat().st_size


def test_tflite_int8_is_quantized_with_equal_counts(tmp_path: Path) -> None:
    report = inspect_tflite(convnet_tflite(tmp_path / "m.tflite", int8=True))
    assert (report.mult_adds, report.parameters) == (CONVNET_MULT_ADDS, CONVNET_PARAMETERS)
    assert report.quantized_operators == 5
    assert report.inputs[0].dtype == "int8"
    quantization = report.inputs[0].quantization
    assert quantization is not None
    assert (quantization.scales, quantization.zero_points) == ((0.5,), (-3,))


def test_tflite_transposed_convolution_and_shared_constant(tmp_path: Path) -> None:
    t = TinyTflite()
    image = t.tensor(1, 4, 4, 3)
    shape, weights = t.tensor(4, integers=[1, 8, 8, 2]), t.tensor(2, 2, 2, 3, constant=True)
    first = t.operator("TRANSPOSE_CONV", [shape, weights, image], t.tensor(1, 8, 8, 2))
    t.operator("TRANSPOSE_CONV", [shape, weights, image], t.tensor(1, 8, 8, 2))
    report = inspect_tflite(t.write(tmp_path / "m.tflite", [image], first))
    assert report.mult_adds == 2 * (16 * 4 * 3 * 2)  # input positions x kernel x in x out
    assert report.parameters == 2 * 2 * 2 * 3  # one stored constant, used twice


def test_tflite_lstm(tmp_path: Path) -> None:
    t = TinyTflite()
    sequence = t.tensor(1, 7, 3)
    matrices = [t.tensor(5, 3, constant=True) for _ in range(4)]
    matrices += [t.tensor(5, 5, constant=True) for _ in range(4)]
    biases = [t.tensor(5, constant=True) for _ in range(4)]
    states = [t.tensor(1, 5), t.tensor(1, 5)]
    inputs = [sequence, *matrices, -1, -1, -1, *biases, -1, -1, *states]
    output = t.operator("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, t.tensor(1, 7, 5))
    report = inspect_tflite(t.write(tmp_path / "m.tflite", [sequence], output))
    assert report.mult_adds == 7 * (4 * 15 + 4 * 25)
    assert report.parameters == 4 * 15 + 4 * 25 + 4 * 5


def test_tflite_custom_operator_becomes_a_note(tmp_path: Path) -> None:
    t = TinyTflite()
    image = t.tensor(1, 2)
    output = t.operator("CUSTOM", [image], t.tensor(1, 2), custom="Detect")
    report = inspect_tflite(t.write(tmp_path / "m.tflite", [image], output))
    assert report.operators == (("Detect", 1),)
    assert report.notes == ("mult-adds leave out 1 x Detect: custom operator",)


def test_reads_refuse_more_than_the_file_can_hold() -> None:
    def never(index: int) -> None:
        raise AssertionError(index)

    with pytest.raises(ValueError, match="than fit into the file"):
        ReadBudget(1000).tables(2**32 - 1, never)


# ---- ONNX --------------------------------------------------------------------------------------


def test_onnx_counts_with_open_batch(tmp_path: Path) -> None:
    report = inspect_onnx(convnet_onnx(tmp_path / "m.onnx"))
    assert report.mult_adds == CONVNET_MULT_ADDS
    # As the TFLite model, less the depthwise bias (4), plus the unfolded scale (4).
    assert report.parameters == CONVNET_PARAMETERS
    assert report.operators[0] == ("Conv", 2)
    assert report.inputs[0].shape == (-1, 3, 5, 5)
    assert report.metadata["edge.preprocessing"] == "{}"
    assert report.metadata["opsets"] == ["ai.onnx 17"]


def test_onnx_batch_in_the_file_is_divided_out(tmp_path: Path) -> None:
    path = onnx_model(
        tmp_path / "m.onnx",
        [node("Conv", "x w", "y")],
        {"x": (8, 3, 5, 5)},
        {"w": floats(4, 3, 3, 3)},
        (8, 4, 3, 3),
    )
    assert inspect_onnx(path).mult_adds == 972


def test_onnx_matmul_of_batches(tmp_path: Path) -> None:
    nodes = [node("MatMul", "q k", "s"), node("MatMul", "s w", "y")]
    path = onnx_model(
        tmp_path / "m.onnx",
        nodes,
        {"q": (1, 2, 5, 3), "k": (1, 2, 3, 7)},
        {"w": floats(7, 4)},
        (1, 2, 5, 4),
    )
    report = inspect_onnx(path)
    assert report.mult_adds == 2 * 5 * 3 * 7 + 2 * 5 * 7 * 4
    assert report.parameters == 28


def test_onnx_transposed_convolution_and_batch_normalization(tmp_path: Path) -> None:
    nodes = [
        node("ConvTranspose", "x w", "a", strides=[2, 2]),
        node("BatchNormalization", "a g b m v", "y"),
    ]
    constants = {"w": floats(3, 2, 2, 2)} | {name: floats(2) for name in "gbmv"}
    path = onnx_model(tmp_path / "m.onnx", nodes, {"x": (1, 3, 4, 4)}, constants, (1, 2, 8, 8))
    report = inspect_onnx(path)
    assert report.mult_adds == 16 * 4 * 3 * 2
    assert report.parameters == 24 + 4 * 2


def test_onnx_qdq_convolution_is_quantized_and_counted_once(tmp_path: Path) -> None:
    nodes = [
        node("QuantizeLinear", "x s z", "xq"),
        node("DequantizeLinear", "xq s z", "xd"),
        node("DequantizeLinear", "wq s z", "wd"),
        node("DequantizeLinear", "bq s", "bd"),
        node("Conv", "xd wd bd", "c"),
        node("QuantizeLinear", "c s z", "cq"),
        node("DequantizeLinear", "cq s z", "cd"),
        node("Conv", "cd w2", "y"),
    ]
    constants = {
        "s": np.float32(0.1),
        "z": np.int8(0),
        "wq": np.ones((4, 3, 3, 3), np.int8),
        "bq": np.ones(4, np.int32),
        "w2": floats(2, 4, 1, 1),
    }
    path = onnx_model(tmp_path / "m.onnx", nodes, {"x": (1, 3, 5, 5)}, constants, (1, 2, 3, 3))
    report = inspect_onnx(path)
    assert report.quantized_operators == 1  # the second has real weights
    assert report.parameters == 108 + 4 + 8
    assert report.mult_adds == 972 + 9 * 4 * 2
    assert (report.quantized_mult_adds, report.computing_operators) == (972, 2)
    assert report.quantized_share == pytest.approx(972 / (972 + 72))
    assert report.float_note("onnx-int8") == ""  # 93 %
    assert report.to_json()["quantized_share"] == report.quantized_share


def test_a_file_that_is_called_int8_and_is_float_says_so(tmp_path: Path) -> None:
    path = convnet_tflite(tmp_path / "model_int8.tflite")
    note = inspect_model(path).notes[0]
    assert "model_int8 is called an integer file, but only 0.0 % of the mult-adds" in note
    assert "0 of its 5 operators" in note
    whole = inspect_model(convnet_tflite(tmp_path / "my-quant.tflite", int8=True))
    assert whole.quantized_share == 1.0
    assert not any("called an integer file" in text for text in whole.notes)
    plain = inspect_model(path.rename(tmp_path / "printint8s.tflite"))
    assert not any("called an integer file" in text for text in plain.notes)


def test_onnx_custom_domain_and_open_extent_become_notes(tmp_path: Path) -> None:
    nodes = [node("Detect", "x", "a", domain="vendor"), node("Conv", "a w", "y")]
    path = onnx_model(
        tmp_path / "m.onnx",
        nodes,
        {"x": (1, 3, "height", "width")},
        {"w": floats(4, 3, 3, 3)},
        (1, 4, "h", "w2"),
    )
    report = inspect_onnx(path)
    assert report.mult_adds is None  # not those of one pixel
    assert (report.counted_shapes, report.to_json()["mult_adds"]) == ((), None)
    assert any("open" in note for note in report.notes)
    report = inspect_onnx(path, {"": (1, 3, 8, 8)})
    assert "mult-adds leave out 1 x vendor.Detect: custom operator" in report.notes
    assert "mult-adds leave out 1 x Conv: shapes not in the file" in report.notes
    assert report.counted_shapes == ((1, 3, 8, 8),)


def test_mult_adds_are_of_the_shape_that_is_named(tmp_path: Path) -> None:
    path = onnx_model(
        tmp_path / "m.onnx",
        [node("Conv", "x w", "y")],
        {"x": ("N", 3, "h", "w")},
        {"w": floats(4, 3, 3, 3)},
        ("N", 4, "a", "b"),
    )
    assert inspect_model(path).mult_adds is None
    assert inspect_model(path, {"x": (1, 3, 5, 5)}).mult_adds == 972
    assert inspect_model(path, {"": (8, 3, 7, 5)}).mult_adds == 972 * 5 // 3  # of one image
    for wrong in ({"": (3, 5, 5)}, {"": (1, 4, 5, 5)}, {"z": (1, 3, 5, 5)}):
        with pytest.raises(UsageError):
            inspect_model(path, wrong)


def test_tflite_mult_adds_follow_the_shape_through_the_graph(tmp_path: Path) -> None:
    t = TinyTflite()
    sequence = t.tensor(1, 1, 3)
    t.graph.tensors[sequence].shapeSignature = [1, -1, 3]
    weights, bias = t.tensor(4, 3, constant=True), t.tensor(4, constant=True)
    first = t.operator("FULLY_CONNECTED", [sequence, weights, bias], t.tensor(1, 4))
    weights, bias = t.tensor(2, 4, constant=True), t.tensor(2, constant=True)
    second = t.operator("FULLY_CONNECTED", [first, weights, bias], t.tensor(1, 2))
    path = t.write(tmp_path / "m.tflite", [sequence], second)
    assert inspect_model(path).mult_adds is None
    report = inspect_model(path, {"": (1, 7, 3)})
    assert report.mult_adds == 7 * (3 * 4 + 4 * 2)
    assert report.counted_shapes == ((1, 7, 3),)


# ---- dispatch and corrupt files ----------------------------------------------------------------


def test_content_decides_the_format_not_the_name(tmp_path: Path) -> None:
    assert inspect_model(convnet_tflite(tmp_path / "a.onnx")).format == "tflite"
    assert inspect_model(convnet_onnx(tmp_path / "b.tflite")).format == "onnx"


def test_report_is_json(tmp_path: Path) -> None:
    report = inspect_model(convnet_tflite(tmp_path / "m.tflite", int8=True))
    value = json.loads(json.dumps(report.to_json()))
    assert value["operators"]["FULLY_CONNECTED"] == 1
    assert value["inputs"][0]["quantization"]["zero_points"] == [-3]


def test_missing_file_and_folder_are_usage_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "none.tflite", tmp_path):
        with pytest.raises(UsageError):
            inspect_model(path)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "empty"),
        (b"hello, world\n", "text"),
        (b"PK\x03\x04" + bytes(100), "zip archive"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "PNG"),
        (random.Random(1).randbytes(4096), "no known format"),
        (b"\x08\x01\x12\x02\x0a\x00", "it lacks"),
    ],
)
def test_other_files_are_named(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelLoadError, match=found):
        inspect_model(path)


WRITERS = [convnet_tflite, convnet_onnx]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("part", range(20))
def test_truncated_files_do_not_load(
    tmp_path: Path, write: Callable[[Path], Path], part: int
) -> None:
    path = write(tmp_path / "m")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * part // 20])
    with pytest.raises(ModelLoadError):
        inspect_model(path)


@pytest.mark.parametrize("write", WRITERS)
def test_flipped_bytes_only_raise_the_load_error(
    tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    path = write(tmp_path / "m")
    content = path.read_bytes()
    refused = 0
    for seed in range(200):
        generator = random.Random(seed)
        corrupt = bytearray(content)
        for _ in range(generator.randint(1, 24)):
            corrupt[generator.randrange(len(corrupt))] ^= generator.randint(1, 255)
        path.write_bytes(corrupt)
        try:
            json.dumps(inspect_model(path).to_json())
        except ModelLoadError:
            refused += 1
    assert 20 < refused < 200  # most bytes are weights, whose change no reader can see


@pytest.mark.parametrize(
    ("head", "inspect"), [(b"\x20\0\0\0TFL3", inspect_tflite), (b"\x08\x08", inspect_onnx)]
)
def test_random_bytes_behind_a_right_start_do_not_load(
    tmp_path: Path, head: bytes, inspect: Callable[[Path], object]
) -> None:
    path = tmp_path / "m"
    for seed in range(50):
        path.write_bytes(head + random.Random(seed).randbytes(2048))
        with pytest.raises(ModelLoadError):
            inspect(path)


# ---- published models --------------------------------------------------------------------------


def shared_models() -> Path:
    folder = os.environ.get("EDGE_TEST_DATA")
    if not folder:
        pytest.skip("EDGE_TEST_DATA does not name the folder of shared models")
    return Path(folder) / "models"


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "millions", "quantized"),
    [
        # MobileNet v1 0.25 128: 14 M mult-adds, 0.47 M parameters; v2 1.0 224: 300 M, 3.47 M
        # (tables of the tensorflow/models slim/nets/mobilenet README).
        ("mobilenet_v1_0.25_128_quant.tflite", (14, 0.47), 31),
        ("mobilenet_v2_1.0_224_quant.tflite", (301, 3.49), 66),
        ("tf2_mobilenet_v2_1.0_224_ptq.tflite", (301, 3.49), 66),
    ],
)
def test_published_figures(name: str, millions: tuple[int, float], quantized: int) -> None:
    report = inspect_model(shared_models() / name)
    assert (round(report.mult_adds / 1e6), round(report.parameters / 1e6, 2)) == millions
    assert report.quantized_operators == quantized
    assert report.metadata["associated_files"] == ["imagenet_labels.txt"]


@pytest.mark.shared_data
def test_cut_archive_of_associated_files_becomes_a_note(tmp_path: Path) -> None:
    content = (shared_models() / "mobilenet_v1_0.25_128_quant.tflite").read_bytes()
    (tmp_path / "m").write_bytes(content[:-100])
    assert "the end of the file may be cut off" in inspect_model(tmp_path / "m").notes[-1]


@pytest.mark.shared_data
def test_every_shared_model_is_inspected() -> None:
    paths = sorted(shared_models().glob("*.tflite"))
    assert paths
    for path in paths:
        report = inspect_model(path)
        assert report.operators and report.inputs and report.outputs


def test_an_onnx_input_of_extent_0_of_unknown_rank_or_none_at_all(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    make, kind = onnx.helper, onnx.TensorProto.FLOAT

    def inspected(shape: list[int | str] | None, source: str = "x") -> Any:
        ends = [make.make_tensor_value_info(name, kind, shape) for name in ("x", "y")]
        stored = [make.make_tensor("w", kind, [1, 4], [1.0] * 4)]
        node = make.make_node("Relu", [source], ["y"])
        graph = make.make_graph([node], "g", ends[:1] if source == "x" else [], ends[1:], stored)
        path = tmp_path / "model.onnx"
        opset = [make.make_opsetid("", 17)]
        onnx.save(make.make_model(graph, opset_imports=opset, ir_version=8), path)
        return inspect_onnx(path)

    empty = inspected([0, 4])
    assert empty.inputs[0].shape == (0, 4)
    assert empty.mult_adds is None
    assert any("at 0" in item for item in empty.obstacles)
    assert inspected(["n", 4]).inputs[0].shape == (-1, 4)
    assert any("does not state" in note for note in inspected(None).notes)
    assert not any("does not state" in note for note in inspected([]).notes)
    without = inspected([1, 4], source="w")
    assert without.mult_adds == 0
    assert not any("not counted" in note for note in without.notes)


@pytest.mark.parametrize(
    ("calls", "told"),
    [
        ({"A": ["A"]}, "circle"),
        ({"A": ["B"], "B": ["A"]}, "circle"),
        # Each calls the one before it twice: 40 of them are a million million nodes.
        ({"A": ["F39"], **{f"F{n}": [f"F{n - 1}"] * 2 for n in range(1, 40)}}, "nodes"),
    ],
    ids=["itself", "one another", "doubling"],
)
@pytest.mark.parametrize("hidden", [False, True], ids=["plain", "behind a group"])
def test_onnx_functions_that_have_no_end_are_refused(
    calls: dict[str, list[str]], told: str, hidden: bool, tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    make = onnx.helper
    own = make.make_opsetid("own", 1)
    functions = []
    for name, called in calls.items():
        ends = ["x", *(f"t{step}" for step in range(len(called) - 1)), "y"]
        nodes = [
            make.make_node(operator, [ends[step]], [ends[step + 1]], domain="own")
            for step, operator in enumerate(called)
        ]
        functions.append(make.make_function("own", name, ["x"], ["y"], nodes, [own]))
    tensor = [
        make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 4]) for name in ("x", "y")
    ]
    graph = make.make_graph(
        [make.make_node("A", ["x"], ["y"], domain="own")], "graph", tensor[:1], tensor[1:]
    )
    opsets = [make.make_opsetid("", 17), own]
    model = make.make_model(graph, functions=functions, opset_imports=opsets, ir_version=8)
    path = tmp_path / "functions.onnx"
    group = b"\xbb\x06\x08\x01\xbc\x06" if hidden else b""  # field 103, which readers leave out
    path.write_bytes(model.SerializeToString() + group)

    with pytest.raises(ModelLoadError, match=told):
        inspect_model(path)
    with pytest.raises(ModelLoadError, match=told):
        open_session(path)
    with pytest.raises(ModelLoadError, match=told):
        request = Request(task=WorkerTask.TIME, opener=ORT.open, probe=ORT.probe, model=path)
        ask(request, TimedModel, timeout=60)


def test_functions_of_one_name_are_told_apart_by_their_overload(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    make, own = onnx.helper, onnx.helper.make_opsetid("own", 1)

    def call(name: str, overload: str, source: str, target: str) -> Any:
        return make.make_node(name, [source], [target], domain="own", overload=overload)

    functions = [
        make.make_function(
            "own",
            "F",
            ["x"],
            ["y"],
            [call("F", str(number + 1), "x", "t"), call("F", str(number + 1), "t", "y")],
            [own],
            overload=str(number),
        )
        for number in range(30)
    ]
    value = make.make_tensor_value_info
    ends = [value(name, onnx.TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    graph = make.make_graph([call("F", "0", "x", "y")], "graph", ends[:1], ends[1:])
    path = tmp_path / "overloads.onnx"
    path.write_bytes(make.make_model(graph, functions=functions).SerializeToString())
    with pytest.raises(ModelLoadError, match="1,073,741,824 nodes"):
        check_functions(path)


def test_ordinary_functions_are_no_hindrance(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    make = onnx.helper
    opsets = [make.make_opsetid("", 17), make.make_opsetid("own", 1)]
    twice = make.make_node("Add", ["x", "x"], ["y"])
    function = make.make_function("own", "Twice", ["x"], ["y"], [twice], opsets[:1])
    value = make.make_tensor_value_info
    ends = [value(name, onnx.TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    call = make.make_node("Twice", ["x"], ["y"], domain="own")
    graph = make.make_graph([call], "graph", ends[:1], ends[1:])
    model = make.make_model(graph, functions=[function], opset_imports=opsets, ir_version=8)
    path = tmp_path / "twice.onnx"
    path.write_bytes(model.SerializeToString())
    assert (open_session(path).run(np.ones((1, 4), np.float32))[0] == 2).all()


def test_a_file_larger_than_its_format_allows_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.tflite"
    with path.open("wb") as stream:
        stream.write(b"\x1c\0\0\0TFL3")
        stream.truncate(3 << 30)  # sparse: it takes no room on the disk
    with pytest.raises(ModelLoadError, match=r"3\.0 GiB"):
        inspect_model(path)
