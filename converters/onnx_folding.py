"""Per-channel factors and terms behind a convolution become part of its weights and bias.

What is left of batch normalization when tf2onnx is done: every runtime folds it while loading,
one by one and each time anew, and a tool that counts operators or weights would see it.
"""

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray


def fold_channels(graph: Any) -> None:
    """Fold ``Conv -> Mul -> Add`` with constants per output channel, in place.

    w' = w * factor, b' = b * factor + term, per output channel.
    """
    from onnx import numpy_helper

    constants = {item.name: item for item in graph.initializer}
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(value.name for value in graph.output)
    consumers = {name: node for node in graph.node for name in node.input}
    shared = {name for name, count in uses.items() if count > 1}
    for conv in [node for node in graph.node if node.op_type == "Conv"]:
        if not set(conv.input[1:]) <= constants.keys() or shared.intersection(conv.input[1:]):
            continue
        kernel = numpy_helper.to_array(constants[conv.input[1]])
        bias = None
        if len(conv.input) > 2:
            bias = numpy_helper.to_array(constants[conv.input[2]])
        changed = False
        while uses[conv.output[0]] == 1 and conv.output[0] in consumers:
            after = consumers[conv.output[0]]
            values = _per_channel(after, conv.output[0], constants, kernel)
            if values is None:
                break
            if after.op_type == "Mul":
                kernel = kernel * values.reshape(-1, *[1] * (kernel.ndim - 1))
                bias = None if bias is None else bias * values
            else:
                bias = values if bias is None else bias + values
            conv.output[0] = after.output[0]
            graph.node.remove(after)
            changed = True
        if changed:
            _put(graph, conv, kernel, bias)


def _per_channel(
    node: Any, activation: str, constants: dict[str, Any], kernel: NDArray[Any]
) -> NDArray[Any] | None:
    """The constant operand, one value per output channel; None where the node is another thing."""
    from onnx import numpy_helper

    if node.op_type not in ("Mul", "Add") or len(node.input) != 2:
        return None
    (other,) = [name for name in node.input if name != activation] or [activation]
    if other not in constants:
        return None
    values: NDArray[Any] = numpy_helper.to_array(constants[other])
    spatial, channels = kernel.ndim - 2, kernel.shape[0]
    if values.size == 1 and values.ndim <= kernel.ndim:
        return np.full(channels, values.reshape(()), kernel.dtype)
    if values.ndim < spatial + 1 or values.shape[-spatial:] != (1,) * spatial:
        return None
    if values.shape[-spatial - 1] != channels or values.size != channels:
        return None
    return values.reshape(-1)


def _put(graph: Any, conv: Any, kernel: NDArray[Any], bias: NDArray[Any] | None) -> None:
    """New constants for a convolution; the old ones go when nothing uses them."""
    from onnx import numpy_helper

    for position, values in ((1, kernel), (2, bias)):
        if values is None:
            continue
        name = f"{conv.name}:folded:{position}"
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        if position < len(conv.input):
            conv.input[position] = name
        else:
            conv.input.append(name)
