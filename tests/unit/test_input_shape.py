"""Open extents are never timed at 1: they are named, or the model is refused."""

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from benchmarks.accelerators.base import EngineSettings
from benchmarks.accelerators.litert_compiled import read_graph
from benchmarks.accelerators.litert_cpu import open_litert
from benchmarks.accelerators.onnxruntime import open_cpu
from benchmarks.diff import diff
from benchmarks.input_shape import bound, closed, parse_shapes
from benchmarks.inputs import tensors
from benchmarks.outputs.files import csv_text, markdown
from benchmarks.outputs.json_file import json_text, read_results
from benchmarks.request import Request, WorkerTask
from edge.cli.measure.view import print_rows
from edge.errors import ModelLoadError, UsageError
from edge.runtime.spec import TensorSpec
from edge.runtime.typed import encoded, typed
from tests.unit.benchmark_results import results, row

DATA: Final = Path(__file__).parents[1] / "data"


def spec(*shape: int, name: str = "x") -> TensorSpec:
    return TensorSpec(name=name, shape=shape, dtype="float32")


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["1x3x224x224"], {"": (1, 3, 224, 224)}),
        (["1,224, 224,3"], {"": (1, 224, 224, 3)}),
        (["ids=1x8", "a=b=1X16"], {"ids": (1, 8), "a=b": (1, 16)}),
        (["sr=scalar", "serving_default_x:0=7"], {"sr": (), "serving_default_x:0": (7,)}),
    ],
)
def test_a_shape_is_read(texts: list[str], expected: dict[str, Any]) -> None:
    assert parse_shapes(texts) == expected


@pytest.mark.parametrize(
    "texts",
    [
        ["1x0x3"], ["1x-2"], [""], ["x="], ["1xx3"], ["axb"], ["1x2.5"],
        ["1x999999999999999999999"], ["1x60000x60000x3"], ["1x2", "1x3"], ["a=1x2", "a=1x2"],
        ["1x2", "a=1x2"], ["\u0661x3"],
    ],
)  # fmt: skip
def test_what_is_no_shape_is_refused(texts: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        parse_shapes(texts)
    assert caught.value.hint


@pytest.mark.parametrize(
    "specs",
    [
        (spec(-1, 3, -1, -1),),
        (spec(1, -1),),
        (spec(-1, 8, 8, 3), spec(-1, -1, name="state")),
        (spec(),),  # its rank is open
    ],
)
def test_an_open_extent_is_refused_with_the_way_out(specs: tuple[TensorSpec, ...]) -> None:
    for resizable in (False, True):
        with pytest.raises(UsageError) as caught:
            closed(specs, 1, resizable=resizable)
        assert "--input-shape" in caught.value.hint


def test_the_named_shape_is_taken() -> None:
    image, ids, mask = spec(-1, -1, -1, 3), spec(1, -1, name="ids"), spec(1, -1, name="mask")
    assert closed((image,), 1, shapes={"": (1, 8, 9, 3)}) == (spec(1, 8, 9, 3),)
    assert closed((image,), 2, shapes={"x": (2, 8, 9, 3)}) == (spec(2, 8, 9, 3),)
    both = {"ids": (1, 5), "mask": (1, 5)}
    found = closed((ids, mask), 1, shapes=both)
    assert [item.shape for item in found] == [(1, 5), (1, 5)]
    keras = spec(1, -1, name="serving_default_ids:0")
    assert closed((keras,), 1, shapes={"ids": (1, 5)})[0].shape == (1, 5)
    assert closed((spec(),), 1, shapes={"x": ()})[0].shape == ()


@pytest.mark.parametrize(
    "shapes",
    [
        {"": (8, 9, 3)},  # rank
        {"": (1, 8, 9, 4)},  # a fixed extent
        {"y": (1, 8, 9, 3)},  # no such input
        {"": (4, 8, 9, 3)},  # another batch than asked for
    ],
)
def test_a_shape_that_does_not_fit_is_refused(shapes: dict[str, tuple[int, ...]]) -> None:
    for first in (-1, 1):
        for resizable in (False, True):
            with pytest.raises(UsageError) as caught:
                closed((spec(first, -1, -1, 3),), 1, resizable=resizable, shapes=shapes)
            assert caught.value.hint


def test_a_fixed_model_takes_no_other_shape() -> None:
    assert closed((spec(1, 8, 8, 3),), 1, shapes={"": (1, 8, 8, 3)}) == (spec(1, 8, 8, 3),)
    with pytest.raises(UsageError):
        closed((spec(1, 28),), 1, shapes={"": (3, 28)})


def test_names_of_extents_bind_all_inputs() -> None:
    specs = (spec(-1, -1, name="ids"), spec(-1, -1, name="mask"))
    axes = [["batch", "sequence"], ["batch", "sequence"]]
    found, given, sequences = bound(specs, axes, {"ids": (1, 64)})
    assert closed(found, 1, shapes=given, sequences=sequences)[1].shape == (1, 64)
    with pytest.raises(UsageError, match="sequence two values"):
        bound(specs, axes, {"ids": (1, 64), "mask": (1, 32)})


def test_a_first_extent_called_a_length_is_no_batch() -> None:
    _, _, sequences = bound((spec(-1, 80),), [["seq_len", 80]], {})
    with pytest.raises(UsageError):
        closed((spec(-1, 80),), 1, sequences=sequences)
    assert closed((spec(-1, 80),), 1)[0].shape == (1, 80)


# ---- the engines


def dynamic_onnx(path: Path) -> Path:
    from onnx import TensorProto, helper

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, "h", "w"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3, 1, 1])
    graph = helper.make_graph([helper.make_node("GlobalAveragePool", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def changed_tflite(path: Path, *, reverse: bool = False, dynamic: bool = False) -> Path:
    """The test data's file, with an open width, or with a second signature, named first."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    content = (DATA / "channels_fp32.tflite").read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    graph = model.subgraphs[0]
    if dynamic:
        graph.tensors[graph.inputs[0]].shapeSignature = [1, 16, -1, 3]
    if reverse:
        other = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0)).subgraphs[0]
        model.subgraphs.append(other)
        model.signatureDefs = []
        for key, number in ((b"other", 1), (b"main", 0)):
            signature = schema.SignatureDefT()
            signature.signatureKey, signature.subgraphIndex = key, number
            signature.inputs, signature.outputs = [schema.TensorMapT()], [schema.TensorMapT()]
            for entry, tensors_ in (
                (signature.inputs, graph.inputs),
                (signature.outputs, graph.outputs),
            ):
                entry[0].name, entry[0].tensorIndex = b"t", int(tensors_[0])
            model.signatureDefs.append(signature)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def test_onnx_runtime_runs_the_named_shape_alone(tmp_path: Path) -> None:
    path = dynamic_onnx(tmp_path / "m.onnx")
    with pytest.raises(UsageError):
        open_cpu(path, EngineSettings())
    runner = open_cpu(path, EngineSettings(shapes={"": (1, 3, 6, 5)}))
    (feed,) = tensors(runner.inputs, 1, None)
    assert feed.shape == (1, 3, 6, 5)
    assert runner.run(feed)[0] == pytest.approx(feed.mean((2, 3), keepdims=True), abs=1e-6)


def test_an_input_larger_than_the_memory_is_refused_in_words() -> None:
    spec = TensorSpec(name="x", shape=(1, 2**40, 2**20, 3), dtype="float32")
    with pytest.raises(ModelLoadError, match=r"12,884,901,888\.0 GiB; this machine has"):
        tensors((spec,), 1, None)


def test_litert_runs_the_named_shape_alone(tmp_path: Path) -> None:
    path = changed_tflite(tmp_path / "m.tflite", dynamic=True)
    for opened in (open_litert, read_graph):
        with pytest.raises(UsageError):
            opened(path, EngineSettings())
    settings = EngineSettings(shapes={"image": (1, 16, 24, 3)})
    runner = open_litert(path, settings)
    (feed,) = tensors(runner.inputs, 1, None)
    assert feed.shape == (1, 16, 24, 3)
    assert np.isfinite(runner.run(feed)[0]).all()
    assert next(iter(read_graph(path, settings).inputs.values())).shape == (1, 16, 24, 3)
    with pytest.raises((UsageError, ModelLoadError)):
        open_litert(path, EngineSettings(shapes={"image": (1, 17, 24, 3)}))


def test_the_signature_that_runs_is_named(tmp_path: Path) -> None:
    path = changed_tflite(tmp_path / "m.tflite", reverse=True)
    runner = open_litert(path, EngineSettings())
    assert runner.signature == "main"  # of the first graph, though not first in the list
    assert [key for key, _ in runner.signatures] == ["other", "main"]
    assert read_graph(path, EngineSettings()).main == 1


# ---- what is written


def test_a_worker_gets_the_shapes() -> None:
    settings = EngineSettings(shapes={"ids": (1, 8), "sr": ()})
    request = Request(task=WorkerTask.TIME, opener="a:b", probe="a:c", settings=settings)
    assert typed(Request, json.loads(json.dumps(encoded(request))), "the request") == request


def test_the_shape_stands_in_every_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = row(inputs=(spec(1, 8, 9, 3),), signature="main")
    found = results(measured)
    (tmp_path / "r.json").write_text(json_text(found))
    (back,) = read_results(tmp_path / "r.json").rows
    assert (back.inputs, back.signature) == (measured.inputs, "main")
    (line,) = csv.DictReader(io.StringIO(csv_text(found)))
    assert line["input_shape"] == "1x8x9x3"
    assert "1x8x9x3" in markdown(found)
    print_rows(found)
    assert "1x8x9x3" in capsys.readouterr().out


def test_times_of_unlike_shapes_are_not_compared() -> None:
    old, new = (results(row(inputs=(spec(1, size, size, 3),))) for size in (8, 9))
    with pytest.raises(UsageError, match="unlike input shapes"):
        diff(old, new)
    unknown = replace(new, rows=(replace(new.rows[0], inputs=()),))  # of an older file
    assert diff(old, unknown).changes


def test_a_picture_that_is_written_in_part_is_an_error(tmp_path: Path) -> None:
    code = (
        "import resource, pathlib; from benchmarks.inputs import generated_picture; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024)); "
        f"generated_picture(pathlib.Path({str(tmp_path)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "File too large" in done.stderr
