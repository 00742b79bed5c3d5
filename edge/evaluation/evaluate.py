"""``edge evaluate``: the written files of a bundle on a folder of images."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge.cache import StageCache
from edge.dataset.folder import Files
from edge.dataset.pictures import Picture
from edge.errors import DataError, UsageError
from edge.evaluation.chance import Agreement, Level, agreement
from edge.evaluation.confidence import Interval, ends, too_few
from edge.evaluation.images import (
    SEEN,
    Origin,
    Origins,
    counted,
    find_scored_images,
    origins_of,
    said,
)
from edge.evaluation.kept_pixels import kept_pixels
from edge.evaluation.multilabel import (
    LabelTruth,
    MultiLabelScore,
    few_positives,
    label_truth,
    multi_label_score,
)
from edge.evaluation.predictions import predictions
from edge.evaluation.score import ClassScore, Score, class_scores, confusion, score, share_interval
from edge.progress import Progress
from edge.runtime.bundle import Bundle
from edge.runtime.head import Head, read_head
from edge.runtime.output import OutputSpec
from edge.runtime.postprocess import best_class

if TYPE_CHECKING:
    from edge.evaluation.tasks.evaluate import TaskEvaluation


class Scope(StrEnum):
    """Which images the scores are of."""

    UNSEEN = "unseen"  # those that neither trained nor calibrated the bundle
    SEEN = "seen"  # those that it learned from, since there are no others
    UNKNOWN = "unknown"  # all of them; the bundle does not record what it learned from


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantScore:
    """The scores of one variant; agreement is with the first variant of the list.

    Attributes:
        name: The name of the variant.
        score: The score on the images of the scope.
        top1_interval: The 95 % Wilson interval of the top-1; None without labels.
        against_truth: What the labelled images tell against chance; None without labelled images,
            and if labels do not exclude one another.
        by_origin: The score apart for each origin of images that there is.
        classes: The scores per class, on the labelled images of the scope.
        multi_label: The scores on the images of the scope if labels do not exclude one another;
            there are no top-1 and no classes then.
    """

    name: str
    score: Score
    top1_interval: Interval | None
    against_truth: Agreement | None
    by_origin: Mapping[Origin, Score]
    classes: tuple[ClassScore, ...]
    multi_label: MultiLabelScore | None = None

    def to_json(self, labels: Sequence[str]) -> dict[str, Any]:
        """Return the scores as JSON values."""
        return {
            "name": self.name,
            **_score_json(self.score),
            "chance": self.against_truth and self.against_truth.chance,
            "level": self.against_truth and str(self.against_truth.level),
            "multi_label": None if self.multi_label is None else asdict(self.multi_label),
            "by_origin": {str(key): _score_json(item) for key, item in self.by_origin.items()},
            "classes": [item.to_json(labels[item.index]) for item in self.classes],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The scores of some variants of a bundle.

    Attributes:
        name: The name of the bundle.
        labels: The class names.
        images: The number of images that could be read.
        labelled: The number of those that have a class of the bundle.
        skipped: The reason why each other image could not be read, by path.
        files: All files of the folder.
        scope: Which images the scores are of.
        origins: The number of images of each origin, by name of ``Origin``.
        notes: What a reader should know, in one sentence each.
        output: What the files answer with.
        variants: The scores of the variants, in the order of the bundle.
    """

    name: str
    labels: tuple[str, ...]
    images: int
    labelled: int
    skipped: dict[str, str]
    files: Files
    scope: Scope
    origins: dict[str, int]
    notes: tuple[str, ...]
    output: OutputSpec
    variants: tuple[VariantScore, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the scores as JSON values."""
        first = self.variants[0]
        several = first.multi_label
        labelled = first.score.labelled if several is None else several.images
        return {
            "schema_version": 2,
            "name": self.name,
            "images": self.images,
            "labelled": self.labelled,
            "skipped": self.skipped,
            "files": self.files.to_json(),
            "scope": str(self.scope),
            "scored": {"images": first.score.images, "labelled": labelled},
            "origins": self.origins,
            "notes": list(self.notes),
            "output": self.output.to_json(),
            "variants": [item.to_json(self.labels) for item in self.variants],
        }


def _score_json(score: Score) -> dict[str, Any]:
    return asdict(score) | {"top1_interval": ends(top1_interval(score))}


def top1_interval(score: Score) -> Interval | None:
    """Return the 95 % Wilson interval of a top-1; None without labels."""
    if score.top1 is None:
        return None
    return share_interval(round(score.top1 * score.labelled), score.labelled)


def evaluate(
    path: Path,
    directory: Path,
    *,
    variants: tuple[str, ...],
    truth_file: Path | None = None,
    annotations: str | None = None,
    engine: str | None,
    cache: Path,
    progress: Progress,
    file_notes: Callable[[Path], Iterable[str]] = lambda path: (),  # noqa: ARG005
) -> "Evaluation | TaskEvaluation":
    """Score variants of a bundle; all of them if none is named.

    Images that trained or calibrated the bundle are scored apart if there are others. A bundle that
    is no classifier is scored against annotations: see ``evaluate_task``. ``file_notes`` gives what
    a reader should know of a model file.

    Raises:
        UsageError: There is no bundle at the path, the engine is for another format, or the truth
            does not fit.
        BundleError: A variant is missing or altered.
        DataError: There are no images, or none whose class the bundle knows.
    """
    bundle = Bundle.open(path)
    if bundle.manifest.decoder is not None or annotations is not None:
        from edge.evaluation.tasks.evaluate import evaluate_task

        if truth_file is not None:
            raise UsageError(
                f"--truth has no effect with a bundle of {bundle.manifest.task}",
                hint="Leave it out, and name annotations with --annotations.",
            )
        result: Evaluation | TaskEvaluation = evaluate_task(
            bundle,
            directory,
            variants=variants,
            annotations=annotations,
            engine=engine,
            cache=cache,
            progress=progress,
        )
    else:
        result = _evaluate_classifier(
            bundle, directory, variants, truth_file, engine, cache, progress
        )
    notes = tuple(
        f"{item.name}: {note}"
        for item in result.variants
        for note in file_notes(bundle.model(item.name)[1])
    )
    for note in notes:
        progress.note(note)
    return replace(result, notes=(*result.notes, *notes))


def _evaluate_classifier(
    bundle: Bundle,
    directory: Path,
    variants: tuple[str, ...],
    truth_file: Path | None,
    engine: str | None,
    cache: Path,
    progress: Progress,
) -> Evaluation:
    labels, output = bundle.manifest.labels, bundle.manifest.output
    names = variants or tuple(item.name for item in bundle.manifest.variants)
    models = [bundle.model(name)[1] for name in names]
    head = read_head(bundle)
    record = origins_of(bundle)
    images = find_scored_images(directory, labels, bundle.manifest.preprocessing, progress)
    pictures = images.pictures
    several = label_truth(output, labels, pictures, truth_file, directory)
    truth = [None if several else picture.label for picture in pictures]
    known = [label is not None for label in truth] if several is None else several.known
    if not any(known):
        raise _nothing_labelled(directory, labels, images.notes)
    tables = _tables(bundle, models, pictures, head, engine, StageCache(cache), progress)
    origins = record.of(pictures)
    scope, rows = scope_of(record, origins, known)
    first = tables[0] if len(tables) > 1 else None  # a file alone agrees with nothing
    scores = tuple(
        _variant_score(name, table, first, truth, origins, rows, output, several)
        for name, table in zip(names, tables, strict=True)
    )
    notes = (*scope_notes(record, scope, origins, len(rows)), *_doubts(scores, labels))
    for note in notes:
        progress.note(note)
    return Evaluation(
        name=bundle.manifest.name,
        labels=labels,
        images=len(pictures),
        labelled=sum(known),
        skipped=images.skipped,
        files=images.files,
        scope=scope,
        origins=counted(origins),
        notes=(*images.notes, *notes),
        output=output,
        variants=scores,
    )


def _tables(
    bundle: Bundle,
    models: Sequence[Path],
    pictures: Sequence[Picture],
    head: Head | None,
    engine: str | None,
    cache: StageCache,
    progress: Progress,
) -> list[NDArray[np.float32]]:
    """Return the scores (images, classes) of each model file."""
    contract = bundle.manifest.preprocessing
    with (
        progress.stage("score", len(models) * len(pictures)) as step,
        kept_pixels(pictures if len(models) > 1 else (), contract, cache) as decode,
    ):
        return [
            predictions(
                model,
                pictures,
                contract,
                cache=cache,
                engine=engine,
                head=head,
                output=bundle.manifest.output,
                step=step,
                decode=decode,
            )
            for model in models
        ]


def _nothing_labelled(directory: Path, labels: Sequence[str], notes: Sequence[str]) -> DataError:
    return DataError(
        f"no image of {directory} lies in a folder named after a class of the bundle",
        hint=f"Its classes are {', '.join(labels[:5])}{' ...' if len(labels) > 5 else '.'}"
        + "".join(f" {note.removesuffix('.')}." for note in notes),
    )


def scope_of(
    record: Origins, origins: Sequence[Origin], known: Sequence[bool]
) -> tuple[Scope, list[int]]:
    """Return what the scores are of, and the rows of those images."""
    everything = list(range(len(origins)))
    unseen = [row for row in everything if origins[row] not in SEEN]
    if any(known[row] for row in unseen):
        return (Scope.UNSEEN if record.is_recorded else Scope.UNKNOWN), unseen
    return Scope.SEEN, everything


def scope_notes(
    record: Origins, scope: Scope, origins: Sequence[Origin], scored: int
) -> tuple[str, ...]:
    """Return what a reader should know of the images: which of them made the bundle."""
    notes = []
    seen = len(origins) - sum(origin not in SEEN for origin in origins)
    which = said({name: count for name, count in counted(origins).items() if Origin(name) in SEEN})
    if scope is Scope.SEEN:
        notes.append(
            "THESE SCORES ARE OF IMAGES THAT THE BUNDLE LEARNED FROM "
            f"({which}): they say nothing about new ones; score it on others"
        )
    elif seen:
        notes.append(
            f"{seen} of the {len(origins)} images made the bundle ({which}); they are counted "
            f"apart, and the scores are of the other {scored}"
        )
    if record.gap:
        notes.append(record.gap)
    return tuple(notes)


def _doubts(variants: Sequence[VariantScore], labels: Sequence[str]) -> list[str]:
    """Return notes on what the scores do not prove: few images, or answers at chance level."""
    guessing = [
        f"{item.name} is right on {item.against_truth.agreeing} of {item.against_truth.images} "
        f"labelled images, no more than guessing ({100 * item.against_truth.chance:.1f} %)"
        for item in variants
        if item.against_truth is not None and item.against_truth.level is Level.CHANCE
    ]
    first = variants[0]
    if first.multi_label is not None:
        several = first.multi_label
        held = {item.label: item.positives for item in several.labels}
        return few_positives(held, several.images)
    counts = dict.fromkeys(labels, 0) | {labels[item.index]: item.images for item in first.classes}
    top1 = first.score.top1
    assert top1 is not None  # there is a labelled image
    return [*guessing, *too_few(top1, first.score.labelled, counts)]


def _variant_score(
    name: str,
    table: NDArray[np.float32],
    reference: NDArray[np.float32] | None,
    truth: Sequence[int | None],
    origins: Sequence[Origin],
    rows: Sequence[int],
    output: OutputSpec,
    several: LabelTruth | None,
) -> VariantScore:
    """Score one (images, classes) table, on the images of the scope and apart by origin."""

    def of(chosen: Sequence[int]) -> Score:
        other = None if reference is None else reference[chosen]
        return score(table[chosen], [truth[row] for row in chosen], other, output)

    overall = of(rows)
    known = [row for row in rows if truth[row] is not None]
    said = best_class(table[known], output)
    labels = np.array([truth[row] for row in known], np.int64)
    return VariantScore(
        name=name,
        score=overall,
        top1_interval=top1_interval(overall),
        against_truth=agreement(said, labels) if known else None,
        by_origin={
            origin: of([row for row, kind in enumerate(origins) if kind is origin])
            for origin in Origin
            if origin in origins
        },
        classes=tuple(
            item
            for item in class_scores(confusion(said, labels), table.shape[1])
            if item.images or item.answers
        ),
        multi_label=(
            None if several is None else multi_label_score(table[rows], several.of(rows), output)
        ),
    )
