"""Reptile: an initialisation from which a few steps learn a new task (Nichol et al. 2018).

arXiv:1803.02999, algorithm 2 in its batched form: from the weights w, ``meta_batch`` tasks are
learnt for ``inner_iterations`` steps of Adam with beta1 = 0 each, to weights w_i; then
w += epsilon * (mean(w_i) - w), where epsilon falls linearly from ``meta_step`` to 0.

As in the authors' program, the second moments of Adam live on from task to task, and those at the
end of the training belong to the initialisation. Here the tasks of one meta-batch run side by
side from the same moments, whose mean is kept; there one follows the other.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.cache import StageCache, content_key
from edge.fewshot.episodes import Episode, mini_batches
from edge.fewshot.networks import EpisodeNetwork, Weights
from edge.fewshot.options import ReptileOptions
from edge.progress import Step
from edge.runtime.files import write_bytes, write_json
from edge.runtime.head import npz

BETA2: Final = 0.999
ADAM_EPSILON: Final = 1e-8
EPISODES_AT_ONCE: Final = 10


@dataclass(frozen=True, slots=True)
class Initialisation:
    """The state from which every episode starts.

    Attributes:
        weights: The weights, as the network takes them.
        moments: The second moments of Adam, of the same shapes.
        steps: The number of steps that these moments are the sum of.
    """

    weights: Weights
    moments: Weights
    steps: int

    @classmethod
    def random(cls, network: EpisodeNetwork, ways: int, seed: int) -> "Initialisation":
        """Return random weights, without any training."""
        weights = network.initial(ways, np.random.default_rng(seed))
        return cls(weights, [np.zeros_like(item) for item in weights], 0)


class Learner:
    """Learns tasks on one table of inputs.

    Args:
        network: The network that is trained.
        inputs: (rows, *input), float32, or uint8 whose 0..255 stands for 0..1.
        options: The parameters of the training.
    """

    def __init__(
        self, network: EpisodeNetwork, inputs: NDArray[Any], options: ReptileOptions
    ) -> None:
        import tensorflow as tf

        self._network = network
        self._options = options
        self._inputs = tf.constant(inputs)
        self._scale = 1 / 255 if inputs.dtype == np.uint8 else 1.0
        self._meta = tf.function(self._meta_graph, reduce_retracing=True)
        self._adapt = tf.function(self._adapt_graph, reduce_retracing=True)

    def meta_train(
        self,
        start: Initialisation,
        classes: Sequence[NDArray[np.int64]],
        *,
        ways: int,
        seed: int,
        first: int,
        last: int,
        step: Callable[[int], None],
    ) -> Initialisation:
        """Run the meta-iterations ``first`` to ``last`` - 1; each draws from a seed of its own.

        Args:
            start: The state before iteration ``first``.
            classes: The rows of the inputs of each class to train on; at least ``ways`` classes.
            ways: The number of classes in a task.
            seed: The seed of the tasks.
            first: The number of iterations that ``start`` has behind it.
            last: The number of iterations that the returned state has behind it.
            step: It is told of each iteration.
        """
        options = self._options
        weights, moments, steps = _tensors(start)
        for iteration in range(first, last):
            rows, labels = self._tasks(classes, ways, np.random.default_rng([seed, iteration]))
            epsilon = options.meta_step * (1 - iteration / options.iterations)
            weights, moments, steps = self._meta(
                weights, moments, steps, rows, labels, np.float32(epsilon)
            )
            step(1)
        return Initialisation(
            [item.numpy() for item in weights], [item.numpy() for item in moments], int(steps)
        )

    def answers(
        self,
        start: Initialisation,
        episodes: Sequence[Episode],
        *,
        seed: int,
        step: Callable[[int], None],
    ) -> list[NDArray[np.int64]]:
        """Answer the queries of each episode, after learning from its support: (ways x queries,).

        This is transductive: the queries of an episode go through the network as one batch, whose
        statistics the batch normalisation takes.
        """
        weights, moments, steps = _tensors(start)
        classes: list[NDArray[np.int64]] = []
        for begin in range(0, len(episodes), EPISODES_AT_ONCE):
            some = episodes[begin : begin + EPISODES_AT_ONCE]
            batches = [
                self._batches(episode, np.random.default_rng([seed, begin + number]))
                for number, episode in enumerate(some)
            ]
            logits = self._adapt(
                weights,
                moments,
                steps,
                np.stack([rows for rows, _ in batches]),
                np.stack([labels for _, labels in batches]),
                np.stack([episode.queries.reshape(-1) for episode in some]),
            )
            classes += list(np.argmax(logits.numpy(), axis=-1))
            step(len(some))
        return classes

    def _tasks(
        self, classes: Sequence[NDArray[np.int64]], ways: int, generator: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw rows and labels (tasks, inner iterations, inner batch) of one meta-iteration."""
        options = self._options
        tasks = []
        for _ in range(options.meta_batch):
            chosen = generator.choice(len(classes), ways, replace=False)
            shown = [generator.permutation(classes[c])[: options.train_shots] for c in chosen]
            rows = np.concatenate(shown)
            labels = np.repeat(np.arange(ways), [len(item) for item in shown])
            order = mini_batches(
                len(rows),
                min(options.inner_batch, len(rows)),
                options.inner_iterations,
                generator,
            )
            tasks.append((rows[order], labels[order]))
        return np.stack([rows for rows, _ in tasks]), np.stack([labels for _, labels in tasks])

    def _batches(
        self, episode: Episode, generator: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        options = self._options
        rows = episode.support.reshape(-1)
        order = mini_batches(
            len(rows), min(options.inner_batch, len(rows)), options.episode_iterations, generator
        )
        return rows[order], episode.support_labels[order]

    def _meta_graph(
        self, weights: Any, moments: Any, steps: Any, rows: Any, labels: Any, epsilon: Any
    ) -> Any:
        import tensorflow as tf

        kinds = [tf.float32] * len(weights)
        learnt, kept = tf.map_fn(
            lambda task: self._inner(weights, moments, steps, *task),
            (rows, labels),
            fn_output_signature=(kinds, kinds),
            parallel_iterations=self._options.meta_batch,
        )
        moved = [
            old + epsilon * (tf.reduce_mean(new, 0) - old)
            for old, new in zip(weights, learnt, strict=True)
        ]
        return moved, [tf.reduce_mean(item, 0) for item in kept], steps + tf.shape(rows)[1]

    def _adapt_graph(
        self, weights: Any, moments: Any, steps: Any, rows: Any, labels: Any, queries: Any
    ) -> Any:
        import tensorflow as tf

        def one(episode: Any) -> Any:
            learnt, _ = self._inner(weights, moments, steps, episode[0], episode[1])
            return self._network.logits(learnt, self._gathered(episode[2]))

        return tf.map_fn(
            one,
            (rows, labels, queries),
            fn_output_signature=tf.float32,
            parallel_iterations=EPISODES_AT_ONCE,
        )

    def _inner(self, weights: Any, moments: Any, steps: Any, rows: Any, labels: Any) -> Any:
        """Return weights and moments after a step of Adam with beta1 = 0 on each mini-batch."""
        import tensorflow as tf

        def body(number: Any, weights: Any, moments: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(weights)
                logits = self._network.logits(weights, self._gathered(rows[number]))
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels[number], logits)
                loss = tf.reduce_mean(losses)
            gradients = tape.gradient(loss, weights)
            count = tf.cast(steps + number + 1, tf.float32)
            rate = self._options.learning_rate * tf.sqrt(1 - BETA2**count)
            moments = [
                BETA2 * moment + (1 - BETA2) * gradient * gradient
                for moment, gradient in zip(moments, gradients, strict=True)
            ]
            weights = [
                weight - rate * gradient / (tf.sqrt(moment) + ADAM_EPSILON)
                for weight, gradient, moment in zip(weights, gradients, moments, strict=True)
            ]
            return number + 1, weights, moments

        _, weights, moments = tf.while_loop(
            lambda number, *_: number < tf.shape(rows)[0],
            body,
            (tf.constant(0), list(weights), list(moments)),
        )
        return weights, moments

    def _gathered(self, rows: Any) -> Any:
        import tensorflow as tf

        return tf.cast(tf.gather(self._inputs, rows), tf.float32) * self._scale


def _tensors(start: Initialisation) -> tuple[list[Any], list[Any], Any]:
    import tensorflow as tf

    weights = [tf.constant(item) for item in start.weights]
    moments = [tf.constant(item) for item in start.moments]
    return weights, moments, tf.constant(start.steps)


MILESTONES: Final = 10  # states kept on the way; a killed run loses at most a tenth of the work
ARRAYS: Final = "initialisation.npz"
RECORD: Final = "record.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetaTrained:
    """A meta-trained initialisation.

    Attributes:
        start: The state from which every episode starts.
        key: Its content key.
        seconds: The time that the training took, over all runs that had a part in it.
    """

    start: Initialisation
    key: str
    seconds: float


def meta_trained(
    learner: Learner,
    network: EpisodeNetwork,
    classes: Sequence[NDArray[np.int64]],
    *,
    ways: int,
    iterations: int,
    seed: int,
    parts: Mapping[str, object],
    cache: StageCache,
    step: Step,
) -> MetaTrained:
    """Return the initialisation after ``iterations``, from the cache as far as that goes.

    Args:
        learner: The learner on the inputs that ``classes`` are rows of.
        network: The network of the learner.
        classes: The rows of the inputs of each class to train on.
        ways: The number of classes in a task.
        iterations: The number of meta-iterations.
        seed: The seed of weights and tasks.
        parts: Whatever decides the result, for the content key.
        cache: The cache that keeps the milestones.
        step: It is told of each iteration.

    Raises:
        OutputError: The cache cannot be written.
    """
    ends = sorted({round(iterations * n / MILESTONES) for n in range(1, MILESTONES + 1)} - {0})
    keys = [content_key("reptile", {**parts, "done": end}) for end in ends]
    done, start, seconds = 0, Initialisation.random(network, ways, seed), 0.0
    for end, key in zip(reversed(ends), reversed(keys), strict=True):
        entry = cache.find(key)
        if entry is not None:
            done = end
            start, seconds = _read(entry)
            break
    step(done)
    for end, key in zip(ends, keys, strict=True):
        if end <= done:
            continue
        began = time.monotonic()
        start = learner.meta_train(
            start, classes, ways=ways, seed=seed, first=done, last=end, step=step
        )
        seconds += time.monotonic() - began
        done = end
        with cache.store(key) as folder:
            _write(folder, start, seconds)
    return MetaTrained(start=start, key=keys[-1], seconds=seconds)


def _write(folder: Path, start: Initialisation, seconds: float) -> None:
    arrays = {f"weight_{n:02}": item for n, item in enumerate(start.weights)}
    arrays |= {f"moment_{n:02}": item for n, item in enumerate(start.moments)}
    write_bytes(folder / ARRAYS, npz(**arrays))
    write_json(folder / RECORD, {"steps": start.steps, "seconds": seconds})


def _read(folder: Path) -> tuple[Initialisation, float]:
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    with np.load(folder / ARRAYS, allow_pickle=False) as arrays:
        weights = [arrays[name] for name in sorted(arrays) if name.startswith("weight")]
        moments = [arrays[name] for name in sorted(arrays) if name.startswith("moment")]
    return Initialisation(weights, moments, int(record["steps"])), float(record["seconds"])
