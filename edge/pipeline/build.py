"""``edge build``: a folder of photos -> a verified bundle."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.cache import StageCache, content_key
from edge.dataset.pictures import Picture, unreadable
from edge.dataset.scan import Dataset, scan
from edge.dataset.split import LabeledImage
from edge.embedding.extractor import base_extractor
from edge.embedding.features import Features, extract
from edge.pipeline.finish import Subject, finish
from edge.pipeline.options import BuildOptions
from edge.pipeline.output import check_output
from edge.pipeline.report import Report, Training
from edge.pipeline.stages import TimedStages
from edge.progress import Progress
from edge.runtime.files import write_json
from edge.training.augment import AugmentData, train_augmented
from edge.training.base import Base
from edge.training.head import Examples, HeadOptions, TrainedHead, check_options, train_head
from edge.training.models import joined, load_keras
from edge.training.weights import weights_sha256
from edge.versions import versions

MODEL: Final = "model.keras"
RECORD: Final = "training.json"


def build(options: BuildOptions, progress: Progress) -> Report:
    """Train a head on the photos, write every variant, score each, leave a bundle.

    Raises:
        DataError: The photos cannot be used; found before any training.
        UsageError: Unknown backbone, optimizer, loss or variant; no place for the bundle.
        WeightsUnavailable: No pretrained weights.
        TrainingError, ConversionError, InferenceError: A stage failed.
    """
    check_output(options.output.output, overwrite=options.output.overwrite)
    standard = HeadOptions()
    if (options.head.optimizer, options.head.loss) != (standard.optimizer, standard.loss):
        check_options(options.head)  # at once, though it loads Keras: a typo should not cost a pass
    job = _Job(options, TimedStages(progress))
    dataset, features = job.features(job.scanned())
    trained = job.trained(dataset, features)
    subject = job.subject(dataset, trained)
    return finish(subject, options.output, job.stages, trained.report)


@dataclass(frozen=True, slots=True)
class _Trained:
    """The trained model as it lies in the cache.

    Attributes:
        keras_model: RGB 0..255 -> probabilities.
        record: What ``training.json`` says: seconds, epochs, history, model and weights hashes.
        cached: Whether an earlier run had trained it.
    """

    keras_model: Path
    record: dict[str, Any]
    cached: bool

    def report(self, top1: float | None) -> Training:
        """The report's part; ``top1`` is the Keras model's, on the held-out images."""
        return Training(
            seconds=float(self.record["seconds"]),
            features_reused=int(self.record["features_reused"]),
            top1=top1,
            epochs=int(self.record["epochs"]),
            augmented=bool(self.record["augmented"]),
            cached=self.cached,
            history=self.record["history"],
        )


class _Job:
    """One build up to the trained model: every stage is looked up in the cache first."""

    def __init__(self, options: BuildOptions, stages: TimedStages) -> None:
        self.options = options
        self.stages = stages
        self.seed = options.output.seed
        self.cache = StageCache(options.output.cache)
        self.base = Base(options.base)
        self.preprocessing = self.base.preprocessing
        self.conversion_seconds = 0.0  # of the base, which training alone needs

    def scanned(self) -> Dataset:
        """The data set, without the held-out images that cannot be decoded."""
        options = self.options
        with self.stages.stage("data"):
            dataset = scan(options.photos, seed=self.seed, strict=options.strict)
            problems = unreadable(dataset.test, self.preprocessing)
            return dataset.without(problems, strict=options.strict)

    def features(self, dataset: Dataset) -> tuple[Dataset, Features]:
        """Features of the images to train on; the data set loses those that cannot be decoded."""
        images = [*dataset.train, *dataset.val]
        with self.stages.stage("network"):
            extractor = base_extractor(self.base, self.cache)
        self.conversion_seconds = extractor.seconds
        with self.stages.stage("features", len(images)) as step:
            features = extract(
                extractor.path, images, self.preprocessing, cache=self.cache, step=step
            )
        usable = dataset.without(features.problems, strict=self.options.strict)
        for note in usable.notes:
            self.stages.note(note)
        for skipped in usable.skipped:
            self.stages.note(f"skipped {skipped.path}: {skipped.reason}")
        return usable, features

    def trained(self, dataset: Dataset, features: Features) -> _Trained:
        """The model with its head."""
        key = content_key(
            "trained",
            {
                "weights": self.base.id,
                "data": dataset.sha256,
                "preprocessing": self.preprocessing.sha256,
                "head": self.options.head.to_json(),
                "augment": self.options.augment,
                "versions": versions(),
            },
        )
        cached = self.cache.find(key) is not None
        if not cached:
            self._train(key, dataset, features)
        entry = self.cache.entry(key)
        record = json.loads((entry / RECORD).read_text(encoding="utf-8"))
        return _Trained(entry / MODEL, record, cached)

    def subject(self, dataset: Dataset, trained: _Trained) -> Subject:
        """What is to be converted, and the images that go with it."""
        options = self.options
        return Subject(
            command="build",
            name=options.photos.resolve().name,
            labels=dataset.labels,
            preprocessing=self.preprocessing,
            keras_model=trained.keras_model,
            model_id=str(trained.record["model_sha256"]),
            load_model=lambda: load_keras(trained.keras_model),
            calibrate_on=_pictures(dataset.train),
            pictures=_pictures(dataset.test),
            data={
                "sha256": dataset.sha256,
                "counts": dataset.counts(),
                "skipped": [
                    {"path": str(item.path), "reason": item.reason} for item in dataset.skipped
                ],
                "notes": list(dataset.notes),
            },
            provenance={
                "command": "build",
                "backbone": self.base.name,
                "weights": trained.record["weights"],
                "weights_sha256": trained.record["weights_sha256"],
                "data_sha256": dataset.sha256,
                "seed": self.seed,
                "options": {
                    "size": [self.preprocessing.height, self.preprocessing.width],
                    "alpha": options.base.alpha,
                    "head": options.head.to_json(),
                    "augment": options.augment,
                    "calibration_images": options.output.calibration_images,
                },
                "versions": versions(),
            },
        )

    def _train(self, key: str, dataset: Dataset, features: Features) -> None:
        head = self.options.head
        started = time.monotonic()
        with self.stages.stage("head", head.epochs) as step:
            trained = train_head(
                *_examples(dataset, features), len(dataset.labels), head, lambda: step(1)
            )
        if self.options.augment:
            trained = self._augmented(dataset, trained)
        model = joined(self.base.load().model, trained.model)
        seconds = time.monotonic() - started
        seconds += self.conversion_seconds + self.stages.seconds["features"]
        with self.cache.store(key) as folder:
            model.save(folder / MODEL)
            write_json(
                folder / RECORD,
                {
                    "seconds": seconds,
                    "features_reused": features.reused,
                    "epochs": trained.epochs,
                    "augmented": self.options.augment,
                    "history": trained.history,
                    "weights": self.base.load().source,
                    "weights_sha256": self.base.load().sha256,
                    "model_sha256": weights_sha256(model),
                },
            )

    def _augmented(self, dataset: Dataset, trained: TrainedHead) -> TrainedHead:
        head = self.options.head
        batches = -(-len(dataset.train) // head.batch_size)
        data = AugmentData(dataset.train, dataset.val, self.preprocessing)
        with self.stages.stage("augmented training", head.epochs * batches) as step:
            return train_augmented(
                self.base.load().model,
                trained.model,
                data,
                len(dataset.labels),
                head,
                lambda: step(1),
            )


def _examples(dataset: Dataset, features: Features) -> tuple[Examples, Examples]:
    count = len(dataset.train)
    return (
        Examples(features.vectors[:count], _labels(dataset.train)),
        Examples(features.vectors[count:], _labels(dataset.val)),
    )


def _labels(images: Sequence[LabeledImage]) -> NDArray[np.int64]:
    return np.array([image.label for image in images], np.int64)


def _pictures(images: Sequence[LabeledImage]) -> tuple[Picture, ...]:
    return tuple(Picture(image.path, image.sha256, image.label) for image in images)
