"""Takes the mean error of quantized weights out of every layer's output, before quantization.

Rounding a kernel to int8 changes a layer's output by (w_q - w) * x. Over real images x has a mean
far from zero (activations after ReLU are never negative), so the change has a mean too: a bias,
which adds up from layer to layer. With E[x] from the calibration images it is known, and
subtracting it from the layer's bias costs nothing at run time:

    b' = b - sum((w_q - w) * E[x])

Source: M. Nagel, M. van Baalen, T. Blankevoort, M. Welling, "Data-Free Quantization Through Weight
Equalization and Bias Correction", ICCV 2019, section 4.2; E[x] is measured here, as in their
appendix. Weights are quantized symmetrically, per output channel, as both converters do; folding
batch normalization afterwards scales a channel as a whole and changes nothing about that.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.calibration import Calibration

LEVELS: Final = 127  # of int8, symmetric and without -128: TFLite's and ONNX Runtime's weights
BATCH: Final = 8  # images at a time; only channel means leave the graph

# Keras layer -> axes of its kernel that belong to one output channel.
KERNEL_AXES: Final = {"Conv2D": (0, 1, 2), "DepthwiseConv2D": (0, 1), "Dense": (0,)}


def bias_corrected(model: Any, calibration: Calibration) -> Any:
    """A copy of the model whose layers make up for the rounding of their own weights.

    Args:
        model: Functional Keras model in floats; its input is what ``calibration`` yields.
        calibration: Representative images.

    Returns:
        A model of the same outputs up to the correction. Layers inside nested models, and layers
        that are called more than once, are left as they are.
    """
    copy = _copy_with_biases(model)
    layers = [layer for layer in copy.layers if _correctable(layer)]
    for layer, mean in zip(layers, _input_means(copy, layers, calibration), strict=True):
        layer.bias.assign(layer.bias - _mean_error(layer, mean))
    return copy


def _copy_with_biases(model: Any) -> Any:
    """The model with layers of its own, and a bias in every layer that can have one."""
    import keras

    def copied(layer: Any) -> Any:
        config = layer.get_config()
        if type(layer).__name__ in KERNEL_AXES:
            config |= {"use_bias": True}
        return type(layer).from_config(config)

    copy = keras.models.clone_model(model, clone_function=copied)
    for old, new in zip(model.layers, copy.layers, strict=True):
        weights = old.get_weights()
        if len(new.weights) > len(weights):
            weights.append(np.zeros(new.bias.shape, np.float32))
        new.set_weights(weights)
    return copy


def _correctable(layer: Any) -> bool:
    return type(layer).__name__ in KERNEL_AXES and len(layer._inbound_nodes) == 1


def _input_means(
    model: Any, layers: list[Any], calibration: Calibration
) -> Iterator[NDArray[np.float64]]:
    """Mean of each layer's input over images and positions: (channels,) per layer."""
    import keras
    import tensorflow as tf

    means = [
        keras.ops.mean(layer.input, axis=tuple(range(1, len(layer.input.shape) - 1)))
        if len(layer.input.shape) > 2
        else layer.input
        for layer in layers
    ]
    probe = tf.function(keras.Model(model.input, means), reduce_retracing=True)
    totals = [np.zeros(mean.shape[-1]) for mean in means]
    images = iter(calibration)
    while batch := list(islice(images, BATCH)):
        answers = tf.nest.flatten(probe(np.concatenate(batch), training=False))
        for total, answer in zip(totals, answers, strict=True):
            total += answer.numpy().sum(axis=0, dtype=np.float64)
    for total in totals:
        yield total / len(calibration)


def _mean_error(layer: Any, mean: NDArray[np.float64]) -> NDArray[np.float32]:
    """What rounding the kernel adds to each output channel on average: (channels,)."""
    kernel = np.asarray(layer.kernel, np.float64)
    kind = type(layer).__name__
    peak = np.abs(kernel).max(axis=KERNEL_AXES[kind], keepdims=True)
    scale = np.where(peak > 0, peak / LEVELS, 1.0)
    error = np.rint(kernel / scale) * scale - kernel
    if kind == "DepthwiseConv2D":  # (rows, columns, channels, multiplier)
        added = error.sum(axis=(0, 1)) * mean[:, np.newaxis]
    elif kind == "Dense":  # (inputs, outputs)
        added = mean @ error
    else:  # (rows, columns, inputs per group, outputs)
        added = _grouped(error.sum(axis=(0, 1)), mean, layer.groups)
    flat: NDArray[np.float32] = added.reshape(-1).astype(np.float32)
    return flat


def _grouped(
    error: NDArray[np.float64], mean: NDArray[np.float64], groups: int
) -> NDArray[np.float64]:
    """mean @ error, where each group of outputs sees its own inputs."""
    inputs, outputs = mean.reshape(groups, -1), np.split(error, groups, axis=1)
    return np.concatenate([part @ columns for part, columns in zip(inputs, outputs, strict=True)])
