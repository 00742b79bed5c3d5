"""Episodes: the pictures of each class that are shown, and those that are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Episode:
    """One N-way K-shot task.

    Attributes:
        support: (ways, shots) int64; the rows of the pictures that are shown.
        queries: (ways, queries) int64; the rows of the pictures to be answered.
    """

    support: NDArray[np.int64]
    queries: NDArray[np.int64]

    @property
    def ways(self) -> int:
        """The number of classes."""
        return len(self.support)

    @property
    def support_labels(self) -> NDArray[np.int64]:
        """(ways x shots,) int64; the class 0..ways - 1 of each of ``support.reshape(-1)``."""
        return np.repeat(np.arange(self.ways), self.support.shape[1])

    def accuracy(self, answers: NDArray[np.int64]) -> float:
        """Return the share of right answers.

        Args:
            answers: (ways x queries,) int64; a class 0..ways - 1 for each of
                ``queries.reshape(-1)``.
        """
        truth = np.repeat(np.arange(self.ways), self.queries.shape[1])
        return float((answers == truth).mean())


def draw_episodes(
    classes: Sequence[NDArray[np.int64]],
    *,
    ways: int,
    shots: int,
    most_shots: int,
    queries: int,
    episodes: int,
    seed: int,
) -> list[Episode]:
    """Draw random episodes, which are the same for the same arguments.

    Episode number n has the same classes and queries whatever ``shots`` is, and the support of
    fewer shots is part of that of more. So a curve over shots is of the same tasks throughout.

    Args:
        classes: The rows of the pictures of each class; at least most_shots + queries each.
        ways: The number of classes in an episode.
        shots: The number of pictures shown of each class.
        most_shots: The largest ``shots`` that will be asked for.
        queries: The number of pictures asked for of each class.
        episodes: The number of episodes.
        seed: The seed of the draw.
    """
    drawn = []
    for number in range(episodes):
        generator = np.random.default_rng([seed, number])
        chosen = generator.choice(len(classes), ways, replace=False)
        rows = np.stack(
            [generator.permutation(classes[item])[: queries + most_shots] for item in chosen]
        )
        drawn.append(Episode(rows[:, queries : queries + shots], rows[:, :queries]))
    return drawn


def mini_batches(
    rows: int, batch: int, iterations: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Return the positions (iterations, batch) of mini-batches; each pass is shuffled anew."""
    needed = batch * iterations
    passes = [generator.permutation(rows) for _ in range(-(-needed // rows))]
    return np.concatenate(passes)[:needed].reshape(iterations, batch)
