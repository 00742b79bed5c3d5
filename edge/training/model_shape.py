"""What a Keras model takes and gives: one image of a fixed size in, one row of answers out.

Its end tells what the values are, and gets the layers that make probabilities of them.
"""

import math
import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelLoadError, UsageError
from edge.evaluation.output import Ending, GraphEnd
from edge.runtime.contract import MAX_SIDE, ColorOrder
from edge.runtime.head import TINY
from edge.runtime.output import Activation, OutputSpec
from edge.training.input_range import functional

COLOR_ORDERS: Final = {order.channels: order for order in ColorOrder}
_SIZE: Final = re.compile(r"(\d+)(?:[x,](\d+))?", re.IGNORECASE)
_RANKS: Final = {  # with the batch
    2: "a vector or a sequence of numbers",
    3: "a sequence of vectors",
    5: "a series of images",
}
# What gives features and not classes, unless somebody says what the classes are.
_FEATURES: Final = frozenset(
    {
        "BatchNormalization",
        "GlobalAveragePooling2D",
        "GlobalMaxPooling2D",
        "LayerNormalization",
        "UnitNormalization",
    }
)


def parse_size(text: str) -> tuple[int, int]:
    """Return (height, width) of ``96`` or ``96x128``, pixels.

    Raises:
        UsageError: Anything else.
    """
    match = _SIZE.fullmatch(text.strip())
    height, width = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise UsageError(
            f"--size {text!r} is not a size",
            hint=f"Give height and width in pixels, such as 96 or 96x128, at most {MAX_SIDE}.",
        )
    return height, width


def image_input(model: Any, name: str, size: tuple[int, int] | None) -> Any:
    """Return the model with one image of a fixed size as its input.

    Args:
        model: A Keras model, functional or Sequential.
        name: The name of its file, for errors.
        size: (height, width), pixels, of what the model leaves open.

    Raises:
        ModelLoadError: It takes something else than one image of 1, 3 or 4 channels, or a larger
            one than edge makes.
        UsageError: Its size is open and none was given, or it has another one.
    """
    if len(model.inputs) != 1:
        raise ModelLoadError(
            f"{name} takes {len(model.inputs)} inputs: {_listed(model.inputs)}; edge runs models "
            "of one image",
            hint="Make a model of the image alone, keras.Model(image, answer) with the other "
            "inputs as constants, and save that.",
        )
    shape = tuple(model.inputs[0].shape)
    if len(shape) != 4:
        kind = _RANKS.get(len(shape), "something else")
        raise ModelLoadError(
            f"{name} takes {_text(shape)}, {kind}; edge runs models of one image, "
            "(batch, height, width, channels)",
            hint="Models of sound, text or series of images are not for edge export and build; "
            "a file that is converted already can be timed with edge benchmark.",
        )
    _check_channels(name, shape)
    return _of_size(model, name, shape, size)


def _check_channels(name: str, shape: Sequence[int | None]) -> None:
    if shape[3] in COLOR_ORDERS:
        return
    if shape[1] in COLOR_ORDERS:
        raise ModelLoadError(
            f"{name} takes {_text(shape)}: its channels come first",
            hint="Build the model with data_format='channels_last' and set its weights, or put "
            "keras.layers.Permute((3, 1, 2)) in front and save that.",
        )
    raise ModelLoadError(
        f"{name} takes images of {shape[3]} channels, {_text(shape)}; an image file gives 1 "
        "(grey), 3 (RGB) or 4 (RGBA)",
        hint="Put what makes these channels of an RGB image into the model, as layers in front "
        "of it, and save that.",
    )


def _of_size(
    model: Any, name: str, shape: Sequence[int | None], size: tuple[int, int] | None
) -> Any:
    """Return the model with a fixed size of input, which every converter needs."""
    import keras

    extents = tuple(shape[1:3])
    if any(extent is not None and not 1 <= extent <= MAX_SIDE for extent in extents):
        raise ModelLoadError(
            f"{name} takes images of {extents[0]} x {extents[1]} pixels; allowed: 1 to {MAX_SIDE} "
            "a side",
            hint="Make the model again with the size of the pictures that it gets in use.",
        )
    if size is None:
        if None in extents:
            raise UsageError(
                f"{name} leaves the size of its input open: {_text(shape)}",
                hint="Name the size that it was trained with: --size 96, or --size HEIGHTxWIDTH.",
            )
        return model
    if any(extent not in (None, wanted) for extent, wanted in zip(extents, size, strict=True)):
        raise UsageError(
            f"{name} takes images of {extents[0]} x {extents[1]} pixels, --size says "
            f"{size[0]} x {size[1]}",
            hint="Leave out --size: only a size that the model leaves open can be chosen.",
        )
    if extents == size:
        return model
    image = keras.Input((*size, shape[3]), name="image")
    try:
        return keras.models.clone_model(
            functional(model), input_tensors=image, clone_function=lambda layer: layer
        )
    except ValueError as error:  # such an image is too small for a layer
        reason = str(error).strip().splitlines()[0][:200]
        raise UsageError(
            f"{name} cannot take images of {size[0]} x {size[1]} pixels: {reason}",
            hint="Choose another --size: the one that the model was trained with.",
        ) from error


def image_classifier(
    model: Any,
    name: str,
    *,
    size: tuple[int, int] | None,
    output: str | None,
    labelled: bool,
) -> Any:
    """Return the model with one image of a fixed size in and one vector of answers out.

    Args:
        model: A Keras model, functional or Sequential.
        name: The name of its file, for errors.
        size: (height, width), pixels, of what the model leaves open.
        output: The name of the output that classifies, of several; None for the only one.
        labelled: Whether the user says what the answers are called.

    Raises:
        ModelLoadError: It takes or gives something else.
        UsageError: ``size`` or ``output`` does not fit, or is needed.
    """
    if len(model.inputs) == 1:  # image_input refuses more
        model = _of_output(model, name, output)
    model = image_input(model, name, size)
    columns = columns_of(model)
    if columns is None:
        raise ModelLoadError(
            f"{name} answers with {_text(model.outputs[0].shape)}, which is not a vector of "
            "classes",
            hint="Expected (batch, classes). Maps, boxes and sequences (segmentation, detection, "
            "captions) are not what edge export scores; a feature map can be built on with "
            f"edge build PHOTOS --backbone {name}.",
        )
    last = model.outputs[0]._keras_history.operation
    if not labelled and _gives_features(last):
        raise ModelLoadError(
            f"{name} ends in {type(last).__name__}: its {columns} values are features and not "
            "classes",
            hint=f"Train a head on it with edge build PHOTOS --backbone {name}; if they are "
            "classes all the same, name them with --labels.",
        )
    return model


def _gives_features(layer: Any) -> bool:
    """Return whether what a network ends in is no answer, as far as its kind tells."""
    kind = type(layer).__name__
    if kind == "Flatten":  # of a map; that of one position may be an answer
        return bool(math.prod(extent or 1 for extent in layer.input.shape[1:-1]) > 1)
    return kind in _FEATURES


def _of_output(model: Any, name: str, output: str | None) -> Any:
    """Return the model with one output."""
    import keras

    answers = _outputs(model)
    listed = _listed(list(answers.values()), list(answers))
    if output is not None and output not in answers:
        raise UsageError(f"{name} has no output {output!r}", hint=f"It has {listed}.")
    if len(answers) == 1:
        return model
    if output is None:
        # The widest vector is most likely the classes.
        likely = max(answers, key=lambda key: _width(answers[key].shape))
        raise UsageError(
            f"{name} gives {len(answers)} outputs: {listed}",
            hint=f"Name the one that classifies, such as --model-output {likely}; the others are "
            "left out.",
        )
    return keras.Model(model.inputs[0], answers[output], name=model.name)


def _width(shape: Sequence[int | None]) -> int:
    return shape[1] or 0 if len(shape) == 2 else -1


def _outputs(model: Any) -> dict[str, Any]:
    """Return the outputs by name: the user's own, where the model gives a dictionary."""
    graph = functional(model)
    given = getattr(graph, "_outputs_struct", None)
    if isinstance(given, dict) and all(hasattr(tensor, "shape") for tensor in given.values()):
        return {str(key): tensor for key, tensor in given.items()}
    return dict(zip(graph.output_names, graph.outputs, strict=True))


def _listed(tensors: Sequence[Any], names: Sequence[str] = ()) -> str:
    named = names or [tensor.name for tensor in tensors]
    return ", ".join(
        f"{name} {_text(tensor.shape)}" for name, tensor in zip(named, tensors, strict=True)
    )


def _text(shape: Sequence[int | None]) -> str:
    """Return a shape as Keras writes it."""
    return str(tuple(shape))


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
    """Return what stands at the end of a functional or Sequential Keras model with one output."""
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
    """Return the layer or operation that a tensor's values come from, inside nested models too."""
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
    """Return what the layer was called on that gave a tensor; it may have several calls."""
    history = tensor._keras_history
    tensors: list[Any] = history.operation._inbound_nodes[history.node_index].input_tensors
    return tensors


def _function(layer: Any) -> str:
    """Return name of a layer's activation; empty without one."""
    activation = getattr(layer, "activation", None)
    return "" if activation is None else getattr(activation, "__name__", type(activation).__name__)


def columns_of(model: Any) -> int | None:
    """Return how many values the model answers with; None where its output is no row of values."""
    if len(model.outputs) != 1:
        return None
    sides = [side for side in model.outputs[0].shape[1:] if side != 1]
    if len(model.outputs[0].shape) < 2 or None in sides or len(sides) > 1:
        return None
    return int(sides[0]) if sides else 1


def with_probabilities(model: Any, output: OutputSpec) -> Any:
    """Return the model with one probability for each label, (batch, labels) float32.

    Args:
        model: A functional or Sequential model whose output ``columns_of`` knows.
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
    """Return the probabilities of the first and the second class, from (batch, 1).

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
    """Return a model that divides values by their sum; its names meet no others."""
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
