from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

import numpy as np
import pytest

from edge.cli.make.options import training_options
from edge.errors import UsageError
from edge.training.batches import BatchShare, _order
from edge.training.loop import is_chief, is_distributed
from edge.training.options import Augmentation, HeadOptions, Strategy, TuningOptions
from edge.training.strategy import FAR, LARGE, Situation, choose
from edge.training.tuning import ALL, first_learning


def situation(**changed: Any) -> Situation:
    usual = {
        "images_per_class": 20,
        "distance": 0.05,
        "pretrained": True,
        "val_images": 100,
        "val_accuracy": 0.8,
    }
    return Situation(**(usual | changed))


# ---- the quadrants


def test_little_and_near_takes_features() -> None:
    found = choose(situation())
    assert (found.strategy, found.quadrant) == (Strategy.FEATURES, "small, near ImageNet")


def test_little_and_far_fine_tunes() -> None:
    found = choose(situation(distance=FAR))
    assert (found.strategy, found.unfreeze) == (Strategy.FINE_TUNE, ALL)
    assert found.quadrant == "small, far from ImageNet"
    assert not found.mirror  # far from photos is often writing


def test_much_and_near_fine_tunes_the_end() -> None:
    found = choose(situation(images_per_class=LARGE))
    assert (found.strategy, found.unfreeze) == (Strategy.FINE_TUNE, None)
    assert found.quadrant == "large, near ImageNet"


def test_much_and_far_fine_tunes_all() -> None:
    found = choose(situation(images_per_class=LARGE, distance=0.5))
    assert (found.strategy, found.unfreeze) == (Strategy.FINE_TUNE, ALL)


def test_features_that_leave_nothing_to_gain_are_taken_anywhere() -> None:
    found = choose(situation(distance=0.5, val_accuracy=0.99))
    assert found.strategy is Strategy.FEATURES
    assert "only 1 of 100" in found.reason


def test_random_weights_have_to_learn_all_over() -> None:
    found = choose(situation(pretrained=False, distance=None, val_accuracy=1.0))
    assert (found.strategy, found.unfreeze) == (Strategy.FINE_TUNE, ALL)


def test_a_distance_that_cannot_be_told_is_said_so() -> None:
    assert "unknown" in choose(situation(distance=None)).reason


@pytest.mark.parametrize("distance", [None, 0.01, 0.6])
@pytest.mark.parametrize("images", [3, 10_000])
def test_the_reason_is_one_sentence_with_the_figures(distance: Any, images: int) -> None:
    reason = choose(situation(distance=distance, images_per_class=images)).reason
    assert reason.endswith(".")
    assert f"{images} images a class" in reason
    assert distance is None or f"{distance:.2f}" in reason


# ---- which layers learn


class Layer:
    def __init__(self, name: str) -> None:
        self.name = name


class Base:
    layers = [Layer(name) for name in ("image", "one", "two", "three", "four", "five", "six", "7")]


@pytest.mark.parametrize(
    ("unfreeze", "first"), [(None, 6), ("all", 0), ("1", 7), ("8", 0), ("three", 3), ("7", 7)]
)
def test_the_first_layer_that_learns(unfreeze: str | None, first: int) -> None:
    assert first_learning(Base, unfreeze) == first


@pytest.mark.parametrize("unfreeze", ["0", "9", "-1", "none", ""])
def test_layers_that_do_not_exist(unfreeze: str) -> None:
    with pytest.raises(UsageError, match="layer"):
        first_learning(Base, unfreeze)


# ---- which process reads what


def shares(images: int, part: dict[str, int], passes: int = 1) -> list[list[list[int]]]:
    """For each process, the images of weight above 0 in each of its batches."""
    processes = part.get("processes", 1)
    found = []
    for number in range(processes):
        mine = BatchShare(number=number, **part)
        size = mine.per_replica * mine.replicas // mine.processes
        items: Iterator[Any] = _order(np.ones(images, np.float32), mine, seed=3)
        batches = [list(islice(items, size)) for _ in range(passes * mine.steps(images))]
        found.append([[int(i) for i, weight in batch if weight > 0] for batch in batches])
    return found


def test_one_pass_reads_every_image_once() -> None:
    (one,) = shares(10, {"batch_size": 4})
    assert [len(batch) for batch in one] == [4, 4, 2]
    assert sorted(chain(*one)) == list(range(10))


def test_another_pass_has_another_order() -> None:
    (two,) = shares(40, {"batch_size": 8}, passes=2)
    assert sorted(chain(*two[5:])) == list(range(40))
    assert two[:5] != two[5:]


def test_workers_share_the_batches_that_one_process_reads() -> None:
    (alone,) = shares(10, {"batch_size": 4})
    first, second = shares(10, {"batch_size": 4, "replicas": 2, "processes": 2})
    assert [a + b for a, b in zip(first, second, strict=True)] == alone


def test_fewer_images_than_a_batch() -> None:
    (one,) = shares(3, {"batch_size": 32})
    assert sorted(one[0]) == [0, 1, 2]


# ---- a cluster

WORKERS = '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": %d}}'


def test_the_first_worker_is_the_chief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert is_chief()
    assert not is_distributed()
    monkeypatch.setenv("TF_CONFIG", WORKERS % 0)
    assert is_chief()
    assert is_distributed()
    monkeypatch.setenv("TF_CONFIG", WORKERS % 1)
    assert not is_chief()


@pytest.mark.parametrize("text", ["{", "[]", '{"cluster": {}}', WORKERS % 7, WORKERS % -1])
def test_a_cluster_that_cannot_be(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UsageError, match="TF_CONFIG"):
        is_chief()


# ---- no option without effect


def asked(strategy: Strategy, **given: Any) -> TuningOptions:
    usual: dict[str, Any] = {
        "unfreeze": None,
        "learning_rate": None,
        "epochs": None,
        "augmentation": None,
        "mirror": None,
        "mixup": 0.0,
        "cutmix": False,
    }
    return training_options(strategy, HeadOptions(), **(usual | given)).tuning


@pytest.mark.parametrize(
    "given",
    [
        {"unfreeze": "all"},
        {"learning_rate": 1e-4},
        {"epochs": 3},
        {"augmentation": Augmentation.NONE},
        {"mirror": False},
        {"mixup": 0.2},
        {"cutmix": True},
    ],
)
def test_features_refuse_options_of_tuning(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="no effect with --strategy features"):
        asked(Strategy.FEATURES, **given)
    name, value = next(iter(given.items()))
    assert getattr(asked(Strategy.FINE_TUNE, **given), name) == value


def test_a_frozen_base_has_nothing_to_unfreeze() -> None:
    with pytest.raises(UsageError, match="--unfreeze has no effect"):
        asked(Strategy.AUGMENT, unfreeze="12")
