"""The networks that Reptile starts from, as functions of explicit weights.

Weights are tensors that go in and come out, and not variables of a model. So a whole inner loop is
one graph, and many episodes can run at once, each with weights of its own.
"""

import math
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

FILTERS: Final = 64
BLOCKS: Final = 4
EPSILON: Final = 1e-3  # as in the batch normalisation of Keras and TensorFlow 1

Weights = list[NDArray[np.float32]]


class EpisodeNetwork(Protocol):
    """A classifier of ``ways`` classes whose weights are an argument."""

    @property
    def id(self) -> str:
        """What decides the shape of the weights, for content keys."""
        ...

    def initial(self, ways: int, generator: np.random.Generator) -> Weights:
        """Return random weights (Glorot and Bengio 2010, uniform)."""
        ...

    def logits(self, weights: list[Any], inputs: Any) -> Any:
        """Return a (batch, ways) tensor for a (batch, *input) tensor, float32."""
        ...


@dataclass(frozen=True, slots=True)
class Conv4:
    """The network of Nichol et al. 2018 for Omniglot.

    It has four blocks of a 3x3 convolution with 64 filters and stride 2, batch normalisation and
    ReLU, and then a dense layer. The statistics of the normalisation are always those of the batch.

    Attributes:
        size: The height and width of the pictures, in pixels.
        channels: The number of channels of the pictures, 1 or 3.
    """

    size: int
    channels: int

    @property
    def id(self) -> str:
        """See ``EpisodeNetwork``."""
        return f"conv4-{self.size}x{self.size}x{self.channels}"

    def initial(self, ways: int, generator: np.random.Generator) -> Weights:
        """See ``EpisodeNetwork``."""
        weights: Weights = []
        channels, size = self.channels, self.size
        for _ in range(BLOCKS):
            kernel = _glorot((3, 3, channels, FILTERS), 9 * channels, 9 * FILTERS, generator)
            weights += [kernel, np.ones(FILTERS, np.float32), np.zeros(FILTERS, np.float32)]
            channels, size = FILTERS, -(-size // 2)
        flat = size * size * FILTERS
        return [*weights, _glorot((flat, ways), flat, ways, generator), np.zeros(ways, np.float32)]

    def logits(self, weights: list[Any], inputs: Any) -> Any:
        """See ``EpisodeNetwork``."""
        import tensorflow as tf

        tensor = inputs
        for block in range(BLOCKS):
            kernel, gain, offset = weights[3 * block : 3 * block + 3]
            tensor = tf.nn.conv2d(tensor, kernel, 2, "SAME")
            mean, variance = tf.nn.moments(tensor, [0, 1, 2])
            scale = gain * tf.math.rsqrt(variance + EPSILON)
            tensor = tf.nn.relu(tensor * scale + (offset - mean * scale))
        flat = tf.reshape(tensor, (tf.shape(tensor)[0], weights[-2].shape[0]))
        return flat @ weights[-2] + weights[-1]


@dataclass(frozen=True, slots=True)
class HeadNetwork:
    """A head on embeddings: a dense layer, ReLU, and another dense layer.

    The initialisation of an output layer alone could not prefer anything, since the order of the
    classes is drawn anew in every episode.

    Attributes:
        features: The length of an embedding.
        hidden: The number of units of the first layer.
    """

    features: int
    hidden: int = 128

    @property
    def id(self) -> str:
        """See ``EpisodeNetwork``."""
        return f"head-{self.features}-{self.hidden}"

    def initial(self, ways: int, generator: np.random.Generator) -> Weights:
        """See ``EpisodeNetwork``."""
        features, hidden = self.features, self.hidden
        return [
            _glorot((features, hidden), features, hidden, generator),
            np.zeros(hidden, np.float32),
            _glorot((hidden, ways), hidden, ways, generator),
            np.zeros(ways, np.float32),
        ]

    def logits(self, weights: list[Any], inputs: Any) -> Any:
        """See ``EpisodeNetwork``."""
        import tensorflow as tf

        return tf.nn.relu(inputs @ weights[0] + weights[1]) @ weights[2] + weights[3]


def _glorot(
    shape: tuple[int, ...], fan_in: int, fan_out: int, generator: np.random.Generator
) -> NDArray[np.float32]:
    limit = math.sqrt(6 / (fan_in + fan_out))
    return generator.uniform(-limit, limit, shape).astype(np.float32)
