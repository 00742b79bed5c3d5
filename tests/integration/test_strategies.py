"""Training through the base: what learns, what stays, and on how many processes."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.cache import StageCache
from edge.dataset.digits import export_digits
from edge.dataset.scan import scan
from edge.embedding.extractor import base_extractor
from edge.embedding.features import extract
from edge.errors import ModelLoadError, UsageError
from edge.pipeline.build import build
from edge.pipeline.job import TimedStages
from edge.pipeline.options import BuildOptions, OutputOptions
from edge.pipeline.training import Learned, Trainer
from edge.progress import Silent
from edge.training.base import Base
from edge.training.options import (
    Augmentation,
    BaseOptions,
    HeadOptions,
    Strategy,
    TrainingOptions,
    TuningOptions,
)

pytestmark = pytest.mark.slow
SIZE = 32
CLASSES = ("0", "1", "7")
QUICK = TuningOptions(epochs=2, learning_rate=1e-3, augmentation=Augmentation.NONE, unfreeze="13")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three digits, 24 pictures of each to learn from and 12 to score on."""
    whole = tmp_path_factory.mktemp("whole") / "digits"
    export_digits(whole)
    part = tmp_path_factory.mktemp("digits")
    for name in CLASSES:
        files = sorted((whole / name).iterdir())
        for split, chosen in (("train", files[:24]), ("test", files[24:36])):
            folder = part / split / name
            folder.mkdir(parents=True)
            for file in chosen:
                (folder / file.name).write_bytes(file.read_bytes())
    return part


Train = Callable[..., Learned]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> StageCache:
    return StageCache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def train(digits: Path, cache: StageCache) -> Train:
    """Train without writing a bundle, which takes most of a build's time."""

    def train(strategy: Strategy, tuning: TuningOptions = QUICK, **options: Any) -> Learned:
        base = Base(BaseOptions(**({"size": SIZE} | options)))
        dataset = scan(digits, seed=0)
        images = [*dataset.train, *dataset.val]
        extractor = base_extractor(base, cache)
        features = extract(
            extractor.path, images, base.preprocessing, cache=cache, step=lambda count: None
        )
        asked = TrainingOptions(strategy=strategy, tuning=tuning, head=HeadOptions(epochs=30))
        stages = TimedStages(Silent())
        return Trainer(base, dataset, features, asked, stages).learned()

    return train


@pytest.fixture(scope="module")
def tuned(
    digits: Path, cache: StageCache, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Path]:
    """A whole build that fine-tunes: the report and the bundle."""
    bundle = tmp_path_factory.mktemp("out") / "bundle"
    options = BuildOptions(
        photos=digits,
        base=BaseOptions(size=SIZE),
        training=TrainingOptions(
            strategy=Strategy.FINE_TUNE, tuning=QUICK, head=HeadOptions(epochs=30)
        ),
        output=OutputOptions(
            output=bundle, overwrite=False, cache=cache.root, variants=("tflite-fp32",)
        ),
    )
    return build(options, Silent()), bundle


def weights(model: Any) -> dict[str, list[Any]]:
    """Arrays of each layer of a Keras model, or of that of a bundle."""
    import keras

    if isinstance(model, Path):
        model = keras.models.load_model(model / "source/model.keras", compile=False)
    return {layer.name: layer.get_weights() for layer in model.layers if layer.get_weights()}


def changed(one: dict[str, list[Any]], other: dict[str, list[Any]]) -> set[str]:
    return {
        name
        for name in one
        if any((a != b).any() for a, b in zip(one[name], other[name], strict=True))
    }


@pytest.fixture(scope="module")
def plain() -> dict[str, list[Any]]:
    """The base as it was before."""
    return weights(Base(BaseOptions(size=SIZE)).load().model)


def test_fine_tuning_changes_the_end_of_the_base_but_no_normalisation(
    tuned: tuple[Any, Path], plain: dict[str, list[Any]]
) -> None:
    report, bundle = tuned
    found = changed(plain, weights(bundle))
    assert found == {"conv_dw_12", "conv_pw_12", "conv_dw_13", "conv_pw_13"}
    assert [phase.name for phase in report.training.phases] == ["head", "fine-tune"]
    head, fine = report.training.phases
    assert fine.learning_rate == 1e-3
    assert fine.trainable > head.trainable == 1024 * 3 + 3


def test_the_best_weights_are_the_ones_that_are_kept(tuned: tuple[Any, Path]) -> None:
    report, _ = tuned
    fine = report.training.phases[1]
    assert fine.epochs == int(np.argmin(fine.history["val_loss"])) + 1
    assert len(fine.history["loss"]) == 2


def test_the_file_that_is_written_is_the_tuned_one(tuned: tuple[Any, Path]) -> None:
    report, _ = tuned
    assert report.variants[0].agreement == 1.0
    assert report.training.top1 == report.reference.top1 >= 0.6


def test_augmented_training_changes_the_head_alone(
    train: Train, plain: dict[str, list[Any]]
) -> None:
    tuning = TuningOptions(epochs=1, augmentation=Augmentation.BASIC, mirror=False)
    learned = train(Strategy.AUGMENT, tuning)
    assert changed(plain, weights(learned.model)) == set()
    head = {"probabilities": weights(train(Strategy.FEATURES).model)["probabilities"]}
    assert changed(head, weights(learned.model)) == {"probabilities"}
    assert [phase.name for phase in learned.phases] == ["head", "augment"]


@pytest.mark.parametrize(
    "tuning",
    [
        {"augmentation": Augmentation.RANDAUGMENT},
        {"augmentation": Augmentation.NONE, "mixup": 0.3, "cutmix": True},
    ],
)
def test_every_way_to_change_images_learns_the_same_twice(
    train: Train, tuning: dict[str, Any]
) -> None:
    options = TuningOptions(epochs=1, **tuning)
    first, again = (train(Strategy.AUGMENT, options).phases[1].history for _ in range(2))
    assert np.isfinite(first["loss"]).all()
    assert again == first


def test_auto_says_what_it_saw_and_why(train: Train) -> None:
    learned = train(Strategy.AUTO)
    assert learned.strategy in {"features", "fine-tune"}
    assert learned.decision.situation.images_per_class == pytest.approx(20, abs=2)
    assert learned.decision.situation.distance > 0.2  # digits are no photos
    assert learned.decision.quadrant == "small, far from ImageNet"
    assert learned.reason.endswith(".")


def test_an_unknown_layer(train: Train) -> None:
    with pytest.raises(UsageError, match="no layer 'conv_99'") as caught:
        train(Strategy.FINE_TUNE, TuningOptions(epochs=1, unfreeze="conv_99"))
    assert "conv_pw_13_relu" in caught.value.hint


# ---- bases


def test_a_narrow_network() -> None:
    base = Base(BaseOptions(size=SIZE, alpha=0.25, weights="none"))
    assert weights(base.load().model)["conv_pw_13"][0].shape[-1] == 256


def test_a_width_that_a_network_does_not_have() -> None:
    with pytest.raises(UsageError, match="one width only"):
        Base(BaseOptions(backbone="resnet50", alpha=0.5))


def test_a_tuned_model_is_a_base_again(
    tuned: tuple[Any, Path], plain: dict[str, list[Any]]
) -> None:
    """Its classes are cut off, its tuned layers stay."""
    _, bundle = tuned
    source = bundle / "source/model.keras"
    base = Base(BaseOptions(backbone=str(source)))
    assert base.load().source == "file model.keras"
    found = weights(base.load().model)
    assert changed(plain, found) == {"conv_dw_12", "conv_pw_12", "conv_dw_13", "conv_pw_13"}
    assert base.load().model.output.shape == (None, 1024)


def test_a_file_with_another_size(tuned: tuple[Any, Path]) -> None:
    source = str(tuned[1] / "source/model.keras")
    with pytest.raises(UsageError, match="takes images of 32 x 32 pixels, --size says 64 x 64"):
        Base(BaseOptions(backbone=source, size=64))


def test_a_base_that_takes_no_image(tmp_path: Path) -> None:
    import keras

    vector = keras.Input((7,))
    keras.Model(vector, keras.layers.Dense(2)(vector)).save(tmp_path / "a.keras")
    with pytest.raises(ModelLoadError, match=r"\(None, 7\)"):
        Base(BaseOptions(backbone=str(tmp_path / "a.keras")))


def test_a_feature_map_is_averaged_and_an_open_size_is_asked_for(tmp_path: Path) -> None:
    import keras

    image = keras.Input((None, None, 3))
    keras.Model(image, keras.layers.Conv2D(5, 3)(image)).save(tmp_path / "open.keras")
    path = str(tmp_path / "open.keras")
    with pytest.raises(UsageError, match="leaves the size of its input open") as caught:
        Base(BaseOptions(backbone=path))
    assert "--size" in caught.value.hint
    loaded = Base(BaseOptions(backbone=path, size=16)).load().model
    assert loaded.output.shape == (None, 5)
    assert loaded.input.shape == (None, 16, 16, 3)


# ---- a cluster of two processes on this machine


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def test_two_workers_train_what_one_process_trains(
    digits: Path, tuned: tuple[Any, Path], tmp_path: Path
) -> None:
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    started = []
    for index in range(2):
        config = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        command = [
            *(sys.executable, "-m", "edge", "build", digits, "--output", tmp_path / "bundle"),
            *("--size", SIZE, "--strategy", "fine-tune", "--augmentation", "none", "--epochs", 30),
            *("--unfreeze", 13, "--tune-epochs", 2, "--tune-learning-rate", 1e-3),
            *("--variants", "tflite-fp32", "--json", "--quiet"),
        ]
        cache = {"EDGE_CACHE": str(tmp_path / f"cache{index}"), "TF_CONFIG": json.dumps(config)}
        started.append(
            subprocess.Popen(
                list(map(str, command)),
                env=os.environ | cache,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    answers = [process.communicate(timeout=300) for process in started]
    assert [process.returncode for process in started] == [0, 0], answers
    assert "the first worker writes" in answers[1][0]
    report = json.loads(answers[0][0])
    alone, _ = tuned
    for name in ("loss", "val_loss"):  # each worker sums its half: rounding differs
        expected = alone.training.phases[1].history[name]
        assert report["training"]["phases"][1]["history"][name] == pytest.approx(expected, rel=0.02)
