"""A model that no interpreter runs: every command names the cause and the way out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.accelerators.base import EngineSettings
from benchmarks.accelerators.litert_cpu import open_litert
from benchmarks.accelerators.onnxruntime import open_cpu
from edge.cli.check.inspect import inspect as inspect_command
from edge.errors import ModelLoadError
from edge.inspection.model import inspect_model
from edge.runtime.refusal import element_type
from edge.runtime.session import open_session

TFLITE: Final = Path(__file__).parents[1] / "data/channels_fp32.tflite"
WEIGHTS: Final = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")


def onnx_file(
    path: Path,
    node: Any,
    *more: Any,
    dtype: int = TensorProto.FLOAT,
    opset: int = 17,
    ir: int = 8,
    domains: tuple[str, ...] = (),
    weights: tuple[Any, ...] = (),
) -> Path:
    """A graph from x to y, of (1, 4) each."""
    x, y = (helper.make_tensor_value_info(name, dtype, [1, 4]) for name in "xy")
    graph = helper.make_graph([node, *more], "g", [x], [y], list(weights))
    sets = [helper.make_opsetid("", opset), *(helper.make_opsetid(name, 1) for name in domains)]
    model = helper.make_model(graph, opset_imports=sets)
    model.ir_version = ir
    path.write_bytes(model.SerializeToString())
    return path


def tflite_file(path: Path, change: Callable[[Any, Any], None]) -> Path:
    """The test data's file after a change to its tables."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(TFLITE.read_bytes(), 0))
    change(model, schema)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def custom_onnx(folder: Path) -> Path:
    node = helper.make_node("Warp", ["x"], ["y"], domain="acme")
    return onnx_file(folder / "m.onnx", node, domains=("acme",))


def double_onnx(folder: Path) -> Path:
    """Float outside, double inside."""
    return onnx_file(
        folder / "m.onnx",
        helper.make_node("Cast", ["x"], ["d"], to=TensorProto.DOUBLE),
        helper.make_node("Gelu", ["d"], ["e"]),
        helper.make_node("Cast", ["e"], ["y"], to=TensorProto.FLOAT),
        opset=20,
        ir=9,
    )


def bfloat16_onnx(folder: Path) -> Path:
    node = helper.make_node("Softmax", ["x"], ["y"])
    return onnx_file(folder / "m.onnx", node, dtype=TensorProto.BFLOAT16)


def opset_onnx(folder: Path) -> Path:
    return onnx_file(folder / "m.onnx", helper.make_node("Relu", ["x"], ["y"]), opset=99)


def ir_onnx(folder: Path) -> Path:
    return onnx_file(folder / "m.onnx", helper.make_node("Relu", ["x"], ["y"]), ir=99)


def lost_onnx(folder: Path) -> Path:
    weights = TensorProto()
    weights.CopyFrom(WEIGHTS)
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="m.weights")
    weights.external_data.add(key="length", value="64")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    return onnx_file(folder / "m.onnx", node, weights=(weights,))


def cut_onnx(folder: Path) -> Path:
    """The weights' file is there, and too short for them."""
    path = lost_onnx(folder)
    (folder / "m.weights").write_bytes(bytes(10))
    return path


def custom_tflite(folder: Path, name: bytes = b"Warp") -> Path:
    def change(model: Any, schema: Any) -> None:
        code = model.operatorCodes[0]
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = name

    return tflite_file(folder / "m.tflite", change)


def double_tflite(folder: Path) -> Path:
    def change(model: Any, schema: Any) -> None:
        for tensor in model.subgraphs[0].tensors:
            if tensor.type == schema.TensorType.FLOAT32:
                tensor.type = schema.TensorType.FLOAT64
        for buffer in model.buffers:
            if buffer.data is not None and len(buffer.data) % 4 == 0:
                values = np.asarray(buffer.data, np.uint8).view(np.float32)
                buffer.data = list(values.astype(np.float64).view(np.uint8))

    return tflite_file(folder / "m.tflite", change)


def newer_tflite(folder: Path) -> Path:
    return tflite_file(
        folder / "m.tflite", lambda model, _: setattr(model.operatorCodes[0], "version", 99)
    )


@pytest.mark.parametrize(
    ("make", "said", "way"),
    [
        (custom_onnx, "Warp", "without that operator"),
        (double_onnx, "float64", "float32"),
        (bfloat16_onnx, "bfloat16", "float32"),
        (opset_onnx, "opset 99", "older opset"),
        (ir_onnx, "IR version 99", "older opset"),
        (lost_onnx, "m.weights", "Copy m.weights"),
        (cut_onnx, "cut off", "sha256"),
        (custom_tflite, "Warp", "without that operator"),
        (lambda folder: custom_tflite(folder, b"FlexWarp"), "FlexWarp", "TFLITE_BUILTINS"),
        (double_tflite, "float64", "float32"),
        (newer_tflite, "version 99 of MEAN", "newer ai-edge-litert"),
    ],
)
def test_every_way_to_open_a_file_names_cause_and_way_out(
    tmp_path: Path, make: Callable[[Path], Path], said: str, way: str
) -> None:
    path = make(tmp_path)
    measure = open_litert if path.suffix == ".tflite" else open_cpu
    for opened in (open_session, lambda model: measure(model, EngineSettings())):
        with pytest.raises(ModelLoadError) as caught:
            opened(path)
        assert said in caught.value.message
        assert way in caught.value.hint
        assert "ONNXRuntimeError" not in caught.value.message
    if make is not newer_tflite:  # what a release of an interpreter knows, no file says
        assert any(said in note and way in note for note in inspect_model(path).obstacles)


def test_a_name_of_a_foreign_file_is_no_garbage_on_the_screen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = custom_tflite(tmp_path, b"Warp\x1b[31m\xff")
    with pytest.raises(ModelLoadError) as caught:
        open_session(path)
    assert caught.value.message.isprintable()
    inspect_command(path)
    assert capsys.readouterr().out.replace("\n", "").isprintable()


def test_damage_is_called_so(tmp_path: Path) -> None:
    for name, content in (("a.onnx", b"\x08\x07hello"), ("a.tflite", TFLITE.read_bytes()[:500])):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ModelLoadError, match="cut off") as caught:
            open_session(path)
        assert "sha256" in caught.value.hint


@pytest.mark.parametrize("make", [double_onnx, double_tflite])
def test_the_type_of_a_damaged_file_is_found_or_not(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    path = make(tmp_path)
    content = path.read_bytes()
    assert element_type(path).startswith("float64")
    random = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(content[: random.integers(1, len(content) + 1)])
        for place in random.integers(0, len(damaged), 4):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        assert element_type(path) in ("", "float64 (double)", "float16", "bfloat16")


def test_a_custom_operator_that_the_interpreter_brings_is_no_obstacle(tmp_path: Path) -> None:
    path = custom_tflite(tmp_path, b"TFLite_Detection_PostProcess")
    assert not any("only the program" in note for note in inspect_model(path).obstacles)
