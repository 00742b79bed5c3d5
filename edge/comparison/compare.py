"""``edge compare``: both sides over the same images, then the rules of the policy."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.environment import host
from edge.cache import StageCache
from edge.comparison.evidence import UNKNOWN, Evidence, class_recalls, confusion, flips
from edge.comparison.file_side import (
    NOTHING,
    given,
    identified_side,
    option_of,
    refuse_for_classifiers,
)
from edge.comparison.images import ComparedImages, compared_images
from edge.comparison.judge import judge, output_check, overall
from edge.comparison.latency import latencies
from edge.comparison.metrics import METRICS
from edge.comparison.model import (
    ComparedModel,
    adopted_output,
    adopted_range,
    check_classes,
    column_order,
    find_model,
)
from edge.comparison.policy import Policy, check_metrics, default_policy, policy_of_labels
from edge.comparison.result import Check, Comparison, Interval, Paired, Side
from edge.comparison.task_compare import compare_tasks
from edge.comparison.weights import same_network
from edge.dataset.pictures import Picture
from edge.errors import UsageError
from edge.evaluation.confidence import mcnemar, wilson
from edge.evaluation.kept_pixels import kept_pixels
from edge.evaluation.multilabel import label_truth, multi_label_score
from edge.evaluation.predictions import raw_outputs
from edge.evaluation.score import are_probabilities, calibration_error, score
from edge.identification.model import StatedModel
from edge.progress import Progress
from edge.runtime.bundle import Bundle
from edge.runtime.contract import Preprocessing
from edge.runtime.head import class_probabilities
from edge.runtime.output import OutputActivation, OutputSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """The options of a comparison.

    Attributes:
        bundle: The bundle whose variants, labels and contract are meant.
        directory: The folder of images.
        baseline: The model to compare against, as ``find_model`` takes it.
        candidate: The model that is judged, as ``find_model`` takes it.
        policy: The rules that the candidate has to keep.
        confidence: Confidence level of all intervals, 0..1.
        engine: The interpreter for the format that it runs; None for the first of each format.
        cache: The folder where scores are kept.
        output_activation: What the values of a model file are; AUTO looks for it in the file.
        truth: A CSV file with the labels of each image, where they do not exclude one another.
        input_range: What a model file with an input of real values takes, as ``parse_range``
            reads it; None for what the file states, or else the range of the bundle.
        annotations: For models that are no classifiers, as ``read_truth`` takes it.
        stated: What is said of model files that are no classifiers.
    """

    bundle: Path
    directory: Path
    baseline: str
    candidate: str
    policy: Policy
    confidence: float
    engine: str | None
    cache: Path
    output_activation: OutputActivation = OutputActivation.AUTO
    truth: Path | None = None
    input_range: str | None = None
    annotations: str | None = None
    stated: StatedModel = NOTHING


def compare(options: CompareOptions, progress: Progress) -> Comparison:
    """Judge the candidate.

    Raises:
        UsageError: There is no such bundle, model or interpreter, or the two sides cannot be
            compared.
        BundleError: A bundle was altered.
        ModelLoadError: A model does not load.
        DataError: No image is left to compare on.
        InferenceError: A model fails, or answers with NaN.
    """
    named = _sides(options)
    if any(side.decoder is not None for side in named):
        refuse_options_of_classifiers(options)
        return compare_tasks(
            named,
            options.directory,
            policy=options.policy,
            confidence=options.confidence,
            cache=options.cache,
            progress=progress,
            annotations=options.annotations,
        )
    return _compare_classifiers(named, options, progress)


def _compare_classifiers(
    named: tuple[ComparedModel, ComparedModel], options: CompareOptions, progress: Progress
) -> Comparison:
    """Judge a classifier; see ``compare``."""
    if options.annotations is not None:
        raise UsageError(
            "--annotations is for bundles that are no classifiers",
            hint="Leave it out; class folders, or --truth, say what the images show.",
        )
    refuse_for_classifiers(options.stated)
    check_metrics(options.policy, Evidence, "a classifier")
    order = column_order(*named)
    images = compared_images(options.directory, named, progress)
    sides, (before, after) = _tables(named, images.pictures, options, progress)
    baseline, candidate = sides
    several = label_truth(
        baseline.output, baseline.labels, images.pictures, options.truth, options.directory
    )
    policy = options.policy if several is None else policy_of_labels(options.policy)
    varies = output_check([("baseline", baseline, before), ("candidate", candidate, after)])
    labels = [UNKNOWN if item.label is None or several else item.label for item in images.pictures]
    evidence = Evidence(
        labels=baseline.labels,
        truth=np.array(labels, np.int64),
        baseline=before,
        candidate=after if order is None else after[:, order],
        sizes=(baseline.path.stat().st_size, candidate.path.stat().st_size),
        identical=baseline.sha256 == candidate.sha256,
        same_network=same_network(baseline.family, candidate.family),
        confidence=options.confidence,
        timings=latencies(policy.sources(), sides, options.confidence, progress),
        outputs=(baseline.output, _reordered(candidate.output, order)),
        several=several,
    )
    checks = (varies, *judge(policy, evidence))
    return findings(evidence, sides, images, checks, policy)


def refuse_options_of_classifiers(options: CompareOptions) -> None:
    """Refuse what only says something of a classifier.

    Raises:
        UsageError: One of these options is given.
    """
    given = {
        "--margin": options.policy.record.path is None and options.policy != default_policy(),
        "--truth": options.truth is not None,
    }
    for option, is_given in given.items():
        if is_given:
            raise UsageError(
                f"{option} is for classifiers, and this bundle holds none",
                hint="Leave it out; a policy can limit task_agreement.",
            )


def _sides(options: CompareOptions) -> tuple[ComparedModel, ComparedModel]:
    bundle = Bundle.open(options.bundle)
    baseline, candidate = (
        identified_side(
            adopted_range(find_model(text, bundle, engine=options.engine), options.input_range),
            options.stated,
        )
        for text in (options.baseline, options.candidate)
    )
    said = given(options.stated)
    if said and baseline.decoder is not None and not (baseline.fed or candidate.fed):
        raise UsageError(
            f"{option_of(said[0])} is for a model file; both sides state theirs",
            hint="Leave it out.",
        )
    if options.input_range is not None and not (baseline.fed or candidate.fed):
        raise UsageError(
            "--input-range is for a model file with an input of floats; both sides state theirs",
            hint="Leave it out.",
        )
    if options.engine and not (baseline.interpreter or candidate.interpreter):
        raise UsageError(
            f"engine {options.engine} runs neither {baseline.path.name} nor {candidate.path.name}",
            hint="Leave --engine out, and each file gets an interpreter of its format.",
        )
    return baseline, candidate


def _tables(
    sides: Sequence[ComparedModel],
    pictures: Sequence[Picture],
    options: CompareOptions,
    progress: Progress,
) -> tuple[tuple[ComparedModel, ComparedModel], list[NDArray[np.float32]]]:
    """The sides with what they answer with, and scores (images, classes) of each."""
    scored, tables = [], []
    cache, first = StageCache(options.cache), sides[0].preprocessing
    shared = pictures if all(side.preprocessing == first for side in sides) else ()
    with (
        progress.stage("score", len(sides) * len(pictures)) as step,
        kept_pixels(shared, first, cache) as decode,
    ):
        for side in sides:
            values = raw_outputs(
                side.path,
                pictures,
                side.preprocessing,
                cache=cache,
                engine=side.interpreter,
                step=step,
                decode=decode,
            )
            if side.head is None:
                check_classes(side, values.shape[1])
            if side.head is None and side.variant is None:
                output = adopted_output(side, values, options.output_activation)
                progress.inform(f"output of {side.name}: {output.evidence}")
                side = replace(side, output=output)
            table = class_probabilities(values, side.head, side.output)
            if side.head is not None:
                check_classes(side, table.shape[1])
            scored.append(side)
            tables.append(table)
    kinds = {side.output.kind for side in scored}
    if len(kinds) > 1:
        raise UsageError(
            f"{scored[0].name} is {scored[0].output.kind}, {scored[1].name} is "
            f"{scored[1].output.kind}: they have no score in common",
            hint="Compare models that answer the same question.",
        )
    return (scored[0], scored[1]), tables


def _reordered(output: OutputSpec, order: Sequence[int] | None) -> OutputSpec:
    """The output of a side whose columns are put in the order of the other's."""
    if order is None or not output.thresholds:
        return output
    if output.multi_label:
        return replace(output, thresholds=tuple(output.thresholds[index] for index in order))
    return replace(output, thresholds=(1 - output.threshold,))


def findings(
    evidence: Evidence,
    sides: tuple[ComparedModel, ComparedModel],
    images: ComparedImages,
    checks: tuple[Check, ...],
    policy: Policy,
) -> Comparison:
    """Put together everything that the reports show.

    Args:
        evidence: The scores that the checks were computed from.
        sides: Baseline and candidate.
        images: The images that were compared on.
        checks: The checks, already judged.
        policy: The policy that they are of.
    """
    known_images = sum(evidence.several.known) if evidence.several else 0
    return Comparison(
        verdict=overall(checks),
        baseline=_side(sides[0], evidence, 0),
        candidate=_side(sides[1], evidence, 1),
        images=len(images.pictures),
        labelled=int(evidence.labelled.sum() if evidence.several is None else known_images),
        left_out=images.left_out,
        skipped=images.skipped,
        identical=evidence.identical,
        paired=_paired(evidence, checks),
        agreement=_agreement(evidence),
        checks=checks,
        classes=class_recalls(evidence),
        flips=flips(evidence, [item.path for item in images.pictures]),
        confusion=confusion(evidence),
        policy=policy.record,
        host=host(),
        notes=(*images.notes, *_notes(*sides, evidence)),
    )


def _side(model: ComparedModel, evidence: Evidence, which: int) -> Side:
    table = (evidence.baseline, evidence.candidate)[which]
    known = evidence.labelled
    labels = evidence.truth[known]
    classes = [None if label == UNKNOWN else int(label) for label in evidence.truth]
    output = evidence.outputs[which]
    accuracy = score(table, classes, output=output)
    truth = evidence.several
    several = None if truth is None else multi_label_score(table, truth, output)
    times = [timing for timing in evidence.timings.values() if timing is not None]

    def interval(share: float | None) -> Interval | None:
        return None if share is None else wilson(share * len(labels), len(labels), evidence.z)

    return Side(
        name=model.name,
        path=str(model.path),
        sha256=model.sha256,
        size_bytes=evidence.sizes[which],
        engine=model.engine,
        top1=accuracy.top1,
        top1_interval=interval(accuracy.top1),
        top5=accuracy.top5,
        top5_interval=interval(accuracy.top5),
        ece=calibration_error(table[known], labels)
        if len(labels) and are_probabilities(table)
        else None,
        multi_label=several,
        output=output,
        latency_ms=(times[0].baseline_ms, times[0].candidate_ms)[which] if times else None,
    )


def _agreement(evidence: Evidence) -> float:
    before, after = evidence.answers
    return float((before == after).mean())


def _paired(evidence: Evidence, checks: Sequence[Check]) -> Paired | None:
    drop = METRICS["top1_drop"].estimate(evidence, "")
    if drop.value is None or drop.interval is None or not evidence.labelled.any():
        return None
    before, after = evidence.right(1)
    lost, gained = int((before & ~after).sum()), int((after & ~before).sum())
    return Paired(
        lost=lost,
        gained=gained,
        mcnemar_p=mcnemar(lost, gained),
        drop_points=drop.value,
        drop_interval=drop.interval,
        confidence=evidence.confidence,
        margin_points=min(
            (check.limit for check in checks if check.metric == "top1_drop"), default=None
        ),
    )


def _notes(baseline: ComparedModel, candidate: ComparedModel, evidence: Evidence) -> list[str]:
    notes = []
    if evidence.identical:
        notes.append("both sides are the same file, so that nothing can be lost")
    elif np.array_equal(evidence.baseline, evidence.candidate):
        notes.append("every score is the same on both sides, to the last bit")
    notes += [side.fed for side in (baseline, candidate) if side.fed]
    if baseline.labels != candidate.labels:
        notes.append("the sides list their labels in different orders; they are matched by name")
    if baseline.preprocessing != candidate.preprocessing:
        notes.append(
            "each side is fed by its own contract, and these differ: "
            + _differences(baseline.preprocessing, candidate.preprocessing)
        )
    return notes


def _differences(ours: Preprocessing, theirs: Preprocessing) -> str:
    before, after = ours.to_json(), theirs.to_json()
    return ", ".join(
        f"{key} {before[key]} and {after[key]}" for key in before if before[key] != after[key]
    )
