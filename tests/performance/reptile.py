"""The time of an inner step of Reptile, beside that of Keras on the same network and mini-batch.

    python tests/performance/reptile.py [--rounds 3] [--iterations 20]

A step learns from 10 pictures of 28 x 28, in meta-training and in episodes. Keras' ``fit`` takes as
many steps over pictures in memory, in the same process, in turn; all graphs are traced before. The
bars: neither takes longer a step than ``fit`` does.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import keras
import numpy as np
from support.script import Report, Script

from edge.fewshot.episodes import draw_episodes
from edge.fewshot.networks import BLOCKS, FILTERS, Conv4
from edge.fewshot.options import ReptileOptions
from edge.fewshot.reptile import Initialisation, Learner

SIDE: Final = 28
WAYS: Final = 5
MOST: Final = 1.0  # times as long as Keras

Work = tuple[int, Callable[[], object]]  # steps, and what takes them


def main() -> int:
    """Measure and print; see ``support.script`` for the exit codes."""
    script = Script(__doc__)
    script.amount("--rounds", 3, 1, "of all in turn")
    script.amount("--iterations", 20, 1, "of meta-training, and episodes, in a round")
    return script.run(_measure)


def _measure(options: argparse.Namespace, report: Report) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (400, SIDE, SIDE, 1), np.uint8)
    reptile = ReptileOptions(iterations=options.iterations)
    works = {**_reptile(pictures, reptile), "Keras": _keras(pictures, reptile)}
    wall: dict[str, list[float]] = {name: [] for name in works}
    cpu: dict[str, list[float]] = {name: [] for name in works}
    for number in range(options.rounds + 1):
        for name, (steps, work) in works.items():
            began, used = time.perf_counter(), time.process_time()
            work()
            if number:  # the first round traces the graphs
                wall[name].append((time.perf_counter() - began) / steps)
                cpu[name].append((time.process_time() - used) / steps)
    for name in works:
        by_wall, by_cpu = (1e3 * statistics.median(found[name]) for found in (wall, cpu))
        report.say(f"{name}: {by_wall:.2f} ms a step, {by_cpu:.2f} ms of CPU")
    report.figures.update({"step_seconds": wall, "step_cpu_seconds": cpu})
    for name in works:
        if name != "Keras":
            ratios = [own / other for own, other in zip(wall[name], wall["Keras"], strict=True)]
            report.bar(f"{name} / Keras", statistics.median(ratios), at_most=MOST, unit="times")


def _reptile(pictures: np.ndarray, options: ReptileOptions) -> dict[str, Work]:
    classes = [np.arange(20 * index, 20 * index + 20) for index in range(20)]
    network = Conv4(SIDE, 1)
    learner = Learner(network, pictures, options)
    start = Initialisation.random(network, WAYS, 0)
    episodes = draw_episodes(
        classes,
        ways=WAYS,
        shots=5,
        most_shots=5,
        queries=5,
        episodes=options.iterations,
        seed=0,
    )

    def train() -> object:
        return learner.meta_train(
            start,
            classes,
            ways=WAYS,
            seed=0,
            first=0,
            last=options.iterations,
            step=lambda count: None,
        )

    def answer() -> object:
        return learner.answers(start, episodes, seed=0, step=lambda count: None)

    return {
        "meta-training": (
            options.iterations * options.meta_batch * options.inner_iterations,
            train,
        ),
        "episodes": (len(episodes) * options.episode_iterations, answer),
    }


def _keras(pictures: np.ndarray, options: ReptileOptions) -> Work:
    layers: list[Any] = [keras.Input((SIDE, SIDE, 1))]
    for _ in range(BLOCKS):
        layers += [
            keras.layers.Conv2D(FILTERS, 3, 2, "same", use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
        ]
    model = keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dense(WAYS)])
    model.compile(
        keras.optimizers.Adam(options.learning_rate, beta_1=0.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    inputs = (pictures / 255).astype(np.float32)
    labels = np.arange(len(inputs)) % WAYS
    steps = len(inputs) // options.inner_batch
    epochs = options.iterations
    return steps * epochs, lambda: model.fit(
        inputs, labels, options.inner_batch, epochs=epochs, verbose=0
    )


if __name__ == "__main__":
    sys.exit(main())
