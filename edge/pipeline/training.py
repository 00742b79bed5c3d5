"""Trains by the strategy that was asked for, or that the data suggests."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.dataset.scan import Dataset, LabeledImage
from edge.embedding.features import Features
from edge.pipeline.job import TimedStages
from edge.runtime.head import Head
from edge.runtime.output import HeadKind
from edge.training.base import Base
from edge.training.head import Examples, TrainedHead, fit_head, train_head
from edge.training.models import joined
from edge.training.objective import scaled
from edge.training.options import Strategy, TrainingOptions, TuningOptions
from edge.training.strategy import Choice, Decision, Situation, choose, imagenet_distance
from edge.training.tuning import Phase, Tuned, TuningData, batches, tune
from edge.training.weights import RANDOM


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """A trained model.

    Attributes:
        model: A Keras model, RGB 0..255 -> probabilities.
        strategy: The strategy that made it.
        reason: Why that one, for people; empty where it was asked for.
        decision: What decided; None where nothing had to be decided.
        phases: The phases of training, in order.
        head: Where the model is the base alone: what makes probabilities of its features.
    """

    model: Any
    strategy: Strategy
    reason: str
    decision: Decision | None
    phases: tuple[Phase, ...]
    head: Head | None = None


class Trainer:
    """Trains one data set.

    Args:
        base: The pretrained network.
        dataset: Its readable images.
        features: The features of its training images, then of its validation images.
        options: How to train.
        stages: Told of progress.
    """

    def __init__(
        self,
        base: Base,
        dataset: Dataset,
        features: Features,
        options: TrainingOptions,
        stages: TimedStages,
    ) -> None:
        self._base, self._dataset, self._options = base, dataset, options
        self._stages = stages
        self._classes = len(dataset.labels)
        count = len(dataset.train)
        self._train = Examples(features.vectors[:count], _labels(dataset.train))
        self._val = Examples(features.vectors[count:], _labels(dataset.val))

    def learned(self) -> Learned:
        """Train by the strategy that was asked for, or that the data suggests.

        Raises:
            UsageError: The base has no such layer to unfreeze.
            TrainingError: The loss became NaN or infinite.
        """
        strategy = self._options.strategy
        if self._options.head.metric is not None:
            return self._with_metric_head(self._options.head.metric)
        if strategy is Strategy.FEATURES:
            return self._with_head(self._head(keep_apart=False), "", None)
        head = self._head(keep_apart=True)
        if strategy is Strategy.AUTO:
            return self._decided(head)
        tuned = self._tuned(head, self._options.tuning, fine=strategy is Strategy.FINE_TUNE)
        before, after = self._head_phase(head).val_accuracy, tuned.phase.val_accuracy
        if after < before:
            self._stages.note(
                f"{strategy} lowered the validation accuracy from {before:.1%} to {after:.1%}: "
                "--strategy auto would keep the features"
            )
        return self._with_base(head, tuned, strategy, "", None)

    def _with_metric_head(self, kind: HeadKind) -> Learned:
        """Fit a head on training and validation images: it needs none apart to choose by."""
        with self._stages.stage("head"):
            head = fit_head(
                kind,
                np.concatenate([self._train.features, self._val.features]),
                np.concatenate([self._train.labels, self._val.labels]),
                self._dataset.labels,
            )
        return Learned(
            model=self._base.load().model,
            strategy=Strategy.FEATURES,
            reason="",
            decision=None,
            phases=(),
            head=head,
        )

    def _decided(self, head: TrainedHead) -> Learned:
        situation = self._situation(head)
        choice = choose(situation)
        decision = Decision(situation=situation, quadrant=choice.quadrant)
        if choice.strategy is Strategy.FEATURES:
            return self._with_head(self._head(keep_apart=False), choice.reason, decision)
        tuned = self._tuned(head, _completed(self._options.tuning, choice), fine=True)
        before, after = self._head_phase(head), tuned.phase
        decision = replace(decision, tuned_val_accuracy=after.val_accuracy)
        if after.val_loss < before.val_loss and after.val_accuracy >= before.val_accuracy:
            return self._with_base(head, tuned, choice.strategy, choice.reason, decision)
        reason = _not_adopted(choice, before, after)
        return self._with_head(self._head(keep_apart=False), reason, decision)

    def _situation(self, head: TrainedHead) -> Situation:
        pretrained = self._base.load().source != RANDOM
        distance = imagenet_distance(self._base.load().model, self._train.features)
        return Situation(
            images_per_class=len(self._dataset.train) / self._classes,
            distance=distance if pretrained else None,
            pretrained=pretrained,
            val_images=len(self._dataset.val),
            val_accuracy=self._head_phase(head).val_accuracy,
        )

    def _head(self, *, keep_apart: bool) -> TrainedHead:
        options = self._options.head
        with self._stages.stage("head", options.epochs) as step:
            return train_head(
                self._train,
                self._val,
                self._classes,
                options,
                lambda: step(1),
                keep_apart=keep_apart,
            )

    def _tuned(self, head: TrainedHead, tuning: TuningOptions, *, fine: bool) -> Tuned:
        options, dataset = self._options, self._dataset
        preprocessing = self._base.preprocessing
        data = TuningData(dataset.train, dataset.val, preprocessing, self._classes)
        title = "fine-tuning" if fine else "augmented training"
        total = tuning.epochs * batches(len(dataset.train), options.head)
        with self._stages.stage(title, total) as step:
            return tune(
                self._base.load().model,
                head.model,
                data,
                options.head,
                tuning,
                fine=fine,
                on_batch=lambda: step(1),
            )

    def _with_head(self, head: TrainedHead, reason: str, decision: Decision | None) -> Learned:
        return Learned(
            model=joined(self._base.load().model, head.model),
            strategy=Strategy.FEATURES,
            reason=reason,
            decision=decision,
            phases=(self._head_phase(head),),
        )

    def _with_base(
        self,
        head: TrainedHead,
        tuned: Tuned,
        strategy: Strategy,
        reason: str,
        decision: Decision | None,
    ) -> Learned:
        return Learned(
            model=tuned.model,
            strategy=strategy,
            reason=reason,
            decision=decision,
            phases=(self._head_phase(head), tuned.phase),
        )

    def _head_phase(self, head: TrainedHead) -> Phase:
        options = self._options.head
        return Phase(
            name="head",
            learning_rate=scaled(options.learning_rate, options.batch_size),
            trainable=sum(int(np.prod(v.shape)) for v in head.model.trainable_variables),
            epochs=head.epochs,
            history=head.history,
        )


def _completed(options: TuningOptions, choice: Choice) -> TuningOptions:
    """Return what the user left open, as the choice suggests."""
    return replace(
        options,
        unfreeze=choice.unfreeze if options.unfreeze is None else options.unfreeze,
        mirror=choice.mirror if options.mirror is None else options.mirror,
    )


def _not_adopted(choice: Choice, before: Phase, after: Phase) -> str:
    return (
        f"features, since {choice.reason.partition(',')[0]} did not help: validation accuracy "
        f"{before.val_accuracy:.1%} before and {after.val_accuracy:.1%} after it, loss "
        f"{before.val_loss:.3f} and {after.val_loss:.3f}."
    )


def _labels(images: Sequence[LabeledImage]) -> NDArray[np.int64]:
    return np.array([image.label for image in images], np.int64)
