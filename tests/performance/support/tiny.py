"""A network that smoke runs take in place of a real one."""

from typing import Any

SIDE = 16
CLASSES = 9


def tiny_classifier() -> Any:
    """A Keras classifier of RGB pictures, 0..255, of 16 x 16 pixels."""
    import keras

    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3),
            layers.GlobalAveragePooling2D(),
            layers.Dense(CLASSES, "softmax"),
        ]
    )
