"""``edge build``: a folder of photos -> a verified bundle."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

from edge import schema
from edge.cache import StageCache, content_key, sealed_bytes
from edge.dataset.folder import check_outside, skipped_notes
from edge.dataset.levels import levels_notes, with_levels
from edge.dataset.pictures import Picture, unreadable
from edge.dataset.scan import Dataset, LabeledImage, scan
from edge.embedding.extractor import base_extractor
from edge.embedding.features import Features, extract
from edge.errors import TrainingError, UsageError
from edge.pipeline.calibration import choose
from edge.pipeline.conversion import PreparedConverters
from edge.pipeline.finish import finish
from edge.pipeline.job import ModelToBundle, TimedStages
from edge.pipeline.options import BuildOptions
from edge.pipeline.output import check_output
from edge.pipeline.report import DataReport, Report, Training
from edge.pipeline.reproduce.lock import build_inputs
from edge.pipeline.training import Trainer
from edge.pipeline.variants import made_for, read_recipes, with_budget
from edge.progress import Progress
from edge.runtime.files import write_bytes, write_json
from edge.runtime.head import Head, head_bytes, load_head
from edge.runtime.output import HeadSpec
from edge.training.base import Base
from edge.training.input_evidence import PICTURES, InputFinding
from edge.training.loop import distribution_strategy, is_chief, is_distributed
from edge.training.models import load_keras
from edge.training.objective import check_options
from edge.training.options import HeadOptions, Strategy
from edge.training.strategy import Decision
from edge.training.tuning import Phase
from edge.training.weights import random_note, weights_sha256
from edge.versions import versions

MODEL: Final = "model.keras"
HEAD: Final = "head.npz"
RECORD: Final = "training.json"


def build(options: BuildOptions, progress: Progress) -> Report | None:
    """Train on the photos, write every variant, score each, and leave a bundle.

    Returns:
        None in a worker of a cluster that is not the first: that one writes the bundle.

    Raises:
        DataError: The photos cannot be used; found before any training.
        UsageError: Unknown backbone, optimizer, loss or variant; no place for the bundle; the
            recipe cannot be used.
        WeightsUnavailable: No pretrained weights.
        TrainingError, ConversionError, InferenceError: A stage failed.
    """
    check_outside(options.output.output, options.photos)
    check_output(options.output.output, overwrite=options.output.overwrite)
    output, budget = with_budget(options.output)
    options = replace(options, output=output)
    read_recipes(output)  # at once as well: the training that comes first takes long
    head, standard = options.training.head, HeadOptions()
    if (head.optimizer, head.loss) != (standard.optimizer, standard.loss):
        check_options(head)  # at once, though it loads Keras: a typo should not cost a pass
    if is_distributed():
        distribution_strategy()  # a cluster has to be joined before TensorFlow does anything else
    for note in filter(None, (budget, made_for(output.recipe))):
        progress.note(note)
    job = _TrainingJob(options, TimedStages(progress))
    dataset, trained = job.trained()  # the features end here: the rest needs their memory
    if not is_chief():
        return None
    subject = job.subject(dataset, trained)
    return finish(subject, options.output, job.stages, trained.report)


def _decision_json(decision: Decision | None) -> dict[str, Any]:
    return {} if decision is None else decision.to_json()


def _head_spec(value: dict[str, Any] | None) -> HeadSpec | None:
    return None if value is None else HeadSpec.from_json(value)


def _head_json(spec: HeadSpec | None) -> dict[str, Any] | None:
    return None if spec is None else spec.to_json()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecord:
    """``training.json``: what is kept beside a trained model in the cache.

    Attributes:
        seconds: The wall time of conversion, features and training.
        features_reused: The images whose features an earlier run had computed.
        strategy: How much of the network learned.
        reason: Why; empty where the strategy was asked for.
        situation: What decided about it; None where nothing had to be decided.
        phases: The phases of training, in order.
        weights: Where the weights of the base come from, for people.
        weights_sha256: The content hash of these weights.
        model_sha256: The content hash of the trained weights.
        head: Where the model is the base alone: the head beside it.
    """

    seconds: float
    features_reused: int
    strategy: Strategy
    reason: str
    situation: Annotated[
        Decision | None, schema.As(dict[str, Any], Decision.from_json, _decision_json)
    ]
    phases: tuple[Phase, ...]
    weights: str
    weights_sha256: str
    model_sha256: str
    head: Annotated[HeadSpec | None, schema.As(dict[str, Any] | None, _head_spec, _head_json)]


@dataclass(frozen=True, slots=True)
class _Trained:
    """The trained model as it lies in the cache.

    Attributes:
        keras_model: The path of the model, RGB 0..255 -> probabilities.
        record: What was kept of its training.
        cached: Whether an earlier run had trained it.
    """

    keras_model: Path
    record: TrainingRecord
    cached: bool

    def head(self, labels: tuple[str, ...]) -> Head | None:
        """Return what makes probabilities of features, where the model is the base alone."""
        if self.record.head is None:
            return None
        return load_head(self.keras_model.with_name(HEAD), self.record.head, labels)

    def report(self, top1: float | None) -> Training:
        """Return the report's part; ``top1`` is the Keras model's, on the held-out images."""
        record = self.record
        return Training(
            seconds=record.seconds,
            features_reused=record.features_reused,
            top1=top1,
            cached=self.cached,
            strategy=record.strategy,
            reason=record.reason,
            decision=record.situation,
            phases=record.phases,
        )


class _TrainingJob:
    """One build up to the trained model: every stage is looked up in the cache first."""

    def __init__(self, options: BuildOptions, stages: TimedStages) -> None:
        self.options = options
        self.stages = stages
        self.seed = options.output.seed
        self.cache = StageCache(options.output.cache)
        self.base = Base(options.base)
        self.preprocessing = self.base.preprocessing
        self.converters = PreparedConverters()
        self.conversion_seconds = 0.0  # for the base, which training alone needs
        self.input: InputFinding  # once there are images

    def scanned(self) -> Dataset:
        """Return the data set, without the held-out images that cannot be decoded.

        The contract gets its levels: the training images decide them.
        """
        options = self.options
        with self.stages.stage("data"):
            dataset = scan(
                options.photos,
                seed=self.seed,
                strict=options.strict,
                groups=options.groups,
                divide_groups=options.divide_groups,
            )
            if options.train_images is not None:
                dataset = _reduced(dataset, options.train_images, self.seed)
            self.preprocessing, notes = with_levels(
                self.preprocessing, [image.path for image in dataset.train]
            )
            self.base.preprocessing = self.preprocessing
            held_out = [image.path for image in (*dataset.val, *dataset.test)]
            notes += levels_notes(self.preprocessing, held_out)
            dataset = replace(dataset, notes=(*dataset.notes, *dict.fromkeys(notes)))
            problems = unreadable(dataset.test, self.preprocessing)
            return dataset.without(problems, strict=options.strict)

    def features(self, dataset: Dataset) -> tuple[Dataset, Features]:
        """Return the features to train on, and the data set without undecodable images."""
        images = [*dataset.train, *dataset.val]
        if self.cache.find(self._trained_key(dataset)) is None:  # nothing can be converted yet
            self.converters.begin()
        with self.stages.stage("network"):
            self.input = self.base.find_input(_tried(dataset, self.seed), self.stages)
            extractor = base_extractor(self.base, self.cache)
        self.conversion_seconds = extractor.seconds
        with self.stages.stage("features", len(images)) as step:
            features = extract(
                extractor.path, images, self.preprocessing, cache=self.cache, step=step
            )
        usable = dataset.without(features.problems, strict=self.options.strict)
        for note in usable.notes:
            self.stages.note(note)
        for note in skipped_notes({item.path: item.reason for item in usable.skipped}):
            self.stages.note(note)
        return usable, features

    def _trained_key(self, dataset: Dataset) -> str:
        return content_key(
            "trained",
            {
                "weights": self.base.id,
                "data": dataset.sha256,
                "preprocessing": self.preprocessing.sha256,
                "training": self.options.training.to_json(),
                "versions": versions(),
            },
        )

    def trained(self) -> tuple[Dataset, _Trained]:
        """Return the data set without undecodable images, and the model that learned from it."""
        dataset, features = self.features(self.scanned())
        key = self._trained_key(dataset)
        # The workers of a cluster train together or not at all.
        cached = self.cache.find(key) is not None and not is_distributed()
        if not cached:
            self._train(key, dataset, features)
        entry = self.cache.entry(key)
        value = json.loads(sealed_bytes(entry / RECORD))
        record = schema.from_json(TrainingRecord, value, RECORD, error=TrainingError)
        return dataset, _Trained(entry / MODEL, record, cached)

    def subject(self, dataset: Dataset, trained: _Trained) -> ModelToBundle:
        """Return what is to be converted, and the images that go with it."""
        options, record = self.options, trained.record
        tuned = record.strategy is Strategy.FINE_TUNE
        division = dataset.division
        said = "" if tuned else random_note(record.weights, "answers")
        warnings = [said, "" if division is None else division.warning]
        for warning in filter(None, warnings):
            self.stages.note(warning)
        return ModelToBundle(
            command="build",
            name=options.output.name or options.photos.resolve().name,
            labels=dataset.labels,
            preprocessing=self.preprocessing,
            keras_model=trained.keras_model,
            model_id=record.model_sha256,
            load_model=lambda: load_keras(trained.keras_model),
            head=trained.head(dataset.labels),
            input=self.input,
            calibrate_on=_pictures(dataset.train),
            pictures=_pictures(dataset.test),
            data=_data_report(dataset),
            provenance=self._provenance(dataset, record),
            inputs=build_inputs(options, dataset),
            notes=(*self.input.doubts, *filter(None, warnings)),
            groups=None if dataset.groups is None else dataset.groups.file.content,
            converters=self.converters,
        )

    def _provenance(self, dataset: Dataset, record: TrainingRecord) -> dict[str, Any]:
        """Return what the manifest says of the origin of the model."""
        options = self.options
        return {
            "input": self.input.provenance(),
            "command": "build",
            "backbone": self.base.name,
            "weights": record.weights,
            "weights_sha256": record.weights_sha256,
            "data_sha256": dataset.sha256,
            "seed": self.seed,
            "options": {
                "size": [self.preprocessing.height, self.preprocessing.width],
                "alpha": options.base.alpha,
                **options.training.to_json(),
                "calibration_images": options.output.calibration_images,
            },
            "versions": versions(),
        }

    def _train(self, key: str, dataset: Dataset, features: Features) -> None:
        started = time.monotonic()
        trainer = Trainer(self.base, dataset, features, self.options.training, self.stages)
        learned = trainer.learned()
        seconds = time.monotonic() - started
        seconds += self.conversion_seconds + self.stages.seconds["features"]
        record = TrainingRecord(
            seconds=seconds,
            features_reused=features.reused,
            strategy=learned.strategy,
            reason=learned.reason,
            situation=learned.decision,
            phases=learned.phases,
            weights=self.base.load().source,
            weights_sha256=self.base.load().sha256,
            model_sha256=weights_sha256(learned.model),
            head=None if learned.head is None else learned.head.spec,
        )
        with self.cache.store(key) as folder:
            learned.model.save(folder / MODEL)
            if learned.head is not None:
                write_bytes(folder / HEAD, head_bytes(learned.head))
            write_json(folder / RECORD, schema.to_json(record))


def _data_report(dataset: Dataset) -> DataReport:
    return DataReport(
        sha256=dataset.sha256,
        counts=dataset.counts(),
        skipped=dataset.skipped,
        notes=dataset.notes,
        files=dataset.files,
        division=dataset.division,
    )


def _reduced(dataset: Dataset, count: int, seed: int) -> Dataset:
    """Keep at most so many images to learn from, validation among them, the classes in turn.

    Raises:
        UsageError: Too few for one of each class in both splits.
    """
    both = len(dataset.train) + len(dataset.val)
    if count >= both:
        return dataset
    val = max(len(dataset.labels), round(count * len(dataset.val) / both))
    if count - val < len(dataset.labels):
        raise UsageError(
            f"--train-images {count} is too few for {len(dataset.labels)} classes",
            hint=f"Use at least {2 * len(dataset.labels)}: training and validation need one each.",
        )
    return replace(
        dataset,
        train=_chosen(dataset.train, count - val, seed),
        val=_chosen(dataset.val, val, seed),
    )


def _chosen(images: Sequence[LabeledImage], count: int, seed: int) -> tuple[LabeledImage, ...]:
    """Choose so many images, and keep their order."""
    kept = {image.path for image in choose(images, [i.label for i in images], count, seed)}
    return tuple(image for image in images if image.path in kept)


def _tried(dataset: Dataset, seed: int) -> tuple[Picture, ...]:
    """Return the training images that the base is tried on, the classes in turn."""
    classes = [image.label for image in dataset.train]
    return _pictures(choose(dataset.train, classes, PICTURES, seed))


def _pictures(images: Sequence[LabeledImage]) -> tuple[Picture, ...]:
    return tuple(Picture(image.path, image.sha256, image.label) for image in images)
