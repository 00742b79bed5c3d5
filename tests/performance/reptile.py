"""Steps per second of Reptile: python tests/performance/reptile.py

Prints milliseconds of one inner step (a mini-batch of 10 pictures of 28 x 28), in meta-training
and in episodes, by the wall and by the CPUs.
"""

import time
from collections.abc import Callable

import numpy as np

from edge.fewshot.episodes import draw_episodes
from edge.fewshot.networks import Conv4
from edge.fewshot.options import ReptileOptions
from edge.fewshot.reptile import Initialisation, Learner

ITERATIONS = 20
EPISODES = 20


def timed(what: str, steps: int, work: Callable[[], object]) -> None:
    """Print the time of one step, after a call that traces the graph."""
    work()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{what}: {1e3 * wall / steps:.2f} ms a step, {1e3 * cpu / steps:.2f} ms of CPU")


def main() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (400, 28, 28, 1), np.uint8)
    classes = [np.arange(20 * index, 20 * index + 20) for index in range(20)]
    options = ReptileOptions(iterations=ITERATIONS)
    network = Conv4(28, 1)
    learner = Learner(network, pictures, options)
    start = Initialisation.random(network, 5, 0)

    def train() -> object:
        return learner.meta_train(
            start, classes, ways=5, seed=0, first=0, last=ITERATIONS, step=lambda count: None
        )

    timed("meta-training", ITERATIONS * options.meta_batch * options.inner_iterations, train)
    episodes = draw_episodes(
        classes, ways=5, shots=5, most_shots=5, queries=5, episodes=EPISODES, seed=0
    )

    def answer() -> object:
        return learner.answers(start, episodes, seed=0, step=lambda count: None)

    timed("episodes", EPISODES * options.episode_iterations, answer)


if __name__ == "__main__":
    main()
