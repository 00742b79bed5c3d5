"""The reference for training: frozen Keras MobileNet, a few epochs of ``fit``, as courses teach it.

    PYTHONPATH=tests/performance python -m support.recipe PHOTOS EPOCHS

PHOTOS has train/ and test/. Prints JSON: seconds of ``fit``, test top-1, and seconds of one
inference pass of the base over all images, which is the floor of any method.
"""

import json
import sys
import time
from typing import Any

import keras

from edge.weights import mobilenet_imagenet

SIZE = (224, 224)
POOLED = "pooled"


def main() -> None:
    """Train, test, and time one bare pass."""
    photos, epochs = sys.argv[1], int(sys.argv[2])
    model, train, test = recipe(photos)
    started = time.monotonic()
    model.fit(train, epochs=epochs, verbose=0)
    fit = time.monotonic() - started
    top1 = float(model.evaluate(test, verbose=0)[1])
    embedder = keras.Model(model.input, model.get_layer(POOLED).output)
    started = time.monotonic()
    embedder.predict(train, verbose=0)
    floor = time.monotonic() - started
    print(json.dumps({"fit_seconds": fit, "top1": top1, "one_pass_seconds": floor}))


def recipe(photos: str) -> tuple[Any, Any, Any]:
    """The model, compiled, and the pictures to train and to test it on."""
    train = keras.utils.image_dataset_from_directory(
        f"{photos}/train", image_size=SIZE, batch_size=32, seed=0, verbose=False
    )
    test = keras.utils.image_dataset_from_directory(
        f"{photos}/test", image_size=SIZE, batch_size=32, shuffle=False, verbose=False
    )
    full = keras.applications.MobileNet(weights=str(mobilenet_imagenet()))
    base = keras.Model(full.input, full.get_layer("conv_pw_13_relu").output)
    base.trainable = False
    image = keras.Input((*SIZE, 3))
    features = base(keras.layers.Rescaling(1 / 127.5, offset=-1)(image), training=False)
    pooled = keras.layers.GlobalAveragePooling2D(name=POOLED)(features)
    hidden = keras.layers.Dense(128, activation="relu")(pooled)
    output = keras.layers.Dense(len(train.class_names), activation="softmax")(hidden)
    model = keras.Model(image, output)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, train, test


if __name__ == "__main__":
    main()
