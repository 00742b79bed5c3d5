"""What is read from a model file by its path, and how a changed file is packed."""

import struct
from pathlib import Path

import numpy as np
import pytest

from edge.errors import ModelLoadError
from edge.evaluation.output import Ending
from edge.modelfile.contents import check_finite, constants, embedded_metadata, file_end
from edge.modelfile.corruption import AGAIN, corruption
from edge.modelfile.metadata import ModelDescription
from edge.modelfile.tflite import load_schema, packed, unpacked
from edge.modelfile.tflite_metadata import embed
from edge.runtime.contract import Preprocessing

DATA = Path(__file__).parents[1] / "data"
FLOAT, INT8 = (DATA / f"channels_{name}.tflite" for name in ("fp32", "int8"))


DESCRIPTION = ModelDescription(
    name="m",
    description="",
    labels=("a", "b", "c"),
    preprocessing=Preprocessing(height=8, width=8),
)


def onnx_file(path: Path) -> Path:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(2, 3), "weights")
    label = helper.make_tensor("label", TensorProto.STRING, [1], [b"text"])
    nodes = [
        helper.make_node("MatMul", ["x", "weights"], ["product"]),
        helper.make_node("Softmax", ["product"], ["probability"]),
        helper.make_node("Identity", ["probability"], ["y"]),
    ]
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, extent])
        for name, extent in (("x", 2), ("y", 3))
    )
    graph = helper.make_graph(nodes, "g", [x], [y], [weights, label])
    onnx.save(helper.make_model(graph), path)
    return path


def test_the_constants_of_an_onnx_file_have_their_shape_and_text_is_left_out(
    tmp_path: Path,
) -> None:
    (constant,) = constants(onnx_file(tmp_path / "m.onnx"))
    assert (constant.name, constant.dtype, constant.elements) == ("weights", "float32", 6)
    np.testing.assert_array_equal(constant.read(), [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize(("value", "refused"), [(np.nan, True), (-np.inf, False), (1, False)])
def test_an_onnx_file_with_a_weight_that_is_no_number(
    tmp_path: Path, value: float, refused: bool
) -> None:
    """Infinite ones may be meant, as those of a mask are."""
    import onnx
    from onnx import numpy_helper

    path = onnx_file(tmp_path / "m.onnx")
    model = onnx.load(path)
    weights = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weights[0, 1] = value
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "weights"))
    onnx.save(model, path)
    if not refused:
        check_finite(path)
        return
    with pytest.raises(ModelLoadError, match="1 of the 6 values of 'weights' are NaN") as caught:
        check_finite(path)
    assert caught.value.hint


def test_weights_in_another_file_are_left_to_the_answers(tmp_path: Path) -> None:
    import onnx

    path = onnx_file(tmp_path / "m.onnx")
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    check_finite(path)


def test_a_tflite_file_with_a_bias_that_is_no_number(tmp_path: Path) -> None:
    check_finite(FLOAT)
    check_finite(INT8)
    model = unpacked(FLOAT.read_bytes())
    floats = [t for t in model.subgraphs[0].tensors if t.type == 0]
    stored = [t for t in floats if model.buffers[t.buffer].data is not None]
    bias = min(stored, key=lambda tensor: len(model.buffers[tensor.buffer].data))
    values = np.asarray(model.buffers[bias.buffer].data, np.uint8).view(np.float32).copy()
    values[0] = np.nan
    model.buffers[bias.buffer].data = values.view(np.uint8)
    path = tmp_path / "m.tflite"
    path.write_bytes(packed(model))
    with pytest.raises(ModelLoadError, match=f"1 of the {len(values)} values") as caught:
        check_finite(path)
    assert bias.name.decode() in caught.value.message


def test_the_constants_of_a_tflite_file_are_those_that_the_schema_states() -> None:
    model = load_schema().Model.GetRootAs(FLOAT.read_bytes(), 0)
    graph = model.Subgraphs(0)
    stated = {}
    for index in range(graph.TensorsLength()):
        tensor = graph.Tensors(index)
        data = model.Buffers(tensor.Buffer()).DataAsNumpy()
        if not isinstance(data, int):
            stated[f"{index} {tensor.Name().decode()}"] = data.tobytes()
    read = {item.name: item.read().tobytes() for item in constants(FLOAT)}
    assert stated
    assert read == stated
    assert not any(item.opaque for item in constants(FLOAT))


def test_damaged_metadata_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    whole = embed(FLOAT.read_bytes(), DESCRIPTION)
    path.write_bytes(whole[: whole.index(b"PK\x03\x04")])
    with pytest.raises(
        ModelLoadError, match=r"m\.tflite: the TFLite metadata names 'labels"
    ) as caught:
        embedded_metadata(path)
    assert caught.value.hint == AGAIN


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (IndexError("list index out of range"), "an offset in it leads outside the file"),
        (struct.error("unpack_from requires a buffer"), "an offset in it leads outside the file"),
        (AttributeError("'NoneType' object"), "a value in it cannot be right"),
        (ValueError("no subgraph"), "no subgraph"),
    ],
)
def test_damage_is_told_in_words(error: Exception, words: str, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    with pytest.raises(ModelLoadError) as caught, corruption(path, "TFLite"):
        raise error
    assert caught.value.message == f"{path}: truncated or corrupt TFLite file ({words})"


def test_half_a_file_is_refused_and_not_followed(tmp_path: Path) -> None:
    content = FLOAT.read_bytes()
    path = tmp_path / "m.tflite"
    refused = 0
    for length in range(0, len(content) // 2, 31):
        path.write_bytes(content[:length])
        try:
            with corruption(path, "model"):
                list(constants(path))
        except ModelLoadError:
            refused += 1
    assert refused > 5


@pytest.mark.parametrize("model", [FLOAT, INT8], ids=["float", "int8"])
def test_the_end_of_a_tflite_file_is_behind_its_conversions(model: Path) -> None:
    assert file_end(model).ending is Ending.SOFTMAX


def test_the_end_of_an_onnx_file_is_behind_what_passes_values_on(tmp_path: Path) -> None:
    end = file_end(onnx_file(tmp_path / "m.onnx"))
    assert end.ending is Ending.SOFTMAX
    assert end.named == "the last operator of m.onnx is Softmax"


def test_a_model_without_metadata_says_nothing(tmp_path: Path) -> None:
    assert embedded_metadata(FLOAT) is None
    assert embedded_metadata(onnx_file(tmp_path / "m.onnx")) is None


@pytest.mark.parametrize("sizes", [(3, 5, 17), (1, 1, 1, 33)])
def test_every_constant_of_a_packed_file_is_aligned(sizes: tuple[int, ...]) -> None:
    schema = load_schema()
    model = unpacked(FLOAT.read_bytes())
    for size in sizes:
        buffer = schema.BufferT()
        buffer.data = np.arange(size).astype(np.uint8)
        model.buffers.append(buffer)
    content = packed(model)
    read = schema.Model.GetRootAs(content, 0)
    starts = []
    for index in range(read.BuffersLength()):
        table = read.Buffers(index)._tab
        field = table.Offset(4)
        if field:
            starts.append(table.Vector(field))
    assert len(starts) >= len(sizes)
    assert {start % 16 for start in starts} == {0}
    assert packed(unpacked(content)) == content
