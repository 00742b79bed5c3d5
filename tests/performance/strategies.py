"""Every strategy on the same data: test accuracy and seconds, and what ``auto`` picks.

    python tests/performance/strategies.py [FOLDER...] [--size 96] [--train 100] [--tune-epochs 15]
    python tests/performance/strategies.py FOLDER... --distance

With --distance, only the distance of a folder's images to ImageNet, for which they need no classes.
FOLDER holds a folder of images per class, or train/ and test/ of such; without one, the pictures
that the other scripts take, 100 of them to train on, at 96 pixels. Training only: nothing is
converted, and the accuracy is that of the Keras model on the held-out images. The bar: auto is at
most one point below the best of the fixed strategies.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from support.data import photos
from support.script import Report, Script

from edge.cache import StageCache, default_cache
from edge.cli.terminal import captured_native_output, shown_progress
from edge.dataset.folder import list_images
from edge.dataset.pictures import Picture
from edge.dataset.scan import Dataset, scan
from edge.embedding.extractor import base_extractor
from edge.embedding.features import Features, extract
from edge.evaluation.confidence import normal_quantile, wilson
from edge.pipeline.job import TimedStages
from edge.pipeline.training import Learned, Trainer
from edge.runtime.files import sha256_file
from edge.training.base import Base
from edge.training.models import keras_scores
from edge.training.options import (
    Augmentation,
    BaseOptions,
    Strategy,
    TrainingOptions,
    TuningOptions,
)
from edge.training.strategy import imagenet_distance
from edge.training.weights import weights_sha256

MOST_IMAGES: Final = 500
MARGIN_POINTS: Final = 1.0
PLAIN: Final = "fine-tune all, images as they are"


def main() -> int:
    """Measure and print; see ``support.script`` for the exit codes."""
    script = Script(__doc__)
    parser = script.parser
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--size", type=int, help="of the network's input, pixels")
    parser.add_argument("--train", type=int, help="use so many training images, classes in turn")
    script.amount("--tune-epochs", TuningOptions().epochs, 1, "of fine-tuning")
    script.amount("--only", [""], ["features", "auto"], "texts in names of strategies", nargs="+")
    parser.add_argument("--distance", action="store_true", help="to ImageNet, and nothing else")
    parser.add_argument("--no-mirror", action="store_true", help="in the fixed strategies")
    return script.run(_measure)


def _measure(options: argparse.Namespace, report: Report) -> None:
    with captured_native_output(), tempfile.TemporaryDirectory() as name:
        if not options.folders:
            options.folders = [photos(Path(name), report)]
            options.size, options.train = options.size or 96, options.train or 100
        for folder in options.folders:
            (_distance if options.distance else _measured)(folder, options, report)


def _rows(options: argparse.Namespace) -> dict[str, TrainingOptions]:
    tuning = TuningOptions(epochs=options.tune_epochs, mirror=False if options.no_mirror else None)
    plain = replace(tuning, augmentation=Augmentation.NONE, unfreeze="all")
    rows = {
        "features": TrainingOptions(),
        "augment": TrainingOptions(strategy=Strategy.AUGMENT, tuning=tuning),
        "fine-tune": TrainingOptions(strategy=Strategy.FINE_TUNE, tuning=tuning),
        "fine-tune all": TrainingOptions(
            strategy=Strategy.FINE_TUNE, tuning=replace(tuning, unfreeze="all")
        ),
        PLAIN: TrainingOptions(strategy=Strategy.FINE_TUNE, tuning=plain),
        "auto": TrainingOptions(
            strategy=Strategy.AUTO, tuning=TuningOptions(epochs=options.tune_epochs)
        ),
    }
    return {name: row for name, row in rows.items() if any(text in name for text in options.only)}


def _distance(folder: Path, options: argparse.Namespace, report: Report) -> None:
    """Print the distance of at most some hundred images of a folder."""
    cache, base = StageCache(default_cache()), Base(BaseOptions(size=options.size))
    images = list_images(folder)
    images = images[:: -(-len(images) // MOST_IMAGES)]
    pictures = [Picture(path, sha256_file(path)) for path in images]
    stages = TimedStages(shown_progress(quiet=False))
    with stages.stage("features", len(pictures)) as step:
        path = base_extractor(base, cache).path
        found = extract(path, pictures, base.preprocessing, cache=cache, step=step)
    distance = imagenet_distance(base.load().model, found.vectors)
    assert distance is not None  # MobileNet ends as it has to
    report.say(f"{folder.name}: {distance:.3f} ({len(found.vectors)} images)")
    report.figures[folder.name] = {"distance": distance}


def _measured(folder: Path, options: argparse.Namespace, report: Report) -> None:
    """One data set."""
    cache = StageCache(default_cache())
    base = Base(BaseOptions(size=options.size))
    stages = TimedStages(shown_progress(quiet=False))
    dataset = _reduced(scan(folder, seed=0), options.train)
    images = [*dataset.train, *dataset.val]
    with stages.stage("features", len(images)) as step:
        path = base_extractor(base, cache).path
        features = extract(path, images, base.preprocessing, cache=cache, step=step)
    dataset = dataset.without(features.problems)
    side = base.preprocessing.height
    report.say(
        f"\n{folder.name}: {len(dataset.labels)} classes, {len(dataset.train)} training, "
        f"{len(dataset.val)} validation, {len(dataset.test)} test images, {side} x {side} pixels"
    )
    found = {}
    for name, asked in _rows(options).items():
        found[name] = _trained(name, asked, base, dataset, features, cache, stages, report)
    report.figures[folder.name] = dict(found)
    auto, fixed = found.pop("auto", None), found.values()
    if auto is not None and fixed:
        report.bar(
            f"{folder.name}: auto below the best fixed strategy",
            100 * (max(fixed) - auto),
            at_most=MARGIN_POINTS,
            unit="points",
        )


def _trained(
    name: str,
    asked: TrainingOptions,
    base: Base,
    dataset: Dataset,
    features: Features,
    cache: StageCache,
    stages: TimedStages,
    report: Report,
) -> float:
    started = time.monotonic()
    learned = Trainer(base, dataset, features, asked, stages).learned()
    seconds = time.monotonic() - started
    scores = keras_scores(
        weights_sha256(learned.model),
        lambda: learned.model,
        dataset.test,
        base.preprocessing,
        cache=cache,
        step=lambda count: None,
    )
    truth = np.array([image.label for image in dataset.test])
    hits = int(np.sum(scores.argmax(axis=1) == truth))
    between = wilson(hits, len(truth), normal_quantile(0.95))
    report.say(
        f"  {name:34} test {hits / len(truth):6.1%} ({between.low:.1%} to {between.high:.1%})  "
        f"{seconds:6.0f} s{_said(learned)}"
    )
    return hits / len(truth)


def _said(learned: Learned) -> str:
    last: Any = learned.phases[-1]
    text = f"  validation {last.val_accuracy:.1%}"
    return f"{text}\n    {learned.strategy}: {learned.reason}" if learned.reason else text


def _reduced(dataset: Dataset, train: int | None) -> Dataset:
    """The data set with so many training images, an equal part of each class."""
    if train is None:
        return dataset
    share = train // len(dataset.labels)
    kept = []
    for label in range(len(dataset.labels)):
        kept += [image for image in dataset.train if image.label == label][:share]
    return replace(dataset, train=tuple(kept))


if __name__ == "__main__":
    sys.exit(main())
