"""The heads: one that is trained on features by gradients, and one that is fitted without them.

What a fitted head has to choose, it chooses by leave-one-out on the training images: each is judged
by the head of all the others. No validation images are needed, so that all of them may teach.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import TrainingError
from edge.runtime.head import Head, class_sums, normalised, softmax, votes
from edge.runtime.output import HeadKind, HeadSpec
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

MIN_DELTA: Final = (
    1e-3  # an epoch that lowers the validation loss by less is no better than the last
)


@dataclass(frozen=True, slots=True)
class Examples:
    """Features (images, features) float32 with the class index of each image, int64."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """A head and how its training went.

    Attributes:
        model: A Keras model, (batch, features) -> (batch, classes).
        epochs: How many passes over the images made the final weights.
        history: Loss, accuracy, val_loss and val_accuracy of each epoch of the search.
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
        train: The examples to learn from.
        validation: The examples to stop by.
        classes: The number of classes.
        options: How to train.
        on_epoch: Told of each pass of the search.
        keep_apart: Whether to learn from ``train`` alone: validation judges what comes after.

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
        """Return loss and accuracy of each epoch, until validation stops getting better."""
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
        """Return the Keras model, trained from the same start for so many epochs."""
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


PATH: Final = "head/head.npz"
VOTING_SCALE: Final = 1 / 0.07  # Wu et al. 2018, arXiv:1805.01978
USUAL_SCALE: Final = 20.0  # where no class has two images to leave one out of
SCALES: Final = (1.0, 500.0)
KS: Final = (1, 3, 5, 7, 9, 15, 25)
AT_ONCE: Final = 512  # images whose similarities to all others are in memory
GOLDEN: Final = (5**0.5 - 1) / 2


def fit_head(
    kind: HeadKind,
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    names: tuple[str, ...],
    *,
    k: int | None = None,
) -> Head:
    """Return the head of the training images.

    Args:
        kind: The kind of head.
        features: (images, features) float32, as the base gives them.
        labels: (images,) class index; each class has an image.
        names: The names of the classes.
        k: The number of voters of k-NN; None to choose it.

    Raises:
        TrainingError: A class without images, or features that are not finite.
    """
    if set(np.unique(labels).tolist()) != set(range(len(names))):
        raise TrainingError("a class has no image to learn from")
    if not np.isfinite(features).all():
        raise TrainingError("the base gives features that are not finite (NaN or infinity)")
    vectors = normalised(features)
    if kind is HeadKind.KNN:
        voters = k or choose_k(vectors, labels, len(names))
        spec = HeadSpec(kind=kind, path=PATH, scale=VOTING_SCALE, k=voters)
        return Head(spec=spec, labels=names, vectors=vectors, classes=labels)
    sums = class_sums(vectors, labels, len(names))
    spec = HeadSpec(kind=kind, path=PATH, scale=fit_scale(vectors, labels, sums))
    classes = np.arange(len(names), dtype=np.int64)
    return Head(spec=spec, labels=names, vectors=sums, classes=classes)


def choose_k(vectors: NDArray[np.float32], labels: NDArray[np.int64], count: int) -> int:
    """Return the number of voters with most images right, each judged by all the others.

    Args:
        vectors: (images, features), of length 1.
        labels: (images,).
        count: How many classes.
    """
    usable = [k for k in KS if k < len(vectors)] or [1]
    right = dict.fromkeys(usable, 0)
    brier = dict.fromkeys(usable, 0.0)
    for start in range(0, len(vectors), AT_ONCE):
        truth = labels[start : start + AT_ONCE]
        similarities = vectors[start : start + AT_ONCE] @ vectors.T
        rows = np.arange(len(truth))
        similarities[rows, start + rows] = -np.inf
        for k in usable:
            shares = votes(similarities, labels, count, k=k, scale=VOTING_SCALE)
            right[k] += int((shares.argmax(axis=1) == truth).sum())
            shares[rows, truth] -= 1
            brier[k] += float((shares**2).sum())
    return max(usable, key=lambda k: (right[k], -brier[k], -k))


def fit_scale(
    vectors: NDArray[np.float32], labels: NDArray[np.int64], sums: NDArray[np.float32]
) -> float:
    """Return the factor of the cosines with the least negative log-likelihood, leave-one-out.

    An image is compared with the mean of the others of its class, and with the means of the other
    classes. The function is convex in the scale (a sum of log-sum-exp of linear functions), so
    that a golden-section search finds its least value.

    Args:
        vectors: (images, features), of length 1.
        labels: (images,).
        sums: (classes, features), the sums of the vectors of each class.
    """
    several = np.bincount(labels)[labels] > 1
    if not several.any():
        return USUAL_SCALE
    kept, truth = vectors[several], labels[several]
    cosines = kept @ normalised(sums).T
    rows = np.arange(len(truth))
    cosines[rows, truth] = (kept * normalised(sums[truth] - kept)).sum(axis=1)

    def loss(scale: float) -> float:
        right = softmax(scale * cosines)[rows, truth]
        return float(-np.log(np.maximum(right, np.finfo(np.float32).tiny)).mean())

    return least(loss, *SCALES)


def least(function: Callable[[float], float], low: float, high: float) -> float:
    """Find where a convex function is least between two ends, to a thousandth of the width."""
    width = high - low
    while high - low > width / 1000:
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        if function(left) <= function(right):
            high = right
        else:
            low = left
    return round((low + high) / 2, 3)
