"""How far a set of images is from ImageNet, in the eyes of a network that was trained on it.

No picture of ImageNet is needed: where the last thing that a base does before it pools is batch
normalisation and an activation, the checkpoint itself states the mean embedding of ImageNet.
Normalised, each channel had mean beta and standard deviation |gamma| over the training images
(Ioffe and Szegedy 2015); taken as normal, its mean behind the activation is a Gauss-Hermite sum.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

NODES: Final = 61  # of the quadrature


def imagenet_distance(base: Any, features: NDArray[np.float32]) -> float | None:
    """Cosine distance between the mean embedding of the images and that of ImageNet.

    Args:
        base: Keras model, RGB 0..255 -> (batch, features), with weights trained on ImageNet.
        features: (images, features) of the images.

    Returns:
        0 (the same mix of features) to 1 (nothing in common); None where the base does not end
        in batch normalisation, activation, global average pooling.
    """
    expected = imagenet_mean(base)
    if expected is None or len(features) == 0:
        return None
    found = features.mean(axis=0, dtype=np.float64)
    length = float(np.linalg.norm(found) * np.linalg.norm(expected))
    return 1 - float(found @ expected) / length if length > 0 else None


def imagenet_mean(base: Any) -> NDArray[np.float64] | None:
    """(features,) the mean embedding of the images that the base was trained on, or None."""
    import keras

    layer = base.outputs[0]._keras_history.operation  # what functional models are made of
    if not isinstance(layer, keras.layers.GlobalAveragePooling2D):
        return None
    activations: list[Any] = []
    while True:
        tensor = layer.input
        if isinstance(tensor, list):
            return None
        layer = tensor._keras_history.operation
        if isinstance(layer, keras.layers.BatchNormalization):
            break
        if not isinstance(layer, keras.layers.Activation | keras.layers.ReLU):
            return None
        activations.insert(0, layer)
    return _mean_behind(layer, activations)


def _mean_behind(normalization: Any, activations: list[Any]) -> NDArray[np.float64]:
    channels = normalization.moving_mean.shape[0]
    beta = np.zeros(channels) if normalization.beta is None else normalization.beta.numpy()
    gamma = np.ones(channels) if normalization.gamma is None else normalization.gamma.numpy()
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    values = (beta[:, None] + np.abs(gamma)[:, None] * nodes[None, :]).astype(np.float32)
    for activation in activations:
        values = np.asarray(activation(values))
    mean: NDArray[np.float64] = values.astype(np.float64) @ (weights / weights.sum())
    return mean
