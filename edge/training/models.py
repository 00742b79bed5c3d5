"""Keras models that take RGB 0..255: backbone with its scaling in the graph, then a head."""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.cache import StageCache
from edge.dataset.pictures import Hashed
from edge.errors import ModelLoadError
from edge.evaluation.kept_pixels import Decode
from edge.evaluation.output import Ending
from edge.evaluation.predictions import kept_scores
from edge.progress import Step
from edge.runtime.contract import ChannelOrder, Preprocessing
from edge.runtime.preprocess import load
from edge.runtime.supervisor import keras_call
from edge.training.backbones import Backbone, Scaling
from edge.training.input_range import named_range, rescaled
from edge.training.keras_files import read_keras
from edge.training.model_shape import keras_end


def scaled_input(size: int, scaling: Scaling) -> tuple[Any, Any]:
    """Return an input (size, size, 3) of RGB 0..255, float32, and the tensor that is scaled."""
    import keras

    image = keras.Input((size, size, 3), name="image")
    if scaling is Scaling.INSIDE:
        return image, image
    wanted = named_range(scaling.value)
    ordered = keras.ops.flip(image, axis=-1) if wanted.order is ChannelOrder.BGR else image
    return image, rescaled(ordered, wanted)


def pooled_base(row: Backbone, size: int, weights: str | Path | None, alpha: float = 1.0) -> Any:
    """Build a backbone without its top, average-pooled: RGB 0..255 -> (batch, features).

    Args:
        row: Which network.
        size: The height and the width, in pixels.
        weights: The weights as Keras takes them: a file without top, ``imagenet`` to download,
            None for random. Keras builds some networks differently for ``imagenet``.
        alpha: The width: the share of the channels that each layer has; networks with
            ``has_alpha`` only.
    """
    width = {"alpha": alpha} if row.has_alpha else {}
    return _scaling(row, size, weights, include_top=False, pooling="avg", **width)


def classifier_1000(row: Backbone, weights: str | Path | None, alpha: float = 1.0) -> Any:
    """Build a backbone with its 1000-class top, at its own size: RGB 0..255 -> (batch, 1000)."""
    width = {"alpha": alpha} if row.has_alpha else {}
    return _scaling(row, row.size, weights, include_top=True, **width)


def _scaling(row: Backbone, size: int, weights: str | Path | None, **options: Any) -> Any:
    """Return the network of Keras Applications, its scaling put in front of its first layer."""
    import keras

    function = getattr(keras.applications, row.keras_name)
    source = None if weights is None else str(weights)
    # Built on a plain input: with input_tensor, Keras would take the scaling for a part of the
    # network, and a weights file counts layers.
    network = function(weights=source, input_shape=(size, size, 3), **options)
    image, scaled = scaled_input(size, row.scaling)

    def call(layer: Any, *arguments: Any, **keywords: Any) -> Any:
        moved = [scaled if item is image else item for item in arguments]
        return layer(*moved, **keywords)

    flat = keras.models.clone_model(
        network, input_tensors=image, clone_function=lambda layer: layer, call_function=call
    )
    return keras.Model(flat.input, flat.output, name=row.name)


def new_head(features: int, hidden: Sequence[int], classes: int) -> Any:
    """Build dense ReLU layers, then softmax: (batch, features) -> (batch, classes)."""
    import keras

    tensor = vector = keras.Input((features,), name="features")
    for position, units in enumerate(hidden):
        tensor = keras.layers.Dense(units, activation="relu", name=f"head_{position}")(tensor)
    output = keras.layers.Dense(classes, activation="softmax", name="probabilities")(tensor)
    return keras.Model(vector, output, name="head")


def joined(base: Any, head: Any) -> Any:
    """Return one flat model: every layer of the base, then every layer of the head.

    Flat, because a model nested as one layer hides its graph from the converters.
    """
    import keras

    tensor = base.output
    for layer in head.layers[1:]:
        tensor = layer(tensor)
    return keras.Model(base.input, tensor, name=base.name)


def without_head(model: Any) -> Any:
    """Return the part of a model up to its features: image -> (batch, features).

    A feature map is averaged over its places; a classifier is cut behind its last global
    pooling, or else in front of its last dense layer; anything else is taken as it is.

    Args:
        model: A functional model with one output of rank 2 or 4.

    Raises:
        ModelLoadError: Nothing of that kind.
    """
    import keras

    output = model.outputs[0]
    if len(output.shape) == 4:
        return keras.Model(model.inputs[0], keras.layers.GlobalAveragePooling2D()(output))
    if len(output.shape) != 2:
        raise ModelLoadError(
            f"the model's output is of shape {tuple(output.shape)}",
            hint="A base gives a feature map (batch, height, width, channels) or "
            "features (batch, features).",
        )
    if keras_end(model).ending not in (Ending.SOFTMAX, Ending.SIGMOID):
        return keras.Model(model.inputs[0], output, name=model.name)
    features = _features_tensor(model)
    if len(features.shape) == 4:
        features = keras.layers.Flatten(name="features")(features)
    return keras.Model(model.inputs[0], features, name=model.name)


def _features_tensor(model: Any) -> Any:
    import keras

    pooling = (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D)
    tensor, before_dense = model.outputs[0], None
    while True:
        layer = tensor._keras_history.operation  # what functional models are made of
        if isinstance(layer, pooling):
            return tensor
        inputs = layer.input
        if isinstance(inputs, list) or math.prod(inputs.shape[1:-1] or (1,)) > 1:
            break  # a sum, or a layer that sees more than one place: no part of a head
        if isinstance(layer, keras.layers.Dense) and before_dense is None:
            before_dense = inputs
        tensor = inputs
    if before_dense is None:
        raise ModelLoadError(
            "the model has no global pooling and no dense layer to cut it at",
            hint="Save the model without its head.",
        )
    return before_dense


def load_keras(path: Any) -> Any:
    """Return a user's own Keras model, functional or Sequential, of any version, in float32.

    Raises:
        ModelLoadError: Not a .keras or .h5 model, or one that needs code to load, or one whose
            graph is not known before it runs.
    """
    return read_keras(Path(path)).model


def check_finite(model: Any, name: str) -> None:
    """Refuse a network with weights that are no numbers, before its input or labels are blamed.

    Args:
        model: A Keras model.
        name: The name of its file, for the message.

    Raises:
        ModelLoadError: A weight is NaN or infinite.
    """
    for variable in model.weights:
        value = variable.numpy()
        if value.dtype.kind not in "fV":  # V: bfloat16, as numpy sees it
            continue
        wrong = ~np.isfinite(value.astype(np.float32))
        if wrong.any():
            layer, _, weight = variable.path.rpartition("/")
            raise ModelLoadError(
                f"{name} has weights that are not finite numbers: {int(wrong.sum())} of the "
                f"{wrong.size} values of {weight!r} in the layer {layer!r} are NaN or infinite",
                hint="Training has diverged, or the file is damaged: take an earlier checkpoint, "
                "or train again, with a smaller learning rate say.",
            )


BATCH: Final = 8  # images in memory at a time; 32 take four times the memory, and are no faster


def keras_scores(
    model_id: str,
    load_model: Callable[[], Any],
    pictures: Sequence[Hashed],
    preprocessing: Preprocessing,
    *,
    cache: StageCache,
    step: Step,
    decode: Decode = load,
) -> NDArray[np.float32]:
    """Return the scores (images, classes), float32, of a Keras model; computed once per content.

    Args:
        model_id: The content hash of the model.
        load_model: Gives the model; not called when the cache holds the answers.
        pictures: Readable images.
        preprocessing: The contract.
        cache: Where answers are kept.
        step: Told of each finished image.
        decode: Gives the pixels of an image; see ``kept_pixels``.
    """
    paths = [picture.path for picture in pictures]

    def rows() -> Iterator[NDArray[np.float32]]:
        return _rows(load_model(), paths, preprocessing, decode)

    return kept_scores(f"keras:{model_id}", pictures, preprocessing, rows, cache=cache, step=step)


def _rows(
    model: Any, paths: Sequence[Path], preprocessing: Preprocessing, decode: Decode
) -> Iterator[NDArray[np.float32]]:
    import tensorflow as tf

    shape = (None, *model.inputs[0].shape[1:])
    function = tf.function(
        lambda images: model(images, training=False),
        input_signature=[tf.TensorSpec(shape, tf.float32)],
    )
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(paths), BATCH):
            some = paths[start : start + BATCH]
            images = pool.map(lambda path: decode(path, preprocessing), some)
            batch = np.stack(list(images)).astype(np.float32)
            with keras_call():
                answers: NDArray[np.float32] = function(batch).numpy()
            yield from answers.reshape(len(answers), -1)
