"""The end of a Keras model: what its values are, and the layers that make probabilities of them.

Every model that edge writes ends in probabilities, one column for each label: a softmax is put
behind logits, and one sigmoid becomes two columns, which sum to 1.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.evaluation.output import Ending, GraphEnd
from edge.runtime.head import TINY
from edge.runtime.output import Activation, OutputSpec

# Layers and operations behind which a value is still the same one.
_PASSING: Final = frozenset(
    {
        "ActivityRegularization",
        "Cast",
        "Copy",
        "Dropout",
        "ExpandDims",
        "Flatten",
        "GaussianDropout",
        "GaussianNoise",
        "Identity",
        "Permute",
        "Reshape",
        "Squeeze",
        "Transpose",
    }
)
_ENDINGS: Final = {
    "softmax": Ending.SOFTMAX,
    "sigmoid": Ending.SIGMOID,
    "linear": Ending.LINEAR,
    "tanh": Ending.TANH,
}
# Without an activation of their own; a sum or a scaling of logits gives logits.
_LINEAR: Final = frozenset({"Add", "BatchNormalization", "BiasAdd", "MatMul", "Matmul"})
_NAME: Final = "edge_probabilities"


def keras_end(model: Any) -> GraphEnd:
    """What stands at the end of a functional or Sequential Keras model with one output."""
    layer = _last(model.outputs[0])
    kind = type(layer).__name__
    if kind == "InputLayer":
        return GraphEnd(Ending.OTHER, "the model has no layers")
    function = _function(layer)
    if function:
        named = f"the last layer, {layer.name}, has the activation {function}"
        return GraphEnd(_ENDINGS.get(function, Ending.OTHER), named)
    ending = {"Softmax": Ending.SOFTMAX, "Sigmoid": Ending.SIGMOID}.get(kind, Ending.OTHER)
    if kind in _LINEAR:
        ending = Ending.LINEAR
    return GraphEnd(ending, f"the last layer, {layer.name}, is of class {kind}")


def _last(tensor: Any) -> Any:
    """The layer or operation that a tensor's values come from, inside a nested model as well."""
    while True:
        layer = tensor._keras_history.operation
        if hasattr(layer, "layers") and getattr(layer, "outputs", None):
            tensor = layer.outputs[0]
            continue
        idle = type(layer).__name__ == "Activation" and _function(layer) == "linear"
        inputs = _inputs(tensor)
        if len(inputs) != 1 or not (idle or type(layer).__name__ in _PASSING):
            return layer
        tensor = inputs[0]


def _inputs(tensor: Any) -> list[Any]:
    """What the layer was called on that gave a tensor; it may have been called several times."""
    history = tensor._keras_history
    found: list[Any] = history.operation._inbound_nodes[history.node_index].input_tensors
    return found


def _function(layer: Any) -> str:
    """Name of a layer's activation; empty without one."""
    activation = getattr(layer, "activation", None)
    return "" if activation is None else getattr(activation, "__name__", type(activation).__name__)


def columns_of(model: Any) -> int | None:
    """How many values the model answers with; None where its output is no row of values."""
    if len(model.outputs) != 1:
        return None
    sides = [side for side in model.outputs[0].shape[1:] if side != 1]
    if len(model.outputs[0].shape) < 2 or None in sides or len(sides) > 1:
        return None
    return int(sides[0]) if sides else 1


def with_probabilities(model: Any, output: OutputSpec) -> Any:
    """The model with one probability for each label, (batch, labels) float32.

    Args:
        model: Functional or Sequential, with an output of ``columns_of``.
        output: What its values are.

    Returns:
        The model itself where nothing is missing.
    """
    import keras

    columns = columns_of(model)
    values = model.outputs[0]
    if len(values.shape) > 2:
        values = keras.layers.Reshape((columns,), name=f"{_NAME}_row")(values)
    if columns == 1:
        probabilities = _two_columns(values, output)
    elif output.activation is Activation.NONE:
        probabilities = values
    elif output.activation is Activation.SHARES:
        probabilities = _shares(int(values.shape[-1]))(values)
    elif output.activation is Activation.CLIP:
        probabilities = _limited(values)
    else:
        function = str(output.activation)
        layer = keras.layers.Activation(function, dtype="float32", name=_NAME)
        probabilities = layer(values)
    if probabilities is model.outputs[0]:
        return model
    return keras.Model(model.inputs[0], probabilities, name=model.name)


def _two_columns(value: Any, output: OutputSpec) -> Any:
    """The probabilities of the first and the second class, from (batch, 1).

    1 - sigmoid(z) and sigmoid(z) are the softmax over -z/2 and z/2: the usual end of a
    classifier, which every converter and quantizer knows.
    """
    halves = np.array([[-0.5, 0.5]], np.float32)
    layer = value._keras_history.operation
    kind, function = type(layer).__name__, _function(layer)
    if output.activation is Activation.HALF_TANH:
        return _dense(value, halves, np.array([0.5, 0.5]), "linear")
    if output.activation is Activation.CLIP:
        return _dense(_limited(value), 2 * halves, np.array([1, 0]), "linear")
    is_logit = output.activation is Activation.SIGMOID
    if kind == "Dense" and function == ("linear" if is_logit else "sigmoid"):
        kernel, *bias = (weights.astype(np.float32) @ halves for weights in layer.get_weights())
        return _dense(_inputs(value)[0], kernel, bias[0] if bias else np.zeros(2), "softmax")
    if is_logit:
        return _dense(value, halves, np.zeros(2), "softmax")
    if kind == "Sigmoid" or (kind == "Activation" and function == "sigmoid"):
        return _dense(_inputs(value)[0], halves, np.zeros(2), "softmax")
    # The sigmoid stands inside another model, or it is of another kind: 1 - p and p.
    return _dense(value, 2 * halves, np.array([1, 0]), "linear")


def _shares(columns: int) -> Any:
    """Each value divided by their sum; a model of its own, whose names meet no others."""
    import keras

    values = keras.Input((columns,))
    positive = keras.layers.Rescaling(1.0, offset=TINY, dtype="float32")(values)
    sums = keras.ops.sum(positive, axis=-1, keepdims=True)
    return keras.Model(values, keras.ops.divide(positive, sums), name=f"{_NAME}_shares")


def _limited(values: Any) -> Any:
    import keras

    return keras.layers.ReLU(max_value=1.0, dtype="float32", name=f"{_NAME}_limited")(values)


def _dense(tensor: Any, kernel: NDArray[Any], bias: NDArray[Any], activation: str) -> Any:
    import keras

    layer = keras.layers.Dense(2, activation=activation, dtype="float32", name=_NAME)
    result = layer(tensor)
    layer.set_weights([np.asarray(kernel, np.float32), np.asarray(bias, np.float32).reshape(2)])
    return result
