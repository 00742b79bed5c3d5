"""TensorFlow's operators that Keras 2 stored as layers, written in those of Keras 3."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from edge.errors import ModelLoadError

Operator = Callable[..., Any]
WAY_OUT: Final = (
    "Export the network where it was made, with tf.saved_model.save(model, FOLDER), and give edge "
    "that folder."
)


def operator(function: str, where: str) -> Operator:
    """Return what an operator does, as a function of its stored arguments.

    Args:
        function: The name in TensorFlow, such as ``math.multiply``.
        where: The name of the stored layer, for the error.

    Raises:
        ModelLoadError: The table does not have it.
    """
    name = function.removeprefix("tf.").removeprefix("compat.v1.").removeprefix("raw_ops.")
    function_of_keras = _operators().get(_SYNONYMS.get(name, name))
    if function_of_keras is None:
        raise ModelLoadError(
            f"the layer {where!r} is TensorFlow's operator {function}, which edge does not read "
            "from a Keras 2 file",
            hint=WAY_OUT,
        )
    return function_of_keras


_SYNONYMS: Final = {
    "add": "math.add",
    "__operators__.add": "math.add",
    "math.add_v2": "math.add",
    "Add": "math.add",
    "AddV2": "math.add",
    "nn.bias_add": "math.add",
    "BiasAdd": "math.add",
    "subtract": "math.subtract",
    "Sub": "math.subtract",
    "multiply": "math.multiply",
    "Mul": "math.multiply",
    "divide": "math.truediv",
    "math.divide": "math.truediv",
    "RealDiv": "math.truediv",
    "negative": "math.negative",
    "square": "math.square",
    "math.sqrt": "sqrt",
    "math.exp": "exp",
    "math.abs": "abs",
    "pow": "math.pow",
    "maximum": "math.maximum",
    "minimum": "math.minimum",
    "reduce_mean": "math.reduce_mean",
    "Mean": "math.reduce_mean",
    "reduce_sum": "math.reduce_sum",
    "reduce_max": "math.reduce_max",
    "reduce_min": "math.reduce_min",
    "math.sigmoid": "nn.sigmoid",
    "sigmoid": "nn.sigmoid",
    "Sigmoid": "nn.sigmoid",
    "math.tanh": "nn.tanh",
    "tanh": "nn.tanh",
    "math.softplus": "nn.softplus",
    "math.softmax": "nn.softmax",
    "nn.softmax_v2": "nn.softmax",
    "Softmax": "nn.softmax",
    "nn.swish": "nn.silu",
    "keras.activations.swish": "nn.silu",
    "keras.activations.relu": "nn.relu",
    "Relu": "nn.relu",
    "Relu6": "nn.relu6",
    "keras.activations.sigmoid": "nn.sigmoid",
    "keras.activations.softmax": "nn.softmax",
    "keras.backend.clip": "clip_by_value",
    "keras.backend.mean": "math.reduce_mean",
    "math.l2_normalize": "linalg.l2_normalize",
    "nn.l2_normalize": "linalg.l2_normalize",
    "image.resize_v2": "image.resize",
    "linalg.matmul": "matmul",
    "transpose_v2": "transpose",
    "pad_v2": "pad",
    "expand_dims_v2": "expand_dims",
    "squeeze_v2": "squeeze",
    "concat_v2": "concat",
    "Reshape": "reshape",
    "Identity": "identity",
    "stop_gradient": "identity",
}


def rescaled(tensor: Any, scale: Any, offset: Any) -> Any:
    """Return ``tensor * scale + offset`` as the layer that converters fold into a convolution."""
    import keras

    return keras.layers.Rescaling(scale, offset=offset)(tensor)


def _constant(value: Any) -> bool:
    """Return whether it is a number, or one number a channel."""
    return isinstance(value, int | float) or (
        isinstance(value, list)
        and len(value) > 0
        and all(isinstance(x, int | float) for x in value)
    )


def _each(function: Callable[[float], float], value: Any) -> Any:
    return [function(item) for item in value] if isinstance(value, list) else function(value)


def _add(x: Any, y: Any) -> Any:
    import keras

    for tensor, other in ((x, y), (y, x)):
        if _constant(other):
            return rescaled(tensor, 1.0, other)
    return keras.ops.add(x, y)


def _subtract(x: Any, y: Any) -> Any:
    import keras

    if _constant(y):
        return rescaled(x, 1.0, _each(lambda item: -item, y))
    if _constant(x):
        return rescaled(y, -1.0, x)
    return keras.ops.subtract(x, y)


def _multiply(x: Any, y: Any) -> Any:
    import keras

    for tensor, other in ((x, y), (y, x)):
        if _constant(other):
            return rescaled(tensor, other, 0.0)
    return keras.ops.multiply(x, y)


def _divide(x: Any, y: Any) -> Any:
    import keras

    if _constant(y) and 0 not in (y if isinstance(y, list) else [y]):
        return rescaled(x, _each(lambda item: 1 / item, y), 0.0)
    return keras.ops.divide(x, y)


def _reduction(name: str) -> Operator:
    def reduce(x: Any, axis: Any = None, keepdims: bool = False, **old: Any) -> Any:
        import keras

        axis = old.pop("reduction_indices", axis)
        keepdims = bool(old.pop("keep_dims", keepdims))
        _nothing_else(name, old)
        axis = tuple(axis) if isinstance(axis, list) else axis
        return getattr(keras.ops, name)(x, axis=axis, keepdims=keepdims)

    return reduce


def _unary(name: str) -> Operator:
    def apply(x: Any) -> Any:
        import keras

        return getattr(keras.ops, name)(x)

    return apply


def _binary(name: str) -> Operator:
    def apply(x: Any, y: Any) -> Any:
        import keras

        return getattr(keras.ops, name)(x, y)

    return apply


def _clip(t: Any, clip_value_min: float, clip_value_max: float) -> Any:
    import keras

    return keras.ops.clip(t, clip_value_min, clip_value_max)


def _concat(values: Sequence[Any], axis: int) -> Any:
    import keras

    return keras.ops.concatenate(list(values), axis=axis)


def _stack(values: Sequence[Any], axis: int = 0) -> Any:
    import keras

    return keras.ops.stack(list(values), axis=axis)


def _reshape(tensor: Any, shape: Sequence[Any]) -> Any:
    """Return the batch axis stays open, as Keras leaves it."""
    import keras

    if not all(isinstance(extent, int) for extent in shape):
        raise ModelLoadError(
            "a reshape takes its shape from another tensor, which edge does not read from a "
            "Keras 2 file",
            hint=WAY_OUT,
        )
    inner = [int(extent) for extent in shape[1:]]
    known = tensor.shape[1:]
    if shape[0] == -1 and -1 not in inner and None not in known:
        if math.prod(known) != math.prod(inner):
            return keras.ops.reshape(tensor, (-1, *inner))  # images are cut to pieces
        return keras.layers.Reshape(inner)(tensor)
    return keras.ops.reshape(tensor, tuple(shape))


def _resize(images: Any, size: Sequence[int], method: str = "bilinear", **rest: Any) -> Any:
    import keras

    for name in ("preserve_aspect_ratio", "antialias"):
        if rest.pop(name, False):
            raise ModelLoadError(
                f"tf.image.resize with {name} is a form that edge does not read", hint=WAY_OUT
            )
    _nothing_else("image.resize", rest)
    return keras.layers.Resizing(int(size[0]), int(size[1]), interpolation=method)(images)


def _transpose(a: Any, perm: Sequence[int] | None = None, **rest: Any) -> Any:
    import keras

    _nothing_else("transpose", {key: value for key, value in rest.items() if value})

    return keras.ops.transpose(a, axes=None if perm is None else tuple(perm))


def _pad(tensor: Any, paddings: Any, mode: str = "CONSTANT", constant_values: Any = 0) -> Any:
    import keras

    widths = tuple((int(before), int(after)) for before, after in paddings)
    filled = {"constant_values": constant_values} if mode.lower() == "constant" else {}
    return keras.ops.pad(tensor, widths, mode=mode.lower(), **filled)


def _cast(x: Any, dtype: Any) -> Any:
    """Cast to real numbers only, which changes nothing: the network is computed in float32."""
    import keras

    name = dtype if isinstance(dtype, str) else str(getattr(dtype, "name", dtype))
    if name.startswith(("float", "bfloat", "double", "half")):
        return x
    return keras.ops.cast(x, name)


def _softmax(logits: Any, axis: int | None = -1) -> Any:
    import keras

    return keras.layers.Softmax(axis=-1 if axis is None else axis)(logits)


def _gelu(features: Any, approximate: bool = False) -> Any:
    import keras

    return keras.ops.gelu(features, approximate=approximate)


def _leaky(features: Any, alpha: float = 0.2) -> Any:
    import keras

    return keras.layers.LeakyReLU(negative_slope=alpha)(features)


def _relu(features: Any, alpha: float = 0.0, max_value: Any = None, threshold: float = 0.0) -> Any:
    import keras

    return keras.layers.ReLU(max_value, negative_slope=alpha, threshold=threshold)(features)


def _relu6(features: Any) -> Any:
    import keras

    return keras.layers.ReLU(6.0)(features)


def hard_sigmoid(x: Any) -> Any:
    """Return the hard sigmoid of Keras 2, clip(0.2 x + 0.5, 0, 1); that of Keras 3 differs."""
    import keras

    # ReLU bounded by 1 is the clip, in a layer that every converter knows.
    return keras.layers.ReLU(1.0)(rescaled(x, 0.2, 0.5))


def _normalized(x: Any, axis: int = -1, epsilon: float = 1e-12, dim: Any = None) -> Any:
    """Do as tf.math.l2_normalize: x / sqrt(max(sum(x^2), epsilon))."""
    import keras

    axis = axis if dim is None else dim
    squares = keras.ops.sum(keras.ops.square(x), axis=axis, keepdims=True)
    return keras.ops.divide(x, keras.ops.sqrt(keras.ops.maximum(squares, epsilon)))


def _matmul(a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False) -> Any:
    import keras

    first = keras.ops.swapaxes(a, -1, -2) if transpose_a else a
    second = keras.ops.swapaxes(b, -1, -2) if transpose_b else b
    return keras.ops.matmul(first, second)


def _expand(input: Any, axis: int) -> Any:
    import keras

    return keras.ops.expand_dims(input, axis)


def _squeeze(input: Any, axis: Any = None) -> Any:
    import keras

    return keras.ops.squeeze(input, axis=tuple(axis) if isinstance(axis, list) else axis)


def _split(value: Any, num_or_size_splits: Any, axis: int = 0) -> Any:
    import keras

    cuts = num_or_size_splits
    if isinstance(cuts, list):
        cuts = [sum(cuts[:end]) for end in range(1, len(cuts))]
    return keras.ops.split(value, cuts, axis=axis)


def _power(x: Any, y: Any) -> Any:
    import keras

    return keras.ops.power(x, y)


def _item(tensor: Any, slice_spec: Any) -> Any:
    return tensor[tuple(_slice(item) for item in _listed(slice_spec))]


def _listed(value: Any) -> list[Any]:
    if isinstance(value, Mapping) and value.get("class_name") == "__tuple__":
        return list(value["items"])
    return list(value) if isinstance(value, list | tuple) else [value]


def _slice(item: Any) -> Any:
    if isinstance(item, Mapping):
        if item.get("class_name") == "__ellipsis__":
            return ...
        if "start" in item or "stop" in item:
            return slice(item.get("start"), item.get("stop"), item.get("step"))
    if item is None or isinstance(item, int):
        return item
    raise ModelLoadError(f"edge does not read a slice by {item!r}", hint=WAY_OUT)


def _identity(x: Any) -> Any:
    return x


def _nothing_else(name: str, rest: Mapping[str, Any]) -> None:
    left = sorted(key for key, value in rest.items() if value is not None)
    if left:
        raise ModelLoadError(
            f"{name} with {', '.join(left)} is a form that edge does not read", hint=WAY_OUT
        )


def _operators() -> Mapping[str, Operator]:
    """Return name -> function; the names of arguments are those of TensorFlow."""
    unary = {
        "math.negative": "negative",
        "math.square": "square",
        "sqrt": "sqrt",
        "exp": "exp",
        "abs": "absolute",
        "math.log": "log",
        "nn.sigmoid": "sigmoid",
        "nn.tanh": "tanh",
        "nn.softplus": "softplus",
        "nn.silu": "silu",
        "nn.elu": "elu",
        "nn.selu": "selu",
    }
    reductions = {
        "math.reduce_mean": "mean",
        "math.reduce_sum": "sum",
        "math.reduce_max": "max",
        "math.reduce_min": "min",
    }
    return {
        **{name: _unary(own) for name, own in unary.items()},
        **{name: _reduction(own) for name, own in reductions.items()},
        **_TABLE,
    }


_TABLE: Final[Mapping[str, Operator]] = {
    "math.add": _add,
    "math.subtract": _subtract,
    "math.multiply": _multiply,
    "math.truediv": _divide,
    "math.pow": _power,
    "math.maximum": _binary("maximum"),
    "math.minimum": _binary("minimum"),
    "clip_by_value": _clip,
    "concat": _concat,
    "stack": _stack,
    "reshape": _reshape,
    "transpose": _transpose,
    "pad": _pad,
    "cast": _cast,
    "split": _split,
    "squeeze": _squeeze,
    "expand_dims": _expand,
    "matmul": _matmul,
    "linalg.l2_normalize": _normalized,
    "image.resize": _resize,
    "identity": _identity,
    "nn.softmax": _softmax,
    "nn.gelu": _gelu,
    "nn.leaky_relu": _leaky,
    "nn.relu": _relu,
    "nn.relu6": _relu6,
    "keras.activations.hard_sigmoid": hard_sigmoid,
    "__operators__.getitem": _item,
}
