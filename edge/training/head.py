"""The head: what is trained on the features, and how."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.training.models import new_head
from edge.training.objective import (
    diverged,
    image_weights,
    is_sparse,
    loss_of,
    optimizer_of,
    scaled,
    targets,
)
from edge.training.options import HeadOptions

MIN_DELTA: Final = 1e-3  # of the validation loss, below which an epoch is no better than the last


@dataclass(frozen=True, slots=True)
class Examples:
    """Features (images, features) float32 with the class index of each image, int64."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """A head and how its training went.

    Attributes:
        model: Keras model, (batch, features) -> (batch, classes).
        epochs: Passes over the training and validation images that made the final weights.
        history: Per epoch of the search: loss, accuracy, val_loss, val_accuracy.
    """

    model: Any
    epochs: int
    history: dict[str, list[float]]


def train_head(
    train: Examples,
    validation: Examples,
    classes: int,
    options: HeadOptions,
    on_epoch: Callable[[], None] = lambda: None,
    *,
    keep_apart: bool = False,
) -> TrainedHead:
    """Find the best number of epochs on the validation images, then train on all of both.

    Early stopping needs images that are not trained on, and a small data set cannot spare them:
    the final head is trained anew on training and validation images together, for as many
    epochs as gave the lowest validation loss.

    Args:
        train: To learn from.
        validation: To stop by.
        classes: How many.
        options: How.
        on_epoch: Told of each pass of the search.
        keep_apart: Learn from ``train`` alone, since validation is to judge what comes after.

    Raises:
        UsageError: Unknown optimizer or loss.
        TrainingError: The loss became NaN or infinite.
    """
    loop = HeadLoop(train.features.shape[1], classes, options)
    history = loop.search(train, validation, on_epoch)
    epochs = int(np.argmin(history["val_loss"])) + 1
    learned = train if keep_apart else _together(train, validation)
    return TrainedHead(loop.refit(learned, epochs), epochs, history)


def _together(train: Examples, validation: Examples) -> Examples:
    return Examples(
        np.concatenate([train.features, validation.features]),
        np.concatenate([train.labels, validation.labels]),
    )


class HeadLoop:
    """Trains a head on features in memory.

    A whole epoch is one call of one traced function. ``Model.fit`` spends 80 to 100 ms an epoch
    on its own bookkeeping, ten times what the arithmetic of a head takes.
    """

    def __init__(self, features: int, classes: int, options: HeadOptions) -> None:
        import keras
        import tensorflow as tf

        self._tf, self._classes, self._options = tf, classes, options
        self._loss = loss_of(options)
        keras.utils.set_random_seed(options.seed)
        self._model = new_head(features, options.hidden, classes)
        rate = scaled(options.learning_rate, options.batch_size)
        self._optimizer = optimizer_of(options, rate)
        self._optimizer.build(self._model.trainable_variables)
        self._fresh = self._model.get_weights(), [v.numpy() for v in self._optimizer.variables]
        vectors = tf.TensorSpec((None, features), tf.float32)
        sparse = is_sparse(options)
        goals = tf.TensorSpec(
            (None,) if sparse else (None, classes), tf.int64 if sparse else tf.float32
        )
        labels, weights = tf.TensorSpec((None,), tf.int64), tf.TensorSpec((None,), tf.float32)
        self._traced = tf.function(
            self._epoch, input_signature=[vectors, goals, labels, weights, vectors, goals, labels]
        )

    def search(
        self, train: Examples, validation: Examples, on_epoch: Callable[[], None]
    ) -> dict[str, list[float]]:
        """Loss and accuracy of each epoch until validation has stopped getting better."""
        names = ("loss", "accuracy", "val_loss", "val_accuracy")
        history: dict[str, list[float]] = {name: [] for name in names}
        best, waited = np.inf, 0
        for values in self._epochs(train, validation, self._options.epochs):
            for name, value in zip(names, values, strict=True):
                history[name].append(value)
            on_epoch()
            waited += 1
            if values[2] < best - MIN_DELTA:
                best, waited = values[2], 0
            if waited >= self._options.patience:
                break
        return history

    def refit(self, examples: Examples, epochs: int) -> Any:
        """The Keras model, trained from the same start for so many epochs."""
        self._model.set_weights(self._fresh[0])
        for variable, value in zip(self._optimizer.variables, self._fresh[1], strict=True):
            variable.assign(value)
        for _ in self._epochs(
            examples, Examples(examples.features[:1], examples.labels[:1]), epochs
        ):
            pass
        return self._model

    def _epochs(
        self, train: Examples, validation: Examples, count: int
    ) -> Iterator[tuple[float, float, float, float]]:
        tf, options = self._tf, self._options
        weights = image_weights(train.labels, self._classes, options)
        generator = np.random.default_rng(self._options.seed)
        checked = (
            tf.constant(validation.features),
            tf.constant(targets(validation.labels, self._classes, options)),
            tf.constant(validation.labels),
        )
        for _ in range(count):
            order = generator.permutation(len(train.labels))
            labels = train.labels[order]
            goals = targets(labels, self._classes, options)
            values = self._traced(train.features[order], goals, labels, weights[order], *checked)
            first, second, third, fourth = (float(value) for value in values)
            if not np.isfinite((first, third)).all():
                raise diverged()
            yield first, second, third, fourth

    def _epoch(self, x: Any, y: Any, label: Any, weight: Any, vx: Any, vy: Any, vlabel: Any) -> Any:
        tf, batch = self._tf, self._options.batch_size
        images = tf.shape(x)[0]
        loss, right = tf.constant(0.0), tf.constant(0.0)
        for start in tf.range(0, images, batch):
            stop = tf.minimum(start + batch, images)
            with tf.GradientTape() as tape:
                answer = self._model(x[start:stop], training=True)
                part = tf.reduce_mean(self._loss(y[start:stop], answer) * weight[start:stop])
            variables = self._model.trainable_variables
            self._optimizer.apply(tape.gradient(part, variables), variables)
            loss += part * tf.cast(stop - start, tf.float32)
            right += self._right(answer, label[start:stop])
        count = tf.cast(images, tf.float32)
        answer = self._model(vx, training=False)
        checked = tf.cast(tf.shape(vx)[0], tf.float32)
        validation = tf.reduce_mean(self._loss(vy, answer))
        return loss / count, right / count, validation, self._right(answer, vlabel) / checked

    def _right(self, answer: Any, label: Any) -> Any:
        best = self._tf.argmax(answer, axis=-1, output_type=label.dtype)
        return self._tf.reduce_sum(self._tf.cast(best == label, self._tf.float32))
