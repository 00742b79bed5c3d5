"""A small network of MobileNet's layers, with a weakness that is planted; and pictures for it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tests.integration.conftest import noisy

SIZE: Final = 32  # rows and columns
CLASSES: Final = 8
OUTLIER: Final = 300  # times the largest weight
LAYERS: Final = ("stem", "dw", "pw", "last", "answer")  # those with weights, in order

Images = NDArray[np.uint8]


def pictures(seeds: Iterable[int]) -> Images:
    """Noisy pictures, each of a colour of its own, (pictures, SIZE, SIZE, 3)."""
    return np.stack([np.asarray(picture(seed)) for seed in seeds])


def picture(seed: int) -> Any:
    color = np.random.default_rng(seed).integers(0, 256, 3).tolist()
    return noisy(seed, color, size=SIZE, spread=60)


def saved(folder: Path, seeds: Iterable[int]) -> Path:
    """A folder of those pictures."""
    folder.mkdir(parents=True)
    for seed in seeds:
        picture(seed).save(folder / f"{seed:04}.png")
    return folder


def network(*, filters: int = 16, classes: int = CLASSES) -> Any:
    """RGB 0..255 in; random weights; normalized for ``pictures``, so that answers differ."""
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(1)

    def block(tensor: Any, name: str, convolution: Any) -> Any:
        normalized = layers.BatchNormalization(momentum=0.0, name=f"{name}_bn")(convolution(tensor))
        return layers.ReLU(6.0, name=f"{name}_relu")(normalized)

    image = keras.Input((SIZE, SIZE, 3), name="image")
    tensor = layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")(image)
    plain = {"use_bias": False, "padding": "same"}
    tensor = block(tensor, "stem", layers.Conv2D(8, 3, strides=2, name="stem", **plain))
    tensor = block(tensor, "dw", layers.DepthwiseConv2D(3, name="dw", **plain))
    tensor = block(tensor, "pw", layers.Conv2D(8, 1, name="pw", **plain))
    tensor = block(tensor, "last", layers.Conv2D(filters, 3, strides=2, name="last", **plain))
    features = layers.GlobalAveragePooling2D(name="pool")(tensor)
    answer = layers.Dense(classes, activation="softmax", name="answer")(features)
    model = keras.Model(image, answer, name="net")
    images = pictures(range(9000, 9050)).astype(np.float32)
    for _ in LAYERS:  # a layer's mean is right once those before it are
        model(images, training=True)
    seen = np.asarray(keras.Model(image, features)(images, training=False))
    kernel = np.random.default_rng(1).normal(0, 5, (filters, classes)).astype(np.float32)
    model.get_layer("answer").set_weights([kernel, -seen.mean(axis=0) @ kernel])
    return model


def fragile() -> Any:
    """Layer ``last`` cannot be quantized: its largest weights meet an input that is always 0.

    Every output's scale is that of the outliers, and all its other weights are rounded to 0.
    """
    model = network()
    scale, offset, mean, variance = model.get_layer("pw_bn").get_weights()
    offset[0] = -100
    model.get_layer("pw_bn").set_weights([scale, offset, mean, variance])
    (kernel,) = model.get_layer("last").get_weights()
    kernel[:, :, 0] = OUTLIER * np.abs(kernel).max()
    model.get_layer("last").set_weights([kernel])
    return model


def hopeless() -> Any:
    """A thousand classes are a thousand directions of two features: any rounding changes answers.

    The angle between two of them is a tenth of a degree.
    """
    model = network(filters=2, classes=1000)
    angles = np.linspace(0, np.pi / 2, 1000)
    kernel = 50 * np.stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    model.get_layer("answer").set_weights([kernel, np.zeros(1000, np.float32)])
    return model
