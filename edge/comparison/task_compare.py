"""``edge compare`` of detectors, segmentation, poses and embeddings: by annotations or answers."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.environment import host
from edge.cache import StageCache
from edge.comparison.images import ComparedImages, compared_images
from edge.comparison.judge import judge, overall
from edge.comparison.latency import latencies
from edge.comparison.model import ComparedModel
from edge.comparison.policy import Policy, check_metrics, task_policy
from edge.comparison.result import Check, Comparison, PictureChange, Side
from edge.comparison.task_metrics import TaskEvidence
from edge.comparison.task_scores import ScoredSides, scored_sides
from edge.dataset.annotations.read import EXPORT_AGAIN, TruthFolder, read_truth
from edge.dataset.pictures import Picture
from edge.dataset.truth import PictureTruth
from edge.errors import UsageError
from edge.evaluation.task_agreement import agreements, differences
from edge.evaluation.tasks.answers import scoring, shown_threshold, task_answers
from edge.evaluation.tasks.metric import metric_of
from edge.progress import Progress, Step
from edge.runtime.tasks.results import Answer


def compare_tasks(
    sides: tuple[ComparedModel, ComparedModel],
    directory: Path,
    *,
    policy: Policy,
    confidence: float,
    cache: Path,
    progress: Progress,
    annotations: str | None = None,
) -> Comparison:
    """Judge a candidate by the annotations, or else by how far its answers agree.

    Args:
        sides: Baseline and candidate, of which at least one is no classifier.
        directory: The folder of pictures.
        policy: The rules; in place of the built-in policy of classifiers stands that of tasks.
        confidence: Confidence level of all intervals, 0..1.
        cache: The folder where answers are kept.
        progress: What is told of the work.
        annotations: As ``read_truth`` takes it.

    Raises:
        UsageError: The sides do not answer the same question, or the policy is for classifiers.
        DataError: No picture is left to compare on, or the annotations do not fit.
        InferenceError: A model fails, or its outputs are not of its decoder's layout.
    """
    task = _common_task(*sides)
    check_metrics(_policy(policy, annotated=True), TaskEvidence, f"a model for {task}")
    images = compared_images(directory, sides, progress)
    truth = _truth(sides[0], directory, images.pictures, annotations)
    policy = _policy(policy, annotated=bool(truth.pictures))
    with progress.stage("score", len(sides) * len(images.pictures)) as step:
        before, after = (_answers(side, images.pictures, cache, step) for side in sides)
    evidence = TaskEvidence(
        sizes=(sides[0].path.stat().st_size, sides[1].path.stat().st_size),
        identical=sides[0].sha256 == sides[1].sha256,
        confidence=confidence,
        timings=latencies(policy.sources(), sides, confidence, progress),
        agreements=agreements(before, after),
        scored=_scored(sides, truth.pictures, cache, progress),
    )
    images = replace(images, notes=(*images.notes, *truth.notes))
    changes = _changes(images.pictures, before, after)
    return _findings(task, sides, images, evidence, (judge(policy, evidence), policy), changes)


def _policy(policy: Policy, *, annotated: bool) -> Policy:
    """Return the user's policy, or the built-in one of tasks in place of that of classifiers."""
    return task_policy(annotated=annotated) if policy.record.path is None else policy


def _truth(
    side: ComparedModel, directory: Path, pictures: Sequence[Picture], annotations: str | None
) -> TruthFolder:
    assert side.decoder is not None  # both sides have the same task
    return read_truth(
        directory,
        pictures,
        side.labels,
        task=side.decoder.task,
        annotations=annotations,
        renaming=EXPORT_AGAIN,
    )


def _changes(
    pictures: Sequence[Picture], before: Sequence[Answer], after: Sequence[Answer]
) -> list[PictureChange]:
    return [
        PictureChange(
            path=str(picture.path), lost=found.lost, gained=found.gained, moved=found.moved
        )
        for picture, *pair in zip(pictures, before, after, strict=True)
        if (found := differences(*pair))
    ]


def _common_task(baseline: ComparedModel, candidate: ComparedModel) -> str:
    ours, theirs = (
        "classification" if side.decoder is None else str(side.decoder.task)
        for side in (baseline, candidate)
    )
    if ours != theirs:
        raise UsageError(
            f"{baseline.name} is for {ours}, {candidate.name} for {theirs}: they have no answer in "
            "common",
            hint="Compare models that answer the same question.",
        )
    if baseline.labels != candidate.labels:
        raise UsageError(
            f"{baseline.name} and {candidate.name} have different labels, or in another order",
            hint="Only models of the same classes, in the same order, can be compared.",
        )
    return ours


def _scored(
    sides: tuple[ComparedModel, ComparedModel],
    truth: Sequence[PictureTruth],
    cache: Path,
    progress: Progress,
) -> ScoredSides | None:
    """Score both sides by the annotations; None where there are none."""
    decoder = sides[0].decoder
    if not truth or decoder is None:
        return None
    pictures = [item.picture for item in truth]
    metric = metric_of(decoder.task, sides[0].labels, threshold=shown_threshold(decoder))
    unsure = [replace(side, decoder=scoring(side.decoder or decoder)) for side in sides]
    with progress.stage("annotated", len(sides) * len(pictures)) as step:
        first, second = (
            metric.records(truth, _answers(side, pictures, cache, step)) for side in unsure
        )
    return scored_sides(metric, (first, second), len(truth))


def _answers(
    side: ComparedModel, pictures: Sequence[Picture], cache: Path, step: Step
) -> Sequence[Answer]:
    assert side.decoder is not None  # both sides have the same task
    return task_answers(
        side.path,
        pictures,
        side.preprocessing,
        side.decoder,
        side.labels,
        cache=StageCache(cache),
        engine=side.interpreter,
        step=step,
    )


def _findings(
    task: str,
    sides: tuple[ComparedModel, ComparedModel],
    images: ComparedImages,
    evidence: TaskEvidence,
    judged: tuple[tuple[Check, ...], Policy],
    changes: Sequence[PictureChange],
) -> Comparison:
    checks, policy = judged
    return Comparison(
        verdict=overall(checks),
        baseline=_side(sides, evidence, 0),
        candidate=_side(sides, evidence, 1),
        images=len(images.pictures),
        labelled=0 if evidence.scored is None else evidence.scored.images,
        left_out=images.left_out,
        skipped=images.skipped,
        identical=evidence.identical,
        paired=None,
        agreement=float(evidence.agreements.share()[0]),
        checks=checks,
        classes=(),
        flips=(),
        confusion=(),
        policy=policy.record,
        host=host(),
        notes=(*images.notes, *_notes(sides, evidence)),
        task=task,
        changes=tuple(changes),
    )


def _side(sides: tuple[ComparedModel, ComparedModel], evidence: TaskEvidence, which: int) -> Side:
    model = sides[which]
    times = [timing for timing in evidence.timings.values() if timing is not None]
    return Side(
        name=model.name,
        path=str(model.path),
        sha256=model.sha256,
        size_bytes=evidence.sizes[which],
        engine=model.engine,
        top1=None,
        top1_interval=None,
        top5=None,
        top5_interval=None,
        ece=None,
        score=None if evidence.scored is None else evidence.scored.whole[which],
        latency_ms=(times[0].baseline_ms, times[0].candidate_ms)[which] if times else None,
    )


def _notes(sides: tuple[ComparedModel, ComparedModel], evidence: TaskEvidence) -> list[str]:
    notes = []
    if evidence.scored is None:
        notes.append(
            "the candidate is held against the baseline's answers, whether these are right or not"
        )
    if evidence.identical:
        notes.append("both sides are the same file, so that nothing can be lost")
    notes += [side.fed for side in sides if side.fed]
    return notes
