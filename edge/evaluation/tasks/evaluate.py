"""``edge evaluate`` for bundles that are no classifiers: every file against annotations."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge.cache import StageCache
from edge.dataset.annotations.read import EXPORT_AGAIN, SUFFIXES, TruthFolder, read_truth
from edge.dataset.pictures import Picture
from edge.dataset.truth import PictureTruth
from edge.errors import DataError, UsageError
from edge.evaluation.confidence import Interval, ends
from edge.evaluation.evaluate import Scope, scope_notes, scope_of
from edge.evaluation.images import (
    SEEN,
    Origins,
    ScoredImages,
    counted,
    find_scored_images,
    origins_of,
)
from edge.evaluation.task_agreement import agreement
from edge.evaluation.tasks.answers import scoring, shown_threshold, task_answers
from edge.evaluation.tasks.metric import (
    TaskMetric,
    TaskScore,
    bootstrap_interval,
    metric_of,
)
from edge.progress import Progress, Step
from edge.runtime.bundle import Bundle
from edge.runtime.tasks.results import Answer
from edge.runtime.tasks.table import DecoderSpec, Task
from edge.wording import few

FEW: Final = 30  # images; a bootstrap of fewer says little
SCHEMA_VERSION: Final = 3  # of ``edge evaluate --json``; 2 is that of classifiers


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskVariantScore:
    """The scores of one variant.

    Attributes:
        name: The name of the variant.
        score: Its score against the annotations; its primary value is None without any.
        interval: The 95 % interval of the primary value, from a bootstrap over images.
        agreement: How much of its answers and those of the first variant are the same, 0..1, see
            ``edge.evaluation.task_agreement``; None for the first one.
    """

    name: str
    score: TaskScore
    interval: Interval | None
    agreement: float | None

    def to_json(self) -> dict[str, Any]:
        """Return the scores as JSON values."""
        return {
            "name": self.name,
            "score": self.score.primary,
            "interval": ends(self.interval),
            "values": dict(self.score.values),
            "classes": [asdict(item) for item in self.score.classes],
            "agreement": self.agreement,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEvaluation:
    """The scores of some variants of a bundle that is no classifier.

    Attributes:
        name: The name of the bundle.
        task: What it answers.
        metric: The name of the primary value.
        images: How many images could be read.
        annotated: How many of those that are scored have annotations.
        format: The format of the annotations; empty without any.
        skipped: The reason why each other image could not be read, by path.
        scope: Which images the scores are of.
        origins: The number of images of each origin.
        notes: What a reader should know, in one sentence each.
        variants: The scores of the variants, in the order of the bundle.
    """

    name: str
    task: Task
    metric: str
    images: int
    annotated: int
    format: str
    skipped: Mapping[str, str]
    scope: Scope
    origins: Mapping[str, int]
    notes: tuple[str, ...]
    variants: tuple[TaskVariantScore, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the scores as JSON values."""
        return {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "task": str(self.task),
            "metric": self.metric,
            "images": self.images,
            "annotated": self.annotated,
            "annotations": self.format,
            "skipped": dict(self.skipped),
            "scope": str(self.scope),
            "origins": dict(self.origins),
            "notes": list(self.notes),
            "variants": [item.to_json() for item in self.variants],
        }


def evaluate_task(
    bundle: Bundle,
    directory: Path,
    *,
    variants: tuple[str, ...],
    annotations: str | None,
    engine: str | None,
    cache: Path,
    progress: Progress,
) -> TaskEvaluation:
    """Score variants of a bundle; all of them if none is named.

    Without annotations the files are held against the first one.

    Raises:
        UsageError: The bundle is a classifier, or ``annotations`` names none.
        BundleError: A variant is missing or altered.
        DataError: There are no images, or the annotations do not fit.
    """
    manifest = bundle.manifest
    if manifest.decoder is None:
        raise UsageError(
            f"{bundle.path} is a classifier; --annotations has no effect with it",
            hint="Leave it out; class folders, or --truth, say what its images show.",
        )
    names = variants or tuple(item.name for item in manifest.variants)
    models = {name: bundle.model(name)[1] for name in names}
    images = find_scored_images(directory, (), manifest.preprocessing, progress, used=SUFFIXES)
    truth = read_truth(
        directory,
        images.pictures,
        manifest.labels,
        task=manifest.task,
        annotations=annotations,
        renaming=EXPORT_AGAIN,
    )
    if not truth.pictures and len(names) == 1:
        raise DataError(
            f"no image of {directory} is annotated, and one file alone agrees with nothing",
            hint="Name annotations with --annotations, or score several variants.",
        )
    record = origins_of(bundle)
    scored = [item.picture for item in truth.pictures] or list(images.pictures)
    origins = record.of(scored)
    scope, rows = scope_of(record, origins, [True] * len(scored))
    chosen = [scored[row] for row in rows]
    kept = [truth.pictures[row] for row in rows] if truth.pictures else []
    running = _Running(bundle, manifest.decoder, engine, StageCache(cache))
    shares = _agreements(running, models, _alike_on(record, scope, images.pictures), progress)
    scores = _scores(running, models, kept, shares, progress)
    notes = (
        *truth.notes,
        *scope_notes(record, scope, origins, len(rows)),
        *_doubts(truth, chosen, scores),
    )
    for note in notes:
        progress.note(note)
    return _result(bundle, running, images, truth, kept, scope, origins, notes, scores)


def _result(
    bundle: Bundle,
    running: "_Running",
    images: ScoredImages,
    truth: TruthFolder,
    kept: Sequence[PictureTruth],
    scope: Scope,
    origins: Sequence[Any],
    notes: tuple[str, ...],
    scores: tuple[TaskVariantScore, ...],
) -> TaskEvaluation:
    return TaskEvaluation(
        name=bundle.manifest.name,
        task=bundle.manifest.task,
        metric=running.metric.name,
        images=len(images.pictures),
        annotated=len(kept),
        format=truth.format,
        skipped=images.skipped,
        scope=scope,
        origins=counted(origins),
        notes=(*images.notes, *notes),
        variants=scores,
    )


class _Running:
    """A bundle whose files are asked for answers."""

    def __init__(
        self, bundle: Bundle, decoder: DecoderSpec, engine: str | None, cache: StageCache
    ) -> None:
        self._manifest = bundle.manifest
        self._decoder = decoder
        self._engine, self._cache = engine, cache
        self.metric: TaskMetric = metric_of(
            bundle.manifest.task, bundle.manifest.labels, threshold=shown_threshold(decoder)
        )

    def answers(
        self, model: Path, pictures: Sequence[Picture], step: Step, *, unsure: bool
    ) -> Sequence[Answer]:
        """Return the answers of a file: those that a user sees, or for mAP ``unsure`` ones too."""
        return task_answers(
            model,
            pictures,
            self._manifest.preprocessing,
            scoring(self._decoder) if unsure else self._decoder,
            self._manifest.labels,
            cache=self._cache,
            engine=self._engine,
            step=step,
        )


def _alike_on(record: Origins, scope: Scope, pictures: Sequence[Picture]) -> tuple[Picture, ...]:
    """Return the images that files are held against one another on: annotations play no part."""
    if scope is Scope.SEEN:
        return tuple(pictures)
    origins = record.of(pictures)
    return tuple(item for item, of in zip(pictures, origins, strict=True) if of not in SEEN)


def _agreements(
    running: _Running,
    models: Mapping[str, Path],
    pictures: Sequence[Picture],
    progress: Progress,
) -> dict[str, float | None]:
    """Return how much each file agrees with the first one, by the answers that a user sees."""
    if len(models) == 1:
        return dict.fromkeys(models)
    first, *others = models
    with progress.stage("answers", len(models) * len(pictures)) as step:
        wanted = running.answers(models[first], pictures, step, unsure=False)
        return {first: None} | {
            name: agreement(wanted, running.answers(models[name], pictures, step, unsure=False))
            for name in others
        }


def _scores(
    running: _Running,
    models: Mapping[str, Path],
    truth: Sequence[PictureTruth],
    shares: Mapping[str, float | None],
    progress: Progress,
) -> tuple[TaskVariantScore, ...]:
    """Score each file against the annotations; no file where there are none."""
    if not truth:
        unknown = TaskScore(primary=None)
        return tuple(
            TaskVariantScore(name=name, score=unknown, interval=None, agreement=shares[name])
            for name in models
        )
    metric, scores = running.metric, []
    pictures = [item.picture for item in truth]
    with progress.stage("score", len(models) * len(truth)) as step:
        for name, model in models.items():
            records = metric.records(truth, running.answers(model, pictures, step, unsure=True))
            scores.append(
                TaskVariantScore(
                    name=name,
                    score=metric.score(records),
                    interval=bootstrap_interval(metric, records, len(truth)),
                    agreement=shares[name],
                )
            )
    return tuple(scores)


def _doubts(
    truth: TruthFolder, pictures: Sequence[Picture], scores: Sequence[TaskVariantScore]
) -> list[str]:
    """Return notes on what the scores do not prove."""
    notes = []
    if not truth.pictures:
        notes.append(
            "no image is annotated: how good the answers are is not known, only how far the files "
            "agree with the first one; --annotations names some"
        )
    if len(pictures) < FEW:
        notes.append(
            f"{few(len(pictures), 'image')}: one of them changes a score by up to "
            f"{100 / len(pictures):.0f} points"
        )
    best = [item.score.primary for item in scores if item.score.primary is not None]
    if best and float(np.max(best)) < 0.02:
        notes.append(
            "no file scores above 2 %: the labels are not those of its outputs, it is fed wrongly, "
            "or it was not trained for these images"
        )
    return notes
