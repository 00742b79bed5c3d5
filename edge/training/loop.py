"""The loop that trains through the base, on one device, on several, or on several machines.

It is our own, since ``Model.fit`` of Keras 3 does not run under MultiWorkerMirroredStrategy (seen
with keras 3.15: it converts a PerReplica value to a tensor). Each step is one traced function.
"""

import os
from collections.abc import Callable, Iterator
from functools import cache as once
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import UsageError
from edge.runtime import checked
from edge.runtime.contract import Preprocessing
from edge.training.batches import BatchShare, Change, Samples, stream
from edge.training.objective import diverged, loss_of
from edge.training.options import HeadOptions

NAMES: Final = ("loss", "accuracy", "val_loss", "val_accuracy")
History = dict[str, list[float]]


class TuningLoop:
    """Trains the layers of a model that are trainable.

    The whole model runs in inference mode: batch normalisation uses the statistics that the base
    brought along, which few images could only spoil.

    Args:
        model: A Keras model, RGB 0..255 -> probabilities; built within the strategy's scope.
        optimizer: The optimizer, built likewise; its learning rate is its own matter.
        options: The loss, the batch size and the seed.
        strategy: The strategy of ``tf.distribute``.
    """

    def __init__(self, model: Any, optimizer: Any, options: HeadOptions, strategy: Any) -> None:
        import tensorflow as tf

        self._tf, self._model, self._optimizer = tf, model, optimizer
        self._strategy, self._options = strategy, options
        self._loss = loss_of(options, dense=True)
        self._train = tf.function(lambda batch: self._summed(self._learn, batch))
        self._check = tf.function(lambda batch: self._summed(self._judge, batch))

    def fit(
        self,
        train: Samples,
        validation: Samples,
        preprocessing: Preprocessing,
        change: Callable[[int], Change],
        *,
        epochs: int,
        patience: int,
        on_batch: Callable[[], None],
    ) -> History:
        """Train until validation has stopped getting better; the best weights are kept.

        Args:
            train: The images to learn from.
            validation: The images to stop by.
            preprocessing: The contract.
            change: Gives the augmentation of a reading process by its number.
            epochs: The largest number of passes.
            patience: Passes without a lower validation loss before the end.
            on_batch: Told of each batch learned.

        Raises:
            TrainingError: The loss became NaN or infinite.
        """
        learned = self._batches(train, preprocessing, self._options.seed, change)
        checked = self._batches(validation, preprocessing, None, None)
        history: History = {name: [] for name in NAMES}
        best, waited, weights = np.inf, 0, self._model.get_weights()
        for _ in range(epochs):
            values = (
                *self._pass(self._train, learned, train, on_batch),
                *self._pass(self._check, checked, validation, lambda: None),
            )
            if not np.isfinite(values).all():
                raise diverged()
            for name, value in zip(NAMES, values, strict=True):
                history[name].append(value)
            waited += 1
            if values[2] < best:
                best, waited, weights = values[2], 0, self._model.get_weights()
            if waited >= patience:
                break
        self._model.set_weights(weights)
        return history

    def _batches(
        self,
        samples: Samples,
        preprocessing: Preprocessing,
        seed: int | None,
        change: Callable[[int], Change] | None,
    ) -> Iterator[Any]:
        replicas = self._strategy.num_replicas_in_sync

        def read(context: Any) -> Any:
            number = context.input_pipeline_id
            share = self._share(number, context.num_input_pipelines, replicas)
            changed = None if change is None else change(number)
            return stream(samples, preprocessing, share, seed=seed, change=changed)

        return iter(self._strategy.distribute_datasets_from_function(read))

    def _share(self, number: int, processes: int, replicas: int) -> BatchShare:
        return BatchShare(
            batch_size=self._options.batch_size,
            replicas=replicas,
            number=number,
            processes=processes,
        )

    def _pass(
        self, step: Any, batches: Iterator[Any], samples: Samples, on_batch: Callable[[], None]
    ) -> tuple[float, float]:
        """Return the mean loss and accuracy over one pass."""
        steps = self._share(0, 1, self._strategy.num_replicas_in_sync).steps(len(samples.paths))
        sums: NDArray[np.float64] = np.zeros(2)
        for _ in range(steps):
            sums += np.array([float(value) for value in step(next(batches))])
            on_batch()
        return float(sums[0] / len(samples.paths)), float(sums[1] / len(samples.paths))

    def _summed(self, step: Any, batch: Any) -> Any:
        """Return the loss and right answers of a batch, summed over its images."""
        images, goals, weights = batch
        counted = self._strategy.run(self._real, args=(weights,))
        size = self._strategy.reduce("SUM", counted, axis=None)
        values = self._strategy.run(step, args=(images, goals, weights, size))
        return [self._strategy.reduce("SUM", value, axis=None) for value in values]

    def _learn(self, images: Any, goals: Any, weights: Any, size: Any) -> Any:
        tf = self._tf
        with tf.GradientTape() as tape:
            answer = self._model(images, training=False)
            loss = tf.reduce_sum(self._loss(goals, answer) * weights)
            mean = loss / size
        variables = self._model.trainable_variables
        gradients = tape.gradient(mean, variables)
        self._optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss, self._right(answer, goals, weights)

    def _judge(self, images: Any, goals: Any, weights: Any, size: Any) -> Any:  # noqa: ARG002
        answer = self._model(images, training=False)
        loss = self._tf.reduce_sum(self._loss(goals, answer) * weights)
        return loss, self._right(answer, goals, weights)

    def _right(self, answer: Any, goals: Any, weights: Any) -> Any:
        """Count right answers; of a blended image, the class with the larger part is right."""
        tf = self._tf
        same = tf.argmax(answer, axis=-1) == tf.argmax(goals, axis=-1)
        return tf.reduce_sum(tf.cast(same & (weights > 0), tf.float32))

    def _real(self, weights: Any) -> Any:
        return self._tf.reduce_sum(self._tf.cast(weights > 0, self._tf.float32))


TF_CONFIG = "TF_CONFIG"


def is_distributed() -> bool:
    """Return whether this process is one of a cluster."""
    return bool(os.environ.get(TF_CONFIG))


@once
def distribution_strategy() -> Any:
    """Return the ``tf.distribute`` strategy that the environment asks for.

    With ``TF_CONFIG`` set, MultiWorkerMirroredStrategy; with more than one GPU (or more than one
    logical CPU device), MirroredStrategy; else TensorFlow's default.

    Raises:
        UsageError: ``TF_CONFIG`` does not describe a cluster with this task in it.
    """
    import tensorflow as tf

    if is_distributed():
        _check_config(os.environ[TF_CONFIG])
        return tf.distribute.MultiWorkerMirroredStrategy()
    for kind in ("GPU", "CPU"):
        devices = tf.config.list_logical_devices(kind)
        if len(devices) > 1:
            return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.get_strategy()


def is_chief() -> bool:
    """Return whether this process is the one that writes: the only one, or the first worker."""
    text = os.environ.get(TF_CONFIG)
    if not text:
        return True
    _check_config(text)
    config = checked.parse_json(text, "the value")
    task, cluster = config["task"], config["cluster"]
    return bool(task["type"] == "chief" or ("chief" not in cluster and task["index"] == 0))


def _check_config(text: str) -> None:
    try:
        config = checked.parse_json(text, "the value")
        task, cluster = config["task"], config["cluster"]
        addresses = cluster[task["type"]]
        known = 0 <= task["index"] < len(addresses)
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"TF_CONFIG cannot be read: {error!r}", hint=HINT) from error
    if not known or task["type"] not in {"chief", "worker"}:
        raise UsageError(f"TF_CONFIG names task {task}, the cluster is {cluster}", hint=HINT)


HINT = (
    'For the first of two workers: {"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
    '"task": {"type": "worker", "index": 0}}.'
)
