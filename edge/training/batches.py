"""Images as a stream of batches, read when they are needed and changed on the way.

There may be any number of them. The changes keep what an image shows; they are Keras layers, and
none of them is exported.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.runtime.contract import Preprocessing
from edge.runtime.preprocess import load
from edge.training.options import Augmentation, TuningOptions

Change = Callable[[Any, Any], tuple[Any, Any]]


def changes(options: TuningOptions, seed: int) -> Change:
    """Return a function of (images, targets) that gives changed ones.

    Args:
        options: How images are changed and blended.
        seed: The seed of every random choice.

    Returns:
        Takes and gives float32 images (batch, height, width, 3), RGB 0..255, and float32
        targets (batch, classes), which change with images that are blended.
    """
    import keras

    layers = _single(options.augmentation, seed)
    if options.mirror is not False and layers:
        layers.insert(0, keras.layers.RandomFlip("horizontal", seed=seed))
    blends = []
    if options.mixup > 0:
        blends.append(keras.layers.MixUp(alpha=options.mixup, seed=seed))
    if options.cutmix:
        blends.append(keras.layers.CutMix(seed=seed))

    def change(images: Any, goals: Any) -> tuple[Any, Any]:
        for layer in layers:
            images = layer(images, training=True)
        for blend in blends:
            mixed = blend({"images": images, "labels": goals}, training=True)
            images, goals = mixed["images"], mixed["labels"]
        return images, goals

    return change


def _single(augmentation: Augmentation, seed: int) -> list[Any]:
    """Return the layers that change each image by itself."""
    import keras

    layers = keras.layers
    match augmentation:
        case Augmentation.NONE:
            return []
        case Augmentation.RANDAUGMENT:
            return [layers.RandAugment(value_range=(0, 255), factor=0.3, seed=seed)]
        case Augmentation.BASIC:
            return [
                layers.RandomRotation(0.05, fill_mode="reflect", seed=seed),
                layers.RandomZoom(0.15, fill_mode="reflect", seed=seed),
                layers.RandomTranslation(0.1, 0.1, fill_mode="reflect", seed=seed),
                layers.RandomBrightness(0.15, value_range=(0, 255), seed=seed),
                layers.RandomContrast(0.15, value_range=(0, 255), seed=seed),
            ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Images with what is to be answered.

    Attributes:
        paths: The paths of readable image files.
        goals: (images, classes) float32.
        weights: (images,) float32, the weight of each image in the loss.
    """

    paths: Sequence[Path]
    goals: NDArray[np.float32]
    weights: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchShare:
    """The share of each batch that a process reads.

    Attributes:
        batch_size: The images of the whole batch, over all replicas.
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
        """Return the number of batches in one pass."""
        return -(-images // (self.per_replica * self.replicas))


def stream(
    samples: Samples,
    preprocessing: Preprocessing,
    share: BatchShare,
    *,
    seed: int | None,
    change: Change | None,
) -> Any:
    """Return an endless tf.data set of (images, goals, weights), one element a replica's share.

    Every process draws the same order and reads its share of each batch. The last batch of a
    pass is filled up with images of weight 0, so that all shares are of one size.

    Args:
        samples: The images.
        preprocessing: The contract.
        share: The share of each batch that this process reads.
        seed: The seed of the order, which changes with each pass; None for that of ``samples``.
        change: The change that is applied to each share; None for none.
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
    dataset = tf.data.Dataset.from_generator(
        lambda: _order(samples.weights, share, seed),
        output_signature=(tf.TensorSpec((), tf.int64), tf.TensorSpec((), tf.float32)),
    )
    dataset = dataset.map(decoded, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    dataset = dataset.batch(share.per_replica, drop_remainder=True)
    if change is not None:
        changed = change
        # One batch after another: the random numbers have an order.
        dataset = dataset.map(lambda images, goal, weight: (*changed(images, goal), weight))
    return dataset.prefetch(1)


def _order(
    weights: NDArray[np.float32], share: BatchShare, seed: int | None
) -> Iterator[tuple[int, np.float32]]:
    """Yield (index, weight) of this process's share, pass after pass, without end."""
    generator = None if seed is None else np.random.default_rng(seed)
    images = len(weights)
    total = share.steps(images) * share.per_replica * share.replicas
    own = share.per_replica * share.replicas // share.processes
    while True:
        order = np.arange(images) if generator is None else generator.permutation(images)
        positions = np.arange(total).reshape(-1, share.processes, own)[:, share.number]
        for position in positions.reshape(-1):
            inside = position < images
            index = order[position % images]
            yield index, weights[index] if inside else np.float32(0)
