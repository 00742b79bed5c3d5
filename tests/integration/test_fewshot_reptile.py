"""Reptile on drawings made on the spot: it learns, resumes, and keeps what it has learnt."""

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge.cache import StageCache
from edge.fewshot.episodes import draw_episodes
from edge.fewshot.networks import Conv4, HeadNetwork
from edge.fewshot.options import FewShotMethod, FewShotOptions, ReptileOptions
from edge.fewshot.reptile import Initialisation, Learner, meta_trained
from edge.fewshot.result import ClassCounts
from edge.fewshot.run import score_methods
from edge.progress import Silent

pytestmark = pytest.mark.slow

SIZE = 16
QUICK = ReptileOptions(iterations=40, episode_iterations=10, meta_batch=3)


def drawing(family: int, number: int) -> np.ndarray:
    """Two strokes whose places are the class's; the hand shakes."""
    generator = np.random.default_rng(family)
    shaking = np.random.default_rng([family, number])
    paper = np.full((SIZE, SIZE), 255, np.uint8)
    for _ in range(2):
        row, column = generator.integers(1, SIZE - 6, 2) + shaking.integers(-1, 2, 2)
        height, width = (6, 2) if generator.random() < 0.5 else (2, 6)
        paper[row : row + height, column : column + width] = shaking.integers(0, 60)
    return paper


@pytest.fixture(scope="module")
def table() -> tuple[np.ndarray, list[np.ndarray]]:
    """Pictures (rows, 16, 16, 1), dark as 255, and the rows of 24 classes of 8."""
    pictures = np.stack([255 - drawing(family, n) for family in range(24) for n in range(8)])
    return pictures[..., None], [np.arange(8 * index, 8 * index + 8) for index in range(24)]


def accuracy(learner: Learner, start: Initialisation, classes: list[np.ndarray]) -> float:
    episodes = draw_episodes(classes, ways=3, shots=1, most_shots=1, queries=3, episodes=30, seed=5)
    answers = learner.answers(start, episodes, seed=0, step=lambda count: None)
    return float(np.mean([e.accuracy(a) for e, a in zip(episodes, answers, strict=True)]))


def trained(
    learner: Learner, network: Conv4, classes: list[np.ndarray], cache: Path, step: Callable
) -> Any:
    return meta_trained(
        learner,
        network,
        classes,
        ways=3,
        iterations=QUICK.iterations,
        seed=0,
        parts={},
        cache=StageCache(cache),
        step=step,
    )


def test_reptile_learns_resumes_and_keeps(
    table: tuple[np.ndarray, list[np.ndarray]], tmp_path: Path
) -> None:
    pictures, classes = table
    network = Conv4(SIZE, 1)
    learner = Learner(network, pictures, QUICK)

    def interrupted(count: int, left: list[int] = [15]) -> None:  # noqa: B006
        left[0] -= count
        if left[0] == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(learner, network, classes[:16], tmp_path / "a", interrupted)
    steps: list[int] = []
    resumed = trained(learner, network, classes[:16], tmp_path / "a", steps.append)
    assert steps[0] == 12  # three milestones of four iterations
    assert sum(steps) == QUICK.iterations
    kept = trained(learner, network, classes[:16], tmp_path / "a", steps.append)
    assert kept.seconds == resumed.seconds
    for first, second in zip(resumed.start.weights, kept.start.weights, strict=True):
        np.testing.assert_array_equal(first, second)
    whole = trained(learner, network, classes[:16], tmp_path / "b", lambda count: None)
    for first, second in zip(resumed.start.weights, whole.start.weights, strict=True):
        # Sums over threads come in any order; 200 steps carry that on.
        np.testing.assert_allclose(first, second, atol=0.02)
    before = accuracy(learner, Initialisation.random(network, 3, 0), classes[16:])
    assert accuracy(learner, resumed.start, classes[16:]) > before + 0.05


def test_one_step_is_adam_without_momentum() -> None:
    """Against the formula, written out by hand for a small head."""
    inputs = np.array([[1.0, 2.0], [3.0, -1.0]], np.float32)
    network = HeadNetwork(2, hidden=8)
    options = ReptileOptions(
        iterations=1, meta_batch=1, inner_iterations=1, inner_batch=2, meta_step=0.5
    )
    learner = Learner(network, inputs, options)
    start = Initialisation.random(network, 2, 3)
    classes = [np.array([0]), np.array([1])]
    found = learner.meta_train(
        start, classes, ways=2, seed=0, first=0, last=1, step=lambda count: None
    )
    # The first step of Adam has the length of the learning rate in every weight with a gradient
    # (sqrt(1 - beta2) / sqrt(1 - beta2) * g / |g|), and Reptile goes half of it.
    moved = [np.abs(a - b) for a, b in zip(found.weights, start.weights, strict=True)]
    sizes = np.concatenate([item.reshape(-1) for item in moved])
    np.testing.assert_allclose(sizes[sizes > 1e-5], 0.5e-3, rtol=0.02)
    assert (sizes > 1e-5).any()
    assert found.steps == 1


def test_a_run_of_all_networks_and_the_next_one(tmp_path: Path) -> None:
    for family in range(8):
        folder = tmp_path / "photos" / f"family-{family}"
        folder.mkdir(parents=True)
        for number in range(4):
            Image.fromarray(drawing(family, number)).save(folder / f"{number}.png")
    titles: list[str] = []

    class Noting(Silent):
        @contextmanager
        def stage(self, title: str, total: int | None = None) -> Any:
            titles.append(title)
            with super().stage(title, total) as step:
                yield step

    options = FewShotOptions(
        photos=tmp_path / "photos",
        cache=tmp_path / "cache",
        methods=(FewShotMethod.PIXELS, FewShotMethod.CONV4, FewShotMethod.REPTILE),
        ways=2,
        shots=(1, 2),
        queries=2,
        episodes=4,
        size=SIZE,
        reptile=ReptileOptions(iterations=4, meta_batch=2, episode_iterations=3),
    )
    first = score_methods(options, Noting())
    assert [row.method for row in first.rows] == list(options.methods)
    assert first.classes == ClassCounts(all=8, training=6, held_out=2, held_out_groups=None)
    assert any("meta-training" in title for title in titles)
    titles.clear()
    second = score_methods(options, Noting())
    assert [row.accuracy for row in second.rows] == [row.accuracy for row in first.rows]
    assert not any(title.startswith("conv4") for title in titles)  # its answers were kept
