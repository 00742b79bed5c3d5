"""The head: what is trained on the features, and how."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import TrainingError, UsageError
from edge.training.models import new_head

SPARSE: Final = "sparse_categorical_crossentropy"
MIN_DELTA: Final = 1e-3  # of the validation loss, below which an epoch is no better than the last


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadOptions:
    """How a head is built and trained.

    Attributes:
        hidden: Units of each dense ReLU layer before the softmax; empty for none.
        optimizer: Name of any Keras optimizer.
        loss: Name of any Keras classification loss.
        learning_rate: Of the optimizer.
        batch_size: Images per step.
        epochs: At most so many passes.
        patience: Epochs without a better validation loss before training stops.
        class_weights: Weigh each class by the inverse of its share of the training images.
        seed: Of the initial weights and the shuffling.
    """

    hidden: tuple[int, ...] = ()
    optimizer: str = "adam"
    loss: str = SPARSE
    learning_rate: float = 1e-3
    batch_size: int = 32
    epochs: int = 100
    patience: int = 5
    class_weights: bool = True
    seed: int = 0

    def to_json(self) -> dict[str, Any]:
        """The options as JSON values."""
        return asdict(self)


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


def parse_hidden(text: str) -> tuple[int, ...]:
    """``none``, or units separated by commas, such as ``128`` or ``256,128``.

    Raises:
        UsageError: Anything else.
    """
    if text.strip().lower() == "none":
        return ()
    try:
        units = tuple(int(part) for part in text.split(","))
    except ValueError:
        units = (0,)
    if any(unit < 1 for unit in units):
        raise UsageError(
            f"--head {text!r} is not a head", hint="Use none, or units such as 128 or 256,128."
        )
    return units


def check_options(options: HeadOptions) -> None:
    """Refuse an optimizer or a loss that Keras does not know, before any work is done.

    Raises:
        UsageError: With the reason.
    """
    _optimizer(options)
    _loss(options)


def train_head(
    train: Examples,
    validation: Examples,
    classes: int,
    options: HeadOptions,
    on_epoch: Callable[[], None] = lambda: None,
) -> TrainedHead:
    """Find the best number of epochs on the validation images, then train on all of both.

    Early stopping needs images that are not trained on, and a small data set cannot spare them:
    the final head is trained anew on training and validation images together, for as many
    epochs as gave the lowest validation loss.

    Raises:
        UsageError: Unknown optimizer or loss.
        TrainingError: The loss became NaN or infinite.
    """
    loop = HeadLoop(train.features.shape[1], classes, options)
    history = loop.search(train, validation, on_epoch)
    epochs = int(np.argmin(history["val_loss"])) + 1
    together = Examples(
        np.concatenate([train.features, validation.features]),
        np.concatenate([train.labels, validation.labels]),
    )
    return TrainedHead(loop.refit(together, epochs), epochs, history)


class HeadLoop:
    """Trains a head on features in memory.

    A whole epoch is one call of one traced function. ``Model.fit`` spends 80 to 100 ms an epoch
    on its own bookkeeping, ten times what the arithmetic of a head takes.
    """

    def __init__(self, features: int, classes: int, options: HeadOptions) -> None:
        import keras
        import tensorflow as tf

        self._tf, self._classes, self._options = tf, classes, options
        self._loss = _loss(options)
        keras.utils.set_random_seed(options.seed)
        self._model = new_head(features, options.hidden, classes)
        self._optimizer = _optimizer(options)
        self._optimizer.build(self._model.trainable_variables)
        self._fresh = self._model.get_weights(), [v.numpy() for v in self._optimizer.variables]
        vectors = tf.TensorSpec((None, features), tf.float32)
        sparse = "sparse" in options.loss
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
        tf, loss = self._tf, self._options.loss
        weights = np.ones(self._classes, np.float32)
        if self._options.class_weights:
            weights = class_weights(train.labels, self._classes)
        generator = np.random.default_rng(self._options.seed)
        checked = (
            tf.constant(validation.features),
            tf.constant(targets(validation.labels, self._classes, loss)),
            tf.constant(validation.labels),
        )
        for _ in range(count):
            order = generator.permutation(len(train.labels))
            labels = train.labels[order]
            goals = targets(labels, self._classes, loss)
            values = self._traced(train.features[order], goals, labels, weights[labels], *checked)
            first, second, third, fourth = (float(value) for value in values)
            if not np.isfinite((first, third)).all():
                raise _diverged()
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


def compile_classifier(model: Any, options: HeadOptions, learning_rate_scale: float) -> None:
    """Compile for ``Model.fit`` with the options' optimizer and loss."""
    optimizer = _optimizer(options)
    optimizer.learning_rate = options.learning_rate * learning_rate_scale
    model.compile(optimizer=optimizer, loss=_loss(options), metrics=["accuracy"])


def finished(head: Any, history: dict[str, list[Any]]) -> TrainedHead:
    """A head that ``Model.fit`` trained, its history as plain numbers.

    Raises:
        TrainingError: The loss became NaN or infinite.
    """
    numbers = {name: [float(value) for value in values] for name, values in history.items()}
    if not np.isfinite(numbers["loss"]).all():
        raise _diverged()
    return TrainedHead(head, len(numbers["loss"]), numbers)


def _diverged() -> TrainingError:
    return TrainingError(
        "the training loss became NaN or infinite",
        hint="Use a lower --learning-rate or another --optimizer or --loss.",
    )


def targets(labels: NDArray[np.int64], classes: int, loss: str) -> NDArray[Any]:
    """Class indices for a sparse loss, one-hot rows (images, classes) float32 for any other."""
    if "sparse" in loss.lower():
        return labels
    return np.eye(classes, dtype=np.float32)[labels]


def class_weights(labels: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """(classes,) n / (classes * n_c): the "balanced" heuristic of King and Zeng (2001)."""
    counts = np.maximum(np.bincount(labels, minlength=classes), 1)
    return (len(labels) / (classes * counts)).astype(np.float32)


def _optimizer(options: HeadOptions) -> Any:
    import keras

    try:
        optimizer = keras.optimizers.get(options.optimizer)
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"Keras has no optimizer {options.optimizer!r}",
            hint="For example adam, adamw, sgd, rmsprop, lion, adagrad, nadam.",
        ) from error
    optimizer.learning_rate = options.learning_rate
    return optimizer


def _loss(options: HeadOptions) -> Any:
    import keras

    try:
        loss = keras.losses.get(options.loss)
        return getattr(loss, "__wrapped__", loss)
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"Keras has no loss {options.loss!r}",
            hint="For example sparse_categorical_crossentropy, categorical_crossentropy, "
            "categorical_focal_crossentropy, kl_divergence.",
        ) from error
