"""TFLite metadata: what is embedded is read back, and the model stays what it was.

The two fixtures answer which of red, green and blue a picture of 16 x 16 has most of. Made by:

    fn = tf.function(
        lambda x: tf.nn.softmax(tf.reduce_mean(x, [1, 2]) / 32),
        input_signature=[tf.TensorSpec((1, 16, 16, 3), tf.float32, name="image")],
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([fn.get_concrete_function()])
    # channels_int8.tflite: besides
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = tf.uint8
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.representative_dataset = lambda: iter(
        [[np.full((1, 16, 16, 3), value, np.float32)] for value in (0, 255)]
    )
    converter.convert()  # TensorFlow 2.21
"""

import io
import json
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flatbuffers.table import Table

from edge.errors import ConversionError, ModelLoadError
from edge.modelfile import tflite_metadata, tflite_metadata_schema
from edge.modelfile.metadata import ModelDescription, ModelMetadata
from edge.modelfile.tflite import packed
from edge.runtime.contract import Preprocessing

DATA = Path(__file__).parents[1] / "data"
MODELS = ("channels_fp32", "channels_int8")
LABELS = ("red 🍎", "grün", "青")
PREPROCESSING = Preprocessing(height=16, width=16)


def load(name: str) -> bytes:
    return (DATA / f"{name}.tflite").read_bytes()


def embed(model: bytes, **changes: Any) -> bytes:
    arguments: dict[str, Any] = {
        "name": "channels",
        "description": "Which channel is strongest.",
        "labels": LABELS,
        "preprocessing": PREPROCESSING,
        "mean": 0.0,
        "std": 1.0,
    }
    return tflite_metadata.embed(model, ModelDescription(**(arguments | changes)))


def unpack(model: bytes) -> Any:
    from ai_edge_litert import schema_py_generated

    return schema_py_generated.ModelT.InitFromPackedBuf(model)


def tree(value: Any) -> Any:
    """An object of the schema as plain values, to compare."""
    if isinstance(value, np.ndarray):
        return (str(value.dtype), value.tolist())
    if isinstance(value, list):
        return [tree(item) for item in value]
    if hasattr(value, "__dict__"):
        return {name: tree(item) for name, item in vars(value).items()}
    return value


def invoke(model: bytes) -> bytes:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()[0]
    pixels = np.random.default_rng(7).integers(0, 256, details["shape"])
    interpreter.set_tensor(details["index"], pixels.astype(details["dtype"]))
    interpreter.invoke()
    output: bytes = interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).tobytes()
    return output


@pytest.mark.parametrize("name", MODELS)
def test_round_trip(name: str) -> None:
    found = tflite_metadata.read(embed(load(name), mean=127.5, std=64.0))
    assert found == ModelMetadata(
        name="channels",
        description="Which channel is strongest.",
        labels=LABELS,
        mean=127.5,
        std=64.0,
        edge_preprocessing=PREPROCESSING.to_json(),
        channel_mean=(127.5,),
        channel_std=(64.0,),
    )


@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_bit_equal(name: str) -> None:
    assert invoke(embed(load(name))) == invoke(load(name))


@pytest.mark.parametrize("name", MODELS)
def test_everything_else_stays(name: str) -> None:
    before, after = unpack(load(name)), unpack(embed(load(name)))
    added = after.metadata.pop()
    assert (added.name, added.buffer) == (b"TFLITE_METADATA", len(before.buffers))
    content = after.buffers.pop()
    assert content.data[4:8].tobytes() == tflite_metadata_schema.FILE_IDENTIFIER
    assert tree(after) == tree(before)


def test_buffers_are_aligned() -> None:
    from ai_edge_litert import schema_py_generated

    model = schema_py_generated.Model.GetRootAs(embed(load("channels_int8")))
    buffers = [model.Buffers(index) for index in range(model.BuffersLength())]
    starts = [
        buffer._tab.Vector(buffer._tab.Offset(4)) for buffer in buffers if buffer.DataLength()
    ]
    assert len(starts) > 1
    assert [start % 16 for start in starts] == [0] * len(starts)  # force_align of Buffer.data


def test_archive() -> None:
    with zipfile.ZipFile(io.BytesIO(embed(load("channels_fp32")))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["labels.txt", "edge_preprocessing.json"]
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.read("labels.txt").decode() == "red 🍎\ngrün\n青\n"
        stated = json.loads(archive.read("edge_preprocessing.json"))
    assert Preprocessing.from_json(stated) == PREPROCESSING


def test_embedding_twice_replaces() -> None:
    once = embed(load("channels_fp32"))
    assert embed(once) == once
    other = embed(once, labels=("a", "b", "c"), description="Other.")
    assert other == embed(load("channels_fp32"), labels=("a", "b", "c"), description="Other.")
    found = tflite_metadata.read(other)
    assert found is not None
    assert found.labels == ("a", "b", "c")


@pytest.mark.parametrize(
    ("name", "low", "high"), [(MODELS[0], -2.0, 1.984375), (MODELS[1], 0, 255)]
)
def test_stats_are_the_range_of_the_input_tensor(name: str, low: float, high: float) -> None:
    content = unpack(embed(load(name), mean=128.0, std=64.0)).buffers[-1].data.tobytes()
    root = tflite_metadata_schema._TableReader("ModelMetadata", Table(content, content[0]))
    graph = root.first("subgraph_metadata", "SubGraphMetadata")
    assert graph is not None
    image = graph.first("input_tensor_metadata", "TensorMetadata")
    assert image is not None
    stats = image.table("stats", "Stats")
    assert stats is not None
    assert (stats.floats("min"), stats.floats("max")) == ((low,), (high,))


@pytest.mark.parametrize("labels", [("a", "b"), ("a", "b", "c", "d")])
def test_label_count_must_fit(labels: tuple[str, ...]) -> None:
    with pytest.raises(ConversionError, match=f"{len(labels)} labels for a model with 3 classes"):
        embed(load("channels_fp32"), labels=labels)


def test_a_model_that_gives_an_embedding_has_no_labels() -> None:
    found = tflite_metadata.read(embed(load("channels_fp32"), labels=()))
    assert found is not None
    assert found.labels == ()
    assert found.edge_preprocessing == PREPROCESSING.to_json()


@pytest.mark.parametrize("label", ["two\nlines", "a\r", "a\u2028b", "", " ", "\udcff"])
def test_label_must_be_one_line_of_text(label: str) -> None:
    with pytest.raises(ConversionError, match="label 1 is"):
        embed(load("channels_fp32"), labels=("a", label, "c"))


@pytest.mark.parametrize(("mean", "std"), [(0.0, 0.0), (0.0, -1.0), (float("nan"), 1.0)])
def test_normalization_must_be_a_scaling(mean: float, std: float) -> None:
    with pytest.raises(ConversionError, match="normalization"):
        embed(load("channels_fp32"), mean=mean, std=std)


def test_data_outside_the_flatbuffer_is_refused() -> None:
    model = unpack(load("channels_fp32"))
    model.buffers[-1].offset = 4096
    with pytest.raises(ConversionError, match="outside"):
        embed(packed(model))


@pytest.mark.parametrize("model", [b"", b"PK\x03\x04....", load("channels_fp32")[:64]])
def test_no_model(model: bytes) -> None:
    with pytest.raises(ConversionError):
        embed(model)
    with pytest.raises(ModelLoadError):
        tflite_metadata.read(model)


def test_model_without_metadata() -> None:
    assert tflite_metadata.read(load("channels_fp32")) is None


def test_missing_label_file_is_reported() -> None:
    whole = embed(load("channels_fp32"))
    with pytest.raises(ModelLoadError, match=r"labels\.txt"):
        tflite_metadata.read(whole[: whole.index(b"PK\x03\x04")])


def with_archive(method: int, **files: bytes) -> bytes:
    """A model whose associated files are others."""
    whole = embed(load("channels_fp32"))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("_txt", ".txt").replace("_json", ".json"), content)
    return whole[: whole.index(b"PK\x03\x04")] + stream.getvalue()


def test_associated_files_are_inflated_within_bounds() -> None:
    labels = "".join(f"{label}\n" for label in LABELS).encode()
    bomb = bytes(32 << 20)
    tracemalloc.start()
    found = tflite_metadata.read(with_archive(zipfile.ZIP_DEFLATED, labels_txt=labels, other=bomb))
    assert found is not None
    assert found.labels == LABELS  # what nobody asks for is not inflated
    for model in (
        with_archive(zipfile.ZIP_DEFLATED, labels_txt=bomb),
        with_archive(zipfile.ZIP_LZMA, labels_txt=labels),
        with_archive(zipfile.ZIP_STORED, labels_txt=labels, edge_preprocessing_json=b"[" * 99_999),
        with_archive(zipfile.ZIP_STORED, labels_txt=labels, edge_preprocessing_json=b"[1e999]"),
        with_archive(zipfile.ZIP_DEFLATED, labels_txt=labels)[:-8] + bytes(8),
    ):
        tracemalloc.reset_peak()
        with pytest.raises(ModelLoadError):
            tflite_metadata.read(model)
        assert tracemalloc.get_traced_memory()[1] < 60 << 20  # of which the bomb itself is 32
    tracemalloc.stop()


def test_schema_reads_values_per_channel() -> None:
    stated = tflite_metadata_schema.ClassifierMetadata(
        name="n", description="", mean=(1.0, 2.0, 3.0), std=(0.5,), label_file=None
    )
    assert tflite_metadata_schema.decode(tflite_metadata_schema.encode(stated)) == stated


@pytest.mark.parametrize("content", [b"", b"\0\0\0\0M002", b"\xff\xff\0\0M001"])
def test_schema_refuses_other_bytes(content: bytes) -> None:
    with pytest.raises(ModelLoadError):
        tflite_metadata_schema.decode(content)


def test_tensorflow_is_not_loaded() -> None:
    code = (
        "import sys, pathlib; from edge.modelfile import tflite_metadata;"
        "tflite_metadata.read(pathlib.Path(sys.argv[1]).read_bytes());"
        "print('tensorflow' in sys.modules)"
    )
    path = DATA / "channels_fp32.tflite"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=DATA.parents[1],
    )
    assert done.stdout.strip() == "False"
