"""Bundles of tiny ONNX detectors, whose boxes are the surer the brighter or darker an image is."""

from pathlib import Path
from typing import Any, Final

import numpy as np

from edge.runtime.tasks.table import DecoderSpec
from tests.color_bundles import SIDE, write_bundle

LABELS: Final = ("bright", "dark")
DECODER: Final = DecoderSpec(name="yolo-end-to-end", evidence="the test says so")


def detector(*, shift: float = 0.0, score: float = 1.0, note: str = "") -> bytes:
    """An ONNX file that answers (1, 2, 6): left, top, right, bottom, score, class of each object.

    Args:
        shift: Pixels by which both boxes are moved to the right.
        score: What the scores are multiplied by.
        note: What makes a file another one with the same answers.
    """
    from onnx import TensorProto, helper, numpy_helper

    places = np.float32([[1, 1, 6, 15, 0, 0], [1, 1, 6, 15, 1, 1]])
    places[:, [0, 2]] += shift
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
