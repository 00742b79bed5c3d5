"""What was tried on top of edge's int8 and not adopted, each small enough to be read."""

from dataclasses import replace
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from converters.observation import STEPS
from converters.onnx import exported
from converters.onnx_graph import OnnxActivations, OnnxFloatGraph
from converters.onnx_quantization import QuantizableONNX
from converters.quantizable import Calibration

SAMPLES: Final = 1000  # values of a tensor that are looked at, per image
POSITIONS: Final = 64  # of an image whose channels are looked at
SHRINKS: Final = np.linspace(0.6, 1.0, 33)  # of a min-max range
GAINS: Final = 2 ** np.arange(0, 5.01, 0.25)  # of a channel
WORTH: Final = 0.98  # a gain is taken if the error falls below this share of the best so far


def mse_ranges(proto: Any, calibration: Calibration) -> bytes:
    """edge's ONNX file, every activation's range shrunk to the least mean squared error.

    Source: M. Nagel, M. Fournarakis, R. A. Amjad, Y. Bondarenko, M. van Baalen, T. Blankevoort,
    "A White Paper on Neural Network Quantization", 2021, section 3.1, "Mean squared error"; both
    ends of the min-max range are shrunk alike. ``proto`` has its batch normalization folded.
    """
    base = QuantizableONNX(proto, calibration)
    observed = base.observation
    sampled = _sampled(proto, calibration)
    ends = []
    for name in observed.names:
        low, high = observed.ranges[name]
        shrink = 1.0 if name == observed.names[0] else _best_shrink(sampled[name], low, high)
        ends.append((shrink * low, shrink * high))
    low_row, high_row = np.array(ends, np.float64).T
    base.observation = replace(observed, low=low_row[np.newaxis], high=high_row[np.newaxis])
    return base.quantized()


def _sampled(proto: Any, calibration: Calibration) -> dict[str, NDArray[np.float32]]:
    """Some values of every activation, (values,) by name."""
    random = np.random.default_rng(0)
    run = OnnxActivations(OnnxFloatGraph(proto).observable())
    found: dict[str, list[NDArray[np.float32]]] = {}
    for image in calibration:
        for name, values in run(image):
            flat = values.reshape(-1)
            taken = flat if flat.size <= SAMPLES else random.choice(flat, SAMPLES)
            found.setdefault(name, []).append(taken)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _best_shrink(values: NDArray[np.float32], low: float, high: float) -> float:
    def error(shrink: float) -> float:
        step = max(shrink * (high - low), 1e-9) / STEPS
        zero = round(-shrink * low / step)
        rounded = (np.clip(np.rint(values / step) + zero, 0, STEPS) - zero) * step
        return float(np.square(rounded - values).mean())

    return float(min(SHRINKS[::-1], key=error))


def equalized(model: Any, calibration: Calibration) -> bytes:
    """edge's ONNX file of a network whose ReLU6 channels fill their range before depthwise layers.

    A depthwise kernel has weights of its own for every input channel, so a channel can be
    multiplied before the ReLU6 and divided in the kernel after it. The gain is the one of least
    squared rounding error, values that ReLU6 then clips included.

    Source: M. Nagel, M. van Baalen, T. Blankevoort, M. Welling, "Data-Free Quantization Through
    Weight Equalization and Bias Correction", ICCV 2019, section 4.1; there between weights, here
    from activations.
    """
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    triples = _triples(copy)
    probe = keras.Model(copy.input, [activation.output for _, activation, _ in triples])
    samples = _positions(probe, calibration)
    for (normalization, activation, depthwise), values in zip(triples, samples, strict=True):
        gain = _best_gains(values, float(activation.max_value))
        normalization.gamma.assign(normalization.gamma * gain)
        normalization.beta.assign(normalization.beta * gain)
        depthwise.kernel.assign(depthwise.kernel / gain[np.newaxis, np.newaxis, :, np.newaxis])
    return QuantizableONNX(exported(copy), calibration).quantized()


def _triples(model: Any) -> list[tuple[Any, Any, Any]]:
    """Batch normalization, ReLU6 and depthwise layer, where each feeds the next alone."""
    found = []
    for layer in model.layers:
        if not isinstance(layer, keras.layers.DepthwiseConv2D):
            continue
        activation = _before(layer)
        if isinstance(activation, keras.layers.ZeroPadding2D):
            activation = _before(activation)
        if not isinstance(activation, keras.layers.ReLU) or activation.max_value is None:
            continue
        normalization = _before(activation)
        if isinstance(normalization, keras.layers.BatchNormalization):
            found.append((normalization, activation, layer))
    return found


def _before(layer: Any) -> Any:
    return layer.input._keras_history.operation


def _positions(probe: Any, calibration: Calibration) -> list[NDArray[np.float32]]:
    """Channels of some positions of each output, (positions, channels)."""
    random = np.random.default_rng(0)
    function = tf.function(lambda image: probe(image, training=False), reduce_retracing=True)
    found: list[list[NDArray[np.float32]]] = [[] for _ in probe.outputs]
    for image in calibration:
        for parts, tensor in zip(found, tf.nest.flatten(function(image)), strict=True):
            rows = tensor.numpy().reshape(-1, tensor.shape[-1])
            parts.append(rows[random.choice(len(rows), min(POSITIONS, len(rows)), replace=False)])
    return [np.concatenate(parts) for parts in found]


def _best_gains(values: NDArray[np.float32], top: float) -> NDArray[np.float32]:
    """Gain of each channel, (channels,), of an activation quantized from 0 to ``top``."""
    step = top / STEPS
    least = np.full(values.shape[1], np.inf)
    gains = np.ones(values.shape[1])
    for gain in GAINS:
        rounded = np.clip(np.rint(values * gain / step), 0, STEPS) * step / gain
        error = np.square(rounded - values).mean(axis=0)
        better = error < WORTH * least
        least, gains = np.where(better, error, least), np.where(better, gain, gains)
    return gains.astype(np.float32)
