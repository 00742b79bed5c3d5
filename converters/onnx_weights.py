"""Keeps large weights out of tf2onnx, which copies every constant some thirty times.

A kernel becomes an input of the traced function and so of the ONNX graph; afterwards its values
are put in, and what tf2onnx would have computed from them (transposed, scaled by a folded batch
normalization) is computed here. EfficientNetV2L then takes seconds and 1.5 GB more than itself.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

LARGE: Final = 1 << 16  # elements; what is smaller costs nothing and may stay a constant
PREFIX: Final = "weight_"  # of the inputs' names


def large_weights(model: Any) -> dict[str, Any]:
    """Kernels of convolutions and matrix products by the name that their input is to have.

    Depthwise kernels stay: tf2onnx reshapes them, for which it wants constants.
    """
    found = [
        variable
        for variable in model.variables
        if len(variable.shape) in (2, 4)
        and np.prod(variable.shape) >= LARGE
        and "depthwise" not in variable.path
    ]
    return {f"{PREFIX}{number}": variable for number, variable in enumerate(found)}


def put_in(graph: Any, weights: Mapping[str, NDArray[Any]]) -> None:
    """Make constants of the graph's inputs of those names, and of all that follows from them.

    Args:
        graph: An ONNX graph, changed in place.
        weights: Values by name of the input; an input that tf2onnx dropped is passed over.
    """
    import onnx
    from onnx.reference import ReferenceEvaluator

    inputs = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)
    constants = {item.name: item for item in graph.initializer}
    known: dict[str, NDArray[Any]] = dict(weights)
    for node in list(graph.node):
        if not any(name in known for name in node.input):
            continue
        if not all(name in known or name in constants for name in node.input):
            continue
        values = {
            name: known[name] if name in known else onnx.numpy_helper.to_array(constants[name])
            for name in node.input
        }
        known.update(zip(node.output, ReferenceEvaluator(node).run(None, values), strict=True))
        graph.node.remove(node)
    needed = {name for node in graph.node for name in node.input}
    for name, value in known.items():
        if name in needed:
            kept = np.ascontiguousarray(value)
            graph.initializer.append(onnx.numpy_helper.from_array(kept, name))
