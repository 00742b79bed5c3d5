"""One stored layer of Keras 2 -> the layer of Keras 3 that gives the same answers."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from edge.errors import ModelLoadError
from edge.training.keras2.operators import hard_sigmoid, operator

# Layers that give the image as it is outside training; edge augments in its own way.
INACTIVE: Final = frozenset(
    {
        "ActivityRegularization",
        "AlphaDropout",
        "GaussianDropout",
        "GaussianNoise",
        "RandomBrightness",
        "RandomContrast",
        "RandomFlip",
        "RandomHeight",
        "RandomRotation",
        "RandomTranslation",
        "RandomWidth",
        "RandomZoom",
    }
)
REMOVED: Final = ("LocallyConnected1D", "LocallyConnected2D")
LEGACY_HINT: Final = (
    "Write the network as a SavedModel, with Keras 2 (pip install tf_keras): "
    "tf_keras.models.load_model(FILE).export(FOLDER), and give edge export that folder. Keras 2 "
    "runs code that a file holds, so do it with a file that you trust."
)
OPERATORS: Final = ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer")
WRAPPERS: Final = ("Bidirectional", "TimeDistributed")
_CLASSES: Final = {
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
    "CuDNNGRU": "GRU",
    "GRUV2": "GRU",
    "LSTMV2": "LSTM",
    "DepthwiseConv2DNative": "DepthwiseConv2D",
}
_ACTIVATIONS: Final = {
    "swish": "silu",
    "softmax_v2": "softmax",
    "leaky_relu_v2": "leaky_relu",
    "hardSigmoid": "hard_sigmoid",
}
# What a layer of Keras takes besides its own arguments, and what was stored that decides nothing.
_COMMON: Final = ("name",)
_WITHOUT_EFFECT: Final = frozenset(
    {
        "adjustment",
        "batch_input_shape",
        "batch_size",
        "build_input_shape",
        "dtype",
        "fused",
        "implementation",
        "input_dim",
        "input_dtype",
        "input_length",
        "key_shape",
        "momentum",  # of training
        "query_shape",
        "ragged",
        "renorm_clipping",
        "renorm_momentum",
        "sparse",
        "time_major",
        "trainable",  # set apart: some layers of Keras 3 do not take it
        "value_shape",
        "virtual_batch_size",
        "zero_output_for_mask",
    }
)
_TRAINING_ONLY: Final = ("_initializer", "_regularizer", "_constraint")


Config = Mapping[str, Any]
"""What a file states of a layer or a network, as JSON values."""


@dataclass(frozen=True, slots=True)
class LayerCall:
    """A layer that is called on tensors.

    Attributes:
        call: Gives the output tensors.
        layer: The layer whose weights the file holds; None where there are none.
    """

    call: Callable[..., Any]
    layer: Any = None


def layer_call(stored: Config, name: str) -> LayerCall:
    """Return the layer that a file's entry describes.

    Args:
        stored: ``class_name`` and ``config`` of the entry.
        name: The name that the layer gets.

    Raises:
        ModelLoadError: A class or an option that Keras 3 does not have, or code.
    """
    class_name, config = class_of(stored), stored["config"]
    if class_name in INACTIVE:
        return LayerCall(_unchanged)
    if class_name in OPERATORS:
        return LayerCall(_operator_call(class_name, config))
    if class_name == "ThresholdedReLU":
        return LayerCall(operator_of_threshold(float(config["theta"])))
    if class_name in WRAPPERS:
        layer = _wrapper(class_name, config, name)
        return LayerCall(layer, layer)
    config, activation = _activation(config)
    if class_name == "Activation" and activation is not None:
        return LayerCall(activation)
    layer = _layer(class_name, config, name)
    if activation is None:
        return LayerCall(layer, layer)

    def call(*arguments: Any, **keywords: Any) -> Any:
        return activation(layer(*arguments, **keywords))

    return LayerCall(call, layer)


def class_of(stored: Config) -> str:
    """Return name of the class, as Keras 3 has it."""
    name = str(stored["class_name"])
    return _CLASSES.get(name, name)


def operator_of_threshold(theta: float) -> Callable[[Any], Any]:
    """Return a layer that Keras 3 no longer has: x where it is above ``theta``, else 0."""

    def call(x: Any) -> Any:
        import keras

        return keras.layers.ReLU(threshold=theta)(x)

    return call


def _unchanged(x: Any, **_: Any) -> Any:
    return x


def _operator_call(class_name: str, config: Config) -> Callable[..., Any]:
    where = str(config.get("name"))
    if class_name != "TensorFlowOpLayer":
        function = operator(str(config["function"]), where)

        def call(*arguments: Any, **keywords: Any) -> Any:
            keywords.pop("name", None)
            try:
                return function(*arguments, **keywords)
            except TypeError as error:
                raise ModelLoadError(
                    f"the layer {where!r} calls TensorFlow's {config['function']} in a way that "
                    f"edge does not read: {error}"
                ) from error

        return call
    raise ModelLoadError(
        f"the layer {where!r} is a TensorFlow node (TensorFlowOpLayer), as TensorFlow 2.1 to 2.3 "
        "wrote them; edge does not read those",
        hint="Load the file with TensorFlow 2.4 to 2.15, and write it with tf.saved_model.save: "
        "edge takes that folder.",
    )


def _activation(config: Config) -> tuple[dict[str, Any], Callable[[Any], Any] | None]:
    """Return the config with its activation renamed, and one that has to be called apart."""
    result = dict(config)
    for key in ("activation", "recurrent_activation"):
        if key not in result:
            continue
        value = result[key]
        if isinstance(value, Mapping) and value.get("class_name") in ("function", "builtins"):
            value = value["config"]
        if isinstance(value, Mapping):  # a layer
            if key != "activation":
                raise _refused(config, f"its {key} is a layer")
            return result | {key: "linear"}, layer_call(value, f"{config['name']}_activation").call
        value = _ACTIVATIONS.get(value, value)
        if value == "hard_sigmoid":
            if key != "activation" or "recurrent_activation" in config:
                raise _refused(config, f"its {key} is the hard sigmoid of Keras 2")
            return result | {key: "linear"}, hard_sigmoid
        result[key] = value
    return result, None


def _layer(class_name: str, config: Config, name: str) -> Any:
    import keras

    kind: Any = getattr(keras.layers, class_name, None)
    is_layer = inspect.isclass(kind) and issubclass(kind, keras.layers.Layer)
    if not is_layer or class_name == "Lambda":
        raise _unknown(class_name, str(config.get("name")))
    values = _arguments(kind, class_name, config)
    try:
        layer = kind.from_config(values | {"name": name, "dtype": "float32"})
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0][:300]
        raise _refused(config, f"Keras 3 does not take it: {reason}") from error
    layer.trainable = bool(config.get("trainable", True))
    return layer


def _wrapper(class_name: str, config: Config, name: str) -> Any:
    import keras

    inner = config["layer"]
    if inner["class_name"] in ("Functional", "Model", "Sequential"):
        raise _refused(config, "it repeats a whole network")
    config_of_inner, activation = _activation(inner["config"])
    if activation is not None:
        raise _refused(config, "its layer has an activation of Keras 2 alone")
    layer = _layer(class_of(inner), config_of_inner, str(inner["config"]["name"]))
    kind = getattr(keras.layers, class_name)
    options = {"name": name, "dtype": "float32"}
    if class_name == "Bidirectional":
        if config.get("backward_layer") is not None:
            raise _refused(config, "it has a backward layer of its own")
        options["merge_mode"] = config.get("merge_mode", "concat")
    return kind(layer, **options)


def _arguments(kind: Any, class_name: str, config: Config) -> dict[str, Any]:
    """Return what the class takes of the config.

    Raises:
        ModelLoadError: An option that Keras 3 does not have decides something.
    """
    known = {*inspect.signature(kind.__init__).parameters, *_COMMON} - {"self", "args", "kwargs"}
    values: dict[str, Any] = {}
    for key, value in config.items():
        if key == "dtype" or key.endswith(_TRAINING_ONLY):
            continue
        if key == "alpha" and class_name == "LeakyReLU":
            values["negative_slope"] = value
        elif key in known:
            values[key] = _plain(value)
        elif key not in _WITHOUT_EFFECT and not _is_neutral(key, value):
            raise _refused(config, f"its option {key} = {value!r} does not exist in Keras 3")
    if class_name == "BatchNormalization":
        _one_axis(values, config)
    return values


def _one_axis(values: dict[str, Any], config: Config) -> None:
    axis = values.get("axis", -1)
    if isinstance(axis, list | tuple):
        if len(axis) != 1:
            raise _refused(config, f"it normalizes over the axes {list(axis)}")
        values["axis"] = axis[0]
    if values.pop("renorm", False):
        raise _refused(config, "it renormalizes batches")
    values.pop("synchronized", None)


def _is_neutral(key: str, value: Any) -> bool:
    """Return whether an unknown option says that its feature is not used."""
    return value is None or value is False or value == [] or (key == "groups" and value == 1)


def _plain(value: Any) -> Any:
    """Turn tuples as Keras 2 wrote them into lists."""
    if isinstance(value, Mapping) and value.get("class_name") == "__tuple__":
        return [_plain(item) for item in value["items"]]
    return value


def _refused(config: Config, why: str) -> ModelLoadError:
    return ModelLoadError(
        f"the layer {config.get('name')!r} cannot be built again: {why}", hint=LEGACY_HINT
    )


def _unknown(class_name: str, name: str) -> ModelLoadError:
    if class_name == "Lambda":
        return ModelLoadError(
            f"the layer {name!r} is a Lambda layer: its code lies in the file, and edge runs no "
            "code of a file",
            hint="Where the network was made, write it with tf.saved_model.save(model, FOLDER) "
            "and give edge that folder: it holds the computation without the code.",
        )
    if class_name in REMOVED:
        return ModelLoadError(
            f"the layer {name!r} is of the class {class_name}, which Keras 3 no longer has",
            hint=LEGACY_HINT,
        )
    return ModelLoadError(
        f"the layer {name!r} is of the class {class_name}, which Keras 3 does not have: it is one "
        "of your own or of another package",
        hint="Where the class is, write the network with tf.saved_model.save(model, FOLDER) and "
        "give edge export that folder. Or name the Python file that defines it for Keras 3, which "
        "edge then runs: edge export FILE --custom-objects CODE.py.",
    )
