"""Runs every file of a model that is no classifier, and holds it against what it was made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.turns import Turns
from converters.base import TARGETS, Target
from edge.cache import StageCache
from edge.errors import EdgeError, InferenceError, ModelLoadError
from edge.evaluation.confidence import ends
from edge.evaluation.task_agreement import agreements
from edge.evaluation.tasks.answers import scoring, shown_threshold, task_answers
from edge.evaluation.tasks.metric import SHOWN, bootstrap_interval, metric_of, resamples
from edge.pipeline.conversion import Converted
from edge.pipeline.job import ModelToBundle
from edge.pipeline.report import ADOPTED_FILE, FLOAT_FILE, Bounds
from edge.pipeline.scoring import file_facts, timed_in_turn
from edge.pipeline.tasks.report import TaskReference, TaskVariant
from edge.progress import Progress, Step
from edge.runtime.tasks.results import Answer, Embedding, Segmentation


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What the files say of the held-out images.

    Attributes:
        reference: An answer of the float file, or of the adopted one, for each image.
        files: The files that run, each with its answers.
    """

    reference: Sequence[Answer]
    files: tuple[tuple[Converted, Sequence[Answer]], ...]


def answers_of(
    subject: ModelToBundle, path: Path, cache: StageCache, step: Step
) -> Sequence[Answer]:
    """Return the answers of one file to the held-out images; see ``task_answers``."""
    assert subject.decoder is not None  # of a classifier, there are tables of scores
    return task_answers(
        path,
        subject.pictures,
        subject.preprocessing,
        subject.decoder,
        subject.labels,
        cache=cache,
        step=step,
    )


def answer_all(
    subject: ModelToBundle,
    made: Sequence[Converted],
    reference: Sequence[Answer],
    *,
    cache: StageCache,
    progress: Progress,
    failed: Callable[[Target, EdgeError], None],
) -> Answered:
    """Run every file over every held-out image.

    Args:
        subject: The model and its images.
        made: The files.
        reference: The answers of the float file, or of the adopted one.
        cache: Where answers are kept.
        progress: Told of the stage.
        failed: Told of each file that does not load, does not run or answers with NaN.
    """
    files: list[tuple[Converted, Sequence[Answer]]] = []
    with progress.stage("score", len(made) * len(subject.pictures)) as step:
        for item in made:
            if item is subject.adopted:
                step(len(reference))
                files.append((item, reference))
                continue
            try:
                files.append((item, answers_of(subject, item.path, cache, step)))
            except (InferenceError, ModelLoadError) as error:
                failed(item.target, error)
    return Answered(reference=reference, files=tuple(files))


def score_all(
    subject: ModelToBundle, answered: Answered, seed: int, cache: StageCache, progress: Progress
) -> tuple[TaskReference, tuple[TaskVariant, ...], Turns]:
    """Return the scores of what the files are held against, the report of each file, and the times.

    Args:
        subject: The model and its images.
        answered: What the files say.
        seed: The seed of the bootstrap.
        cache: Where answers and facts of the files are kept.
        progress: Told of the stage.
    """
    turns = timed_in_turn(subject, [item for item, _ in answered.files], progress)
    scorer = AnnotationScorer(subject, cache)
    variants = []
    for item, answers in answered.files:
        name = item.target.name
        share, bounds = None, None
        if subject.adopted is None:
            share, bounds = _agreement(answered.reference, answers, seed)
        variants.append(
            TaskVariant(
                name=name,
                path=f"models/{TARGETS[name].filename}",
                agreement=share,
                agreement_interval=bounds,
                found=sum(map(results, answers)),
                **scorer.scores(item.path),
                **file_facts(item, turns.benchmarks[name], cache),
            )
        )
    return scorer.reference(len(subject.pictures)), tuple(variants), turns


class AnnotationScorer:
    """Holds files against the annotations of the images, by the metric of the task.

    Args:
        subject: The model, its images and their annotations, which may be none.
        cache: Where answers are kept.
    """

    def __init__(self, subject: ModelToBundle, cache: StageCache) -> None:
        assert subject.decoder is not None  # it is no classifier
        threshold = shown_threshold(subject.decoder)
        self._subject, self._cache = subject, cache
        self._decoder = scoring(subject.decoder)
        self._metric = metric_of(subject.decoder.task, subject.labels, threshold=threshold)
        self._truths = subject.truths
        given = subject.float_file if subject.adopted is None else subject.adopted.path
        assert given is not None  # one of the two is there
        self._before = self._records(given) if self._truths else None

    def _records(self, path: Path) -> Any:
        answers = task_answers(
            path,
            [item.picture for item in self._truths],
            self._subject.preprocessing,
            self._decoder,
            self._subject.labels,
            cache=self._cache,
        )
        return self._metric.records(self._truths, answers)

    def _bounds(self, records: Any) -> Bounds | None:
        return ends(bootstrap_interval(self._metric, records, len(self._truths)))

    def reference(self, images: int) -> TaskReference:
        """Return the scores of what the files are held against."""
        known = self._before is not None
        return TaskReference(
            of=FLOAT_FILE if self._subject.adopted is None else ADOPTED_FILE,
            images=images,
            annotated=len(self._truths),
            metric=SHOWN.get(self._metric.name, self._metric.name) if known else "",
            score=self._metric.score(self._before).primary if known else None,
            interval=self._bounds(self._before) if known else None,
        )

    def scores(self, path: Path) -> dict[str, Any]:
        """Return what a variant's report says of annotations; nothing without any."""
        if self._before is None:
            return {}
        records = self._records(path)
        scored, before = self._metric.score(records), self._metric.score(self._before).primary
        drop, interval = None, None
        if self._subject.adopted is None and None not in (scored.primary, before):
            drop = round(100 * (before - scored.primary), 6)  # type: ignore[operator]
            interval = self._drop_interval(records)
        return {
            "score": scored.primary,
            "interval": self._bounds(records),
            "values": dict(scored.values),
            "classes": scored.classes,
            "drop_points": drop,
            "drop_interval": interval,
        }

    def _drop_interval(self, records: Any) -> Bounds | None:
        """Return the ends of the drop, in points, over the same draws for both files."""
        drops = []
        for weights in resamples(len(self._truths)):
            before = self._metric.primary(self._before, weights)
            after = self._metric.primary(records, weights)
            if before is not None and after is not None:
                drops.append(100 * (before - after))
        if not drops:
            return None
        low, high = np.quantile(drops, (0.025, 0.975))
        return round(float(low), 6), round(float(high), 6)


def _agreement(
    wanted: Sequence[Answer], given: Sequence[Answer], seed: int
) -> tuple[float | None, Bounds | None]:
    """Return how much two files agree, and the ends of it, 95 %, from a bootstrap over images.

    Both are None where neither finds anything: they agree on nothing.
    """
    alike = agreements(wanted, given)
    if alike.empty:
        return None, None
    drawn = alike.share(resamples(len(wanted), seed=seed).astype(np.float64))
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(alike.share()[0]), (round(float(low), 6), round(float(high), 6))


def results(answer: Answer) -> int:
    """Return how many results an answer has: objects, bodies, classes of pixels, or a vector."""
    if isinstance(answer, Embedding):
        return 1
    if isinstance(answer, Segmentation):
        return len(np.unique(answer.mask))
    return len(answer.items)
