"""Builds one network of Keras Applications and counts what the published table states of it."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.training.backbones import Backbone
from edge.training.options import NONE
from edge.training.weights import WeightedModel, load_classifier

SEED: Final = 0
IMAGES: Final = 4  # generated pictures; they set statistics of random networks, and int8 ranges
LARGE: Final = 400  # pixels on a side; Keras holds all activations of a pass: 17 GB for 4 of 600
GRAIN: Final = 8  # pixels on a side of one patch of colour


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was counted in a Keras model.

    Attributes:
        parameters: Elements of all weights, statistics of batch normalization included.
        depth: Layers that have weights.
        size_bytes: Of the parameters as float32.
        input_size: Height and width, pixels.
    """

    parameters: int
    depth: int
    size_bytes: int
    input_size: int


def counted(model: Any, input_size: int) -> Facts:
    """The facts of a Keras model.

    Args:
        model: As ``keras.applications`` builds it; a scaling in front has no weights.
        input_size: Height and width, pixels.
    """
    parameters = int(model.count_params())
    return Facts(
        parameters=parameters,
        depth=sum(1 for layer in model.layers if layer.weights),
        size_bytes=4 * parameters,
        input_size=input_size,
    )


def pictures(size: int) -> NDArray[np.uint8]:
    """Generated pictures of coloured patches, (IMAGES, size, size, 3), RGB.

    Patches and not noise: what a convolution sees of noise averages out.
    """
    patches = -(-size // GRAIN)
    random = np.random.default_rng(SEED)
    coarse = random.integers(0, 256, (IMAGES, patches, patches, 3), np.uint8)
    return coarse.repeat(GRAIN, axis=1).repeat(GRAIN, axis=2)[:, :size, :size]


def random_network(row: Backbone) -> WeightedModel:
    """The network with its 1000-class top and random weights that behave like trained ones."""
    found = load_classifier(row, NONE, SEED)
    images = pictures(row.size)
    settle(found.model, images[:1] if row.size > LARGE else images)
    return found


def settle(model: Any, images: NDArray[np.uint8]) -> None:
    """Give a random network's batch normalization the statistics of some images, in place.

    Without them activations of a deep random network vanish or explode: it would compute with
    denormal numbers, which takes longer, and an integer file would hold nothing but zeros.
    """
    import keras

    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0  # the moving statistics become those of this batch
    model(images.astype(np.float32), training=True)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
