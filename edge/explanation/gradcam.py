"""Grad-CAM: where the last feature map of a Keras model speaks for a class.

Source: Selvaraju et al. 2017, Grad-CAM, equations 1 and 2: the gradient of the class's score
before the softmax, averaged over the places of a feature map, weights its channels; their sum,
less what is negative, is the map.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge.errors import ModelLoadError
from edge.runtime.supervisor import keras_call

SQUASHING: Final = ("softmax", "sigmoid")


class GradCam:
    """Maps of one Keras model.

    Attributes:
        layer: Name of the layer whose feature map is explained.
        shape: (height, width) of that feature map.
    """

    def __init__(self, model: Any, classes: int) -> None:
        """Take the last feature map and the class scores of a model.

        Args:
            model: Functional, RGB 0..255 -> (batch, classes). It is changed: its last activation
                is taken off, so that gradients do not vanish where it saturates.
            classes: That the bundle has.

        Raises:
            ModelLoadError: The model gives no class scores, or has no feature map.
        """
        import keras

        output = tuple(model.outputs[0].shape)
        if len(output) != 2 or output[1] != classes:
            raise ModelLoadError(
                f"the bundle's Keras model gives {output}, and no score for each of "
                f"{classes} classes",
                hint="Grad-CAM needs a head inside the Keras model; the maps of the files, which "
                "need none, are drawn all the same.",
            )
        layer = last_map(model)
        scores, self._activate = _before_activation(model)
        self.layer: str = layer.name
        self.shape: tuple[int, int] = tuple(layer.output.shape[1:3])
        self._model = keras.Model(model.inputs[0], [layer.output, scores])

    def map(
        self, pixels: NDArray[np.uint8], label: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The map of a class, and the probabilities of all.

        Args:
            pixels: (height, width, 3), uint8 RGB.
            label: Class index.

        Returns:
            (height, width) of the image, float32, 0 and more; and (classes,), float32.
        """
        import tensorflow as tf

        image = tf.constant(pixels[np.newaxis], tf.float32)
        with keras_call(), tf.GradientTape() as tape:
            tape.watch(image)  # or a model whose weights are frozen leaves nothing on the tape
            features, scores = self._model(image, training=False)
            score = scores[:, label]
        gradients = tape.gradient(score, features)
        weights = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)
        coarse = tf.nn.relu(tf.reduce_sum(weights * features, axis=-1))[0].numpy()
        probabilities = self._activate(scores).numpy()[0]
        return enlarged(coarse, pixels.shape[:2]), probabilities


def last_map(model: Any) -> Any:
    """The last layer that gives a feature map of more than one place.

    Raises:
        ModelLoadError: There is none.
    """
    maps = feature_maps(model)
    if not maps:
        raise ModelLoadError("the Keras model has no layer with a feature map")
    return maps[-1]


def feature_maps(model: Any) -> Sequence[Any]:
    """Layers that give (batch, height, width, channels) with more than one place, in order."""
    return [layer for layer in model.layers[1:] if _is_map(layer)]


def enlarged(coarse: NDArray[np.float32], size: Sequence[int]) -> NDArray[np.float32]:
    """A map (rows, columns) at (height, width), bilinear; float32."""
    height, width = size
    image = Image.fromarray(np.asarray(coarse, np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR), np.float32)


def _is_map(layer: Any) -> bool:
    shape: tuple[Any, ...] = getattr(getattr(layer, "output", None), "shape", ())
    return len(shape) == 4 and None not in shape[1:3] and shape[1] * shape[2] > 1


def _before_activation(model: Any) -> tuple[Any, Any]:
    """The scores in front of the last softmax or sigmoid, and the function that was behind them."""
    import keras

    output = model.outputs[0]
    last = output._keras_history.operation
    if isinstance(last, keras.layers.Softmax):
        return last.input, keras.activations.softmax
    activation = getattr(last, "activation", None)
    if getattr(activation, "__name__", "") not in SQUASHING:
        return output, keras.activations.linear
    if isinstance(last, keras.layers.Activation):
        return last.input, activation
    last.activation = keras.activations.linear
    return output, activation
