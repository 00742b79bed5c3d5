"""Images as a stream of batches: read when they are needed, so that they may be any number."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.runtime.preprocess import load
from edge.runtime.spec import Preprocessing
from edge.training.augmentation import Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Images with what is to be answered.

    Attributes:
        paths: Of readable image files.
        goals: (images, classes) float32.
        weights: (images,) float32, of each image in the loss.
    """

    paths: Sequence[Path]
    goals: NDArray[np.float32]
    weights: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Which part of each batch a process reads.

    Attributes:
        batch_size: Of the whole batch, over all replicas.
        replicas: How many share a batch.
        number: Which of the processes that read this one is, from 0.
        processes: How many read.
    """

    batch_size: int
    replicas: int = 1
    number: int = 0
    processes: int = 1

    @property
    def per_replica(self) -> int:
        """Images of a batch that one replica takes."""
        return -(-self.batch_size // self.replicas)

    def steps(self, images: int) -> int:
        """Batches in one pass."""
        return -(-images // (self.per_replica * self.replicas))


def stream(
    samples: Samples,
    preprocessing: Preprocessing,
    part: Part,
    *,
    seed: int | None,
    change: Change | None,
) -> Any:
    """An endless tf.data set of (images, goals, weights), one element a replica's share.

    Every process draws the same order and reads its share of each batch. The last batch of a
    pass is filled up with images of weight 0, so that all shares are of one size.

    Args:
        samples: The images.
        preprocessing: The contract.
        part: Whose share.
        seed: Of the order, which is another in each pass; None for the order of ``samples``.
        change: Applied to each share.
    """
    import tensorflow as tf

    def decoded(index: Any, weight: Any) -> Any:
        pixels = tf.numpy_function(
            lambda i: load(samples.paths[int(i)], preprocessing), [index], tf.uint8, stateful=False
        )
        pixels.set_shape(preprocessing.shape)
        return tf.cast(pixels, tf.float32), tf.gather(goals, index), weight

    with tf.device("CPU:0"):
        goals = tf.constant(samples.goals)
    found = tf.data.Dataset.from_generator(
        lambda: _order(samples.weights, part, seed),
        output_signature=(tf.TensorSpec((), tf.int64), tf.TensorSpec((), tf.float32)),
    )
    found = found.map(decoded, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    found = found.batch(part.per_replica, drop_remainder=True)
    if change is not None:
        changed = change
        # One batch after another: the random numbers have an order.
        found = found.map(lambda images, goal, weight: (*changed(images, goal), weight))
    return found.prefetch(1)


def _order(
    weights: NDArray[np.float32], part: Part, seed: int | None
) -> Iterator[tuple[int, np.float32]]:
    """(index, weight) of this process's share, pass after pass, without end."""
    generator = None if seed is None else np.random.default_rng(seed)
    images = len(weights)
    total = part.steps(images) * part.per_replica * part.replicas
    share = part.per_replica * part.replicas // part.processes
    while True:
        order = np.arange(images) if generator is None else generator.permutation(images)
        positions = np.arange(total).reshape(-1, part.processes, share)[:, part.number]
        for position in positions.reshape(-1):
            inside = position < images
            index = order[position % images]
            yield index, weights[index] if inside else np.float32(0)
