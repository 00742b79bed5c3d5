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
    constants = [numpy_helper.from_array(np.float32(0).reshape(()), "nought")]
    given = []
    for number, values in enumerate(outputs):
        constants.append(numpy_helper.from_array(values.astype(np.float32), f"constant{number}"))
        added = f"output{number}" if end == "Add" else f"added{number}"
        nodes.append(helper.make_node("Add", ["nothing", f"constant{number}"], [added]))
        if end != "Add":
            nodes.append(helper.make_node(end, [added], [f"output{number}"]))
        given.append(
            helper.make_tensor_value_info(f"output{number}", TensorProto.FLOAT, values.shape)
        )
    graph = helper.make_graph(nodes, "foreign", images, given, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, dict(properties or {}))
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
