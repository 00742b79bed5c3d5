"""Training through the frozen base on randomly changed images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.dataset.split import LabeledImage
from edge.runtime.preprocess import load
from edge.runtime.spec import Preprocessing
from edge.training.head import (
    HeadOptions,
    TrainedHead,
    class_weights,
    compile_classifier,
    finished,
    targets,
)

LEARNING_RATE_SCALE: Final = 0.1  # the head has been trained on the plain features before


@dataclass(frozen=True, slots=True)
class AugmentData:
    """Images to learn from and to check on; unreadable ones were taken out before."""

    train: Sequence[LabeledImage]
    val: Sequence[LabeledImage]
    preprocessing: Preprocessing


def train_augmented(
    base: Any,
    head: Any,
    data: AugmentData,
    classes: int,
    options: HeadOptions,
    on_batch: Callable[[], None] = lambda: None,
) -> TrainedHead:
    """Go on training ``head`` on mirrored, turned, zoomed and brightened images.

    The base stays frozen and in inference mode. Images are decoded batch by batch, so memory
    does not grow with their number. The weights of the best validation loss are kept.

    Args:
        base: Keras model, RGB 0..255 -> (batch, features).
        head: Keras model, features -> classes, trained on the plain features.
        data: The images.
        classes: How many.
        options: Batch size, epochs, patience, seed, loss, optimizer; a tenth of its learning rate.
        on_batch: Told of each batch.

    Raises:
        TrainingError: The loss became NaN or infinite.
    """
    import keras

    keras.utils.set_random_seed(options.seed)
    base.trainable = False
    image = keras.Input(base.input.shape[1:], name="image")
    output = head(base(_augmentation(options.seed)(image), training=False))
    model = keras.Model(image, output)
    compile_classifier(model, options, LEARNING_RATE_SCALE)
    callbacks = keras.callbacks
    history = model.fit(
        _batches(data.train, data.preprocessing, classes, options, shuffle=True),
        validation_data=_batches(data.val, data.preprocessing, classes, options, shuffle=False),
        epochs=options.epochs,
        callbacks=[
            callbacks.EarlyStopping(
                monitor="val_loss", patience=options.patience, restore_best_weights=True
            ),
            callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: on_batch()),  # noqa: ARG005
        ],
        verbose=0,
    )
    return finished(head, history.history)


def _augmentation(seed: int) -> Any:
    """Layers that change an image without changing its class; they are not exported."""
    import keras

    layers = keras.layers
    return keras.Sequential(
        [
            layers.RandomFlip("horizontal", seed=seed),
            layers.RandomRotation(0.05, fill_mode="reflect", seed=seed),
            layers.RandomZoom(0.15, fill_mode="reflect", seed=seed),
            layers.RandomTranslation(0.1, 0.1, fill_mode="reflect", seed=seed),
            layers.RandomBrightness(0.15, value_range=(0, 255), seed=seed),
            layers.RandomContrast(0.15, value_range=(0, 255), seed=seed),
        ],
        name="augmentation",
    )


def _batches(
    images: Sequence[LabeledImage],
    preprocessing: Preprocessing,
    classes: int,
    options: HeadOptions,
    *,
    shuffle: bool,
) -> Any:
    """A Keras data set that decodes each batch when it is asked for."""
    import keras

    labels = np.array([image.label for image in images], np.int64)
    goals = targets(labels, classes, options.loss)
    weights = np.ones(len(labels), np.float32)
    if options.class_weights:
        weights = class_weights(labels, classes)[labels]

    class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
        def __init__(self) -> None:
            super().__init__(workers=2, max_queue_size=4)
            self._generator = np.random.default_rng(options.seed)
            self._order: NDArray[np.int64] = np.arange(len(images))
            self.on_epoch_end()

        def __len__(self) -> int:
            return -(-len(images) // options.batch_size)

        def __getitem__(self, index: int) -> tuple[Any, Any, Any]:
            part = self._order[index * options.batch_size : (index + 1) * options.batch_size]
            pixels = np.stack([load(images[i].path, preprocessing) for i in part])
            return pixels.astype(np.float32), goals[part], weights[part]

        def on_epoch_end(self) -> None:
            if shuffle:
                self._order = self._generator.permutation(len(images))

    return Batches()
