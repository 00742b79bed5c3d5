"""Bundles of tiny ONNX detectors, whose boxes are the surer the brighter or darker an image is."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from PIL import Image

from edge.runtime.tasks.table import DecoderSpec
from tests.color_bundles import SIDE, write_bundle

LABELS: Final = ("bright", "dark")
DECODER: Final = DecoderSpec(name="yolo-end-to-end", evidence="the test says so")


def detector(
    *, shift: float = 0.0, score: float = 1.0, note: str = "", shares: bool = False
) -> bytes:
    """An ONNX file that answers (1, 2, 6): left, top, right, bottom, score, class of each object.

    Args:
        shift: Pixels by which both boxes are moved to the right.
        score: What the scores are multiplied by.
        note: What makes a file another one with the same answers.
        shares: Whether boxes are shares of the sides, and not pixels.
    """
    from onnx import TensorProto, helper, numpy_helper

    places = np.float32([[1, 1, 6, 15, 0, 0], [1, 1, 6, 15, 1, 1]])
    places[:, [0, 2]] += shift
    places[:, :4] /= SIDE if shares else 1
    slopes = np.zeros((2, 6), np.float32)
    slopes[:, 4] = np.float32([score, -score]) / 255
    places[:, 4] *= score
    constants = {"slopes": slopes[np.newaxis], "places": places[np.newaxis]}
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["level"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Reshape", ["level", "one"], ["column"]),
        helper.make_node("Mul", ["column", "slopes"], ["scaled"]),
        helper.make_node("Add", ["scaled", "places"], ["objects"]),
    ]
    values: dict[str, Any] = constants | {"one": np.array([1, 1, 1], np.int64)}
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("objects", TensorProto.FLOAT, [1, 2, 6])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    opset = helper.make_opsetid("", 13)
    made = helper.make_model(graph, opset_imports=[opset], ir_version=8, doc_string=note)
    content: bytes = made.SerializeToString()
    return content


def write_detectors(folder: Path) -> Path:
    """A bundle of a detector, the same with other bytes, and two that are ruined."""
    models = {
        "onnx-fp32": detector(),
        "onnx-copy": detector(note="copy"),
        "onnx-moved": detector(shift=4.0),
        "onnx-blind": detector(score=0.0),
    }
    return write_bundle(folder, models, labels=LABELS, decoder=DECODER)


def detectors_with_golden(folder: Path) -> Path:
    """The same with a golden self-test and its runtime, as an export leaves it."""
    from edge.dataset.pictures import Picture
    from edge.pipeline.bundle import copy_runtime
    from edge.pipeline.task_golden import write_task_golden
    from edge.runtime.bundle import Bundle
    from edge.runtime.files import sha256_file
    from edge.runtime.tasks.model import TaskModel

    write_detectors(folder)
    manifest = Bundle.open(folder).manifest
    model = TaskModel.open(folder)
    with TemporaryDirectory() as place:
        pictures = []
        for number, level in enumerate((250, 5, 128)):
            path = Path(place, f"{number}.png")
            Image.new("RGB", (SIDE, SIDE), (level,) * 3).save(path)
            pictures.append(Picture(path, sha256_file(path)))
        write_task_golden(
            folder,
            {item.name: folder / item.path for item in manifest.variants},
            pictures,
            [model.predict(item.path) for item in pictures],
            preprocessing=manifest.preprocessing,
            decoder=DECODER,
            labels=LABELS,
        )
    copy_runtime(folder / "runtime")
    list_files(folder)
    return folder


def list_files(folder: Path) -> None:
    """Write the hashes of all files into the manifest."""
    from edge.runtime.bundle import MANIFEST_NAME
    from edge.runtime.files import sha256_file

    path = folder / MANIFEST_NAME
    value = json.loads(path.read_text())
    value["files"] = {
        item.relative_to(folder).as_posix(): sha256_file(item)
        for item in sorted(folder.rglob("*"))
        if item.is_file() and item != path and "__pycache__" not in item.parts
    }
    path.write_text(json.dumps(value))
