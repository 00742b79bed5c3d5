"""Tiny model files as other tools write them: the outputs are what a test says."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx  # noqa: TID253
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper  # noqa: TID253


def foreign_onnx(
    path: Path,
    outputs: Sequence[NDArray[np.float32]],
    *,
    size: tuple[int | str, int | str] = (64, 64),
    channels_last: bool = False,
    properties: Mapping[str, str] | None = None,
    end: str = "Add",
    inputs: int = 1,
    integers: bool = False,
    smooth: bool = False,
) -> Path:
    """Write a file whose every output is a constant plus nought times the mean of its image.

    Args:
        path: Where to.
        outputs: The constants.
        size: (height, width); a text leaves the extent open.
        channels_last: Whether the image is (1, height, width, 3); otherwise channels lead.
        properties: What an exporter writes into ``metadata_props``.
        end: The last operator before each output: ``Add``, ``Softmax`` or ``Sigmoid``.
        inputs: How many images it takes; all but the first are not used.
        integers: Whether the outputs are int64.
        smooth: Whether the outputs are zeros but for pictures without noise.
    """
    shape = [1, *size, 3] if channels_last else [1, 3, *size]
    images = [
        helper.make_tensor_value_info(f"image{number}", TensorProto.FLOAT, shape)
        for number in range(inputs)
    ]
    nodes = [
        helper.make_node("ReduceMean", ["image0"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "nought"], ["nothing"]),
    ]
    if smooth:
        nodes += smoothness(channels_last)
    constants = [numpy_helper.from_array(np.float32(0).reshape(()), "nought")]
    given = []
    for number, values in enumerate(outputs):
        constants.append(numpy_helper.from_array(values.astype(np.float32), f"constant{number}"))
        plain = end == "Add" and not integers
        added = f"output{number}" if plain else f"added{number}"
        summed = f"summed{number}" if smooth else added
        nodes.append(helper.make_node("Add", ["nothing", f"constant{number}"], [summed]))
        if smooth:
            nodes.append(helper.make_node("Mul", [summed, "smooth"], [added]))
        if integers:
            cast = helper.make_node("Cast", [added], [f"output{number}"], to=TensorProto.INT64)
            nodes.append(cast)
        if end != "Add":
            nodes.append(helper.make_node(end, [added], [f"output{number}"]))
        given.append(
            helper.make_tensor_value_info(
                f"output{number}",
                TensorProto.INT64 if integers else TensorProto.FLOAT,
                values.shape,
            )
        )
    graph = helper.make_graph(nodes, "foreign", images, given, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, dict(properties or {}))
    onnx.save(model, path)
    return path


def smoothness(channels_last: bool) -> list[onnx.NodeProto]:
    """Return nodes that give 1 as ``smooth`` where neighbours of the image are alike, else 0."""
    axis = 2 if channels_last else 3
    values = {"start": [0], "second": [1], "last": [-1], "end": [1 << 30], "axis": [axis]}
    made = [helper.make_node("Constant", [], [name], value_ints=v) for name, v in values.items()]
    made.append(helper.make_node("Constant", [], ["alike"], value_float=0.15))
    steps = (
        ("Slice", ["image0", "start", "last", "axis"], "before"),
        ("Slice", ["image0", "second", "end", "axis"], "behind"),
        ("Sub", ["before", "behind"], "change"),
        ("Abs", ["change"], "size"),
    )
    made += [helper.make_node(kind, given, [name]) for kind, given, name in steps]
    made.append(helper.make_node("ReduceMean", ["size"], ["mean_size"], keepdims=0))
    made.append(helper.make_node("Less", ["mean_size", "alike"], ["is_smooth"]))
    made.append(helper.make_node("Cast", ["is_smooth"], ["smooth"], to=TensorProto.FLOAT))
    return made


def colour_segmenter(path: Path, side: int = 32) -> Path:
    """Write a convolution that scores red, green and blue at each place, (1, 3, side, side)."""
    weights = np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)
    shape = [1, 3, side, side]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weights"], ["scores"])],
        "colours",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def odd_output(path: Path, kind: str) -> Path:
    """Write a file that answers with a ``sequence`` of tensors, or with ``text``."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 64, 64])
    if kind == "sequence":
        node = helper.make_node("SequenceConstruct", ["image"], ["odd"])
        given = helper.make_tensor_sequence_value_info("odd", TensorProto.FLOAT, None)
    else:
        node = helper.make_node("Cast", ["image"], ["odd"], to=TensorProto.STRING)
        given = helper.make_tensor_value_info("odd", TensorProto.STRING, [1, 3, 64, 64])
    graph = helper.make_graph([node], "odd", [image], [given])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def noise(*shape: int) -> NDArray[np.float32]:
    """Return values on both sides of nought, as raw outputs have them."""
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def boxes(rows: int, columns: int, side: int) -> NDArray[np.float32]:
    """Return rows of centre x, centre y, width, height in pixels, then scores of 0..1."""
    values = np.random.default_rng(0).random((1, rows, columns), np.float32)
    values[0, :, :4] *= side
    return values
