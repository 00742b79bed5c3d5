"""Hostile model files, and archives of them."""

from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path

from tests.fuzz.harness import Command, Kind, edge
from tests.fuzz.kinds.keras_files import h5_seeds, keras_parts, keras_seeds, mutated_h5
from tests.fuzz.kinds.materials import (
    HOST,
    TRAINING,
    bundle,
    call,
    copied,
    listed_again,
    pictures_folder,
    place_file,
    planted,
    zipped,
)
from tests.fuzz.mutation import (
    hostile_member,
    mutated_bytes,
    mutated_zip,
)


def model_commands(folder: Path, place: Path, path: Path, variant: str) -> Sequence[Command]:
    listed_again(place)
    photos = pictures_folder(folder)
    picture = photos / "grün" / "0.png"
    sides = ("--baseline", "tflite-int8", "--candidate", variant)
    return (
        edge("inspect", path),
        edge("inspect", path, "--json"),
        edge("predict", place, picture, "--variant", variant),
        edge("evaluate", place, photos, "--variant", variant, "--quiet"),
        edge("compare", place, photos, *sides, "--quiet"),
    )


@cache
def tflite_seeds() -> Sequence[bytes]:
    return [
        (bundle() / "models" / f"tflite-{name}.tflite").read_bytes() for name in ("fp32", "int8")
    ]


def place_tflite(folder: Path, content: bytes) -> Sequence[Command]:
    place = copied(bundle(), folder)
    path = place / "models" / "tflite-fp32.tflite"
    path.write_bytes(content)
    return model_commands(folder, place, path, "tflite-fp32")


@cache
def onnx_seeds() -> Sequence[bytes]:
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    node = helper.make_node("F", ["x"], ["y"], domain="own")
    function = helper.make_function(
        "own", "F", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    graph = helper.make_graph(
        [node],
        "g",
        [value("x", TensorProto.FLOAT, [1, 16, 16, 3])],
        [value("y", TensorProto.FLOAT, ["N", 16, 16, 3])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, functions=[function], opset_imports=opsets, ir_version=8)
    return [(bundle() / "models" / "onnx-int8.onnx").read_bytes(), model.SerializeToString()]


def place_onnx(folder: Path, content: bytes) -> Sequence[Command]:
    place = copied(bundle(), folder)
    path = place / "models" / "onnx-int8.onnx"
    path.write_bytes(content)
    return model_commands(folder, place, path, "onnx-int8")


def recursive_onnx() -> bytes:
    """A function that calls itself."""
    from onnx import helper, load_from_string

    model = load_from_string(onnx_seeds()[1])
    model.functions[0].node[0].CopyFrom(helper.make_node("F", ["a"], ["b"], domain="own"))
    model.functions[0].opset_import.append(helper.make_opsetid("own", 1))
    return bytes(model.SerializeToString())


@cache
def download_seeds() -> Sequence[bytes]:
    labels = b"0 cat\n1 dog\n2 bird\n"
    model = tflite_seeds()[0]
    return [
        zipped({"model_unquant.tflite": model, "labels.txt": labels}),
        zipped({"converted/keras_model.h5": keras_parts()["h5"], "converted/labels.txt": labels}),
    ]


def kinds() -> Iterator[Kind]:
    yield Kind(
        name="TFLite",
        seeds=tflite_seeds,
        mutate=mutated_bytes,
        place=place_tflite,
        planted=planted("segv_129.tflite.gz"),
        imports=HOST,
    )
    yield Kind(
        name="ONNX",
        seeds=onnx_seeds,
        mutate=mutated_bytes,
        place=place_onnx,
        planted=lambda: (recursive_onnx(), *planted("onnx_recursive_function.onnx")()),
        imports=HOST,
    )
    made = partial(Kind, imports=TRAINING, grown_mb=1500, seconds=60)
    archive = mutated_zip(hostile_member)
    keras = place_file("m.keras", partial(call, "read_keras"))
    yield made(name="Keras 3", seeds=keras_seeds, mutate=archive, place=keras)
    h5 = place_file("m.h5", partial(call, "read_keras"))
    yield made(name="Keras 2", seeds=h5_seeds, mutate=mutated_h5, place=h5)
    place = place_file("m.zip", partial(call, "open_download"))
    yield made(name="Teachable Machine", seeds=download_seeds, mutate=archive, place=place)
