"""``edge compare``: both sides over the same images, then the rules of the policy."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.cache import StageCache
from edge.comparison.adopted import adopted_output, adopted_range
from edge.comparison.degenerate import output_check
from edge.comparison.evidence import UNKNOWN, Evidence, Timing
from edge.comparison.findings import findings
from edge.comparison.images import compared_images
from edge.comparison.judge import judge
from edge.comparison.latency import measured, recorded
from edge.comparison.policy import Policy, policy_of_labels
from edge.comparison.result import Comparison
from edge.comparison.subject import Subject, check_classes, column_order, find_subject
from edge.comparison.weights import same_network
from edge.dataset.pictures import Picture
from edge.errors import UsageError
from edge.evaluation.multilabel import label_truth
from edge.evaluation.predictions import raw_outputs
from edge.progress import Progress
from edge.runtime.bundle import Bundle
from edge.runtime.head import class_probabilities
from edge.runtime.output import OutputActivation, OutputSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """What is asked.

    Attributes:
        bundle: Whose variants, labels and contract are meant.
        directory: Folder of images.
        baseline: See ``find_subject``.
        candidate: The same.
        policy: To be kept.
        confidence: Of every interval, 0..1.
        engine: Interpreter for the format that it runs.
        cache: Where scores are kept.
        output_activation: What the values of a model file are; AUTO finds it out.
        truth: CSV file with the labels of each image, where they do not exclude one another.
        input_range: What a model file with an input of real values takes, as ``parse_range``
            reads it; None for what the file states, or else the range of the bundle.
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


def compare(options: CompareOptions, progress: Progress) -> Comparison:
    """Judge the candidate.

    Raises:
        UsageError: No such bundle, side or interpreter; sides that cannot be compared.
        BundleError: A bundle was altered.
        ModelLoadError: A model does not load.
        DataError: No image is left to compare on.
        InferenceError: A model fails, or answers with NaN.
    """
    named = _sides(options)
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
        timings=_timings(policy, options.confidence, sides, progress),
        outputs=(baseline.output, _reordered(candidate.output, order)),
        several=several,
    )
    checks = (varies, *judge(policy, evidence))
    return findings(evidence, sides, images, checks, policy)


def _sides(options: CompareOptions) -> tuple[Subject, Subject]:
    bundle = Bundle.open(options.bundle)
    baseline, candidate = (
        adopted_range(find_subject(text, bundle, engine=options.engine), options.input_range)
        for text in (options.baseline, options.candidate)
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
    sides: Sequence[Subject],
    pictures: Sequence[Picture],
    options: CompareOptions,
    progress: Progress,
) -> tuple[tuple[Subject, Subject], list[NDArray[np.float32]]]:
    """The sides with what they answer with, and scores (images, classes) of each."""
    found, tables = [], []
    with progress.stage("score", len(sides) * len(pictures)) as step:
        for side in sides:
            values = raw_outputs(
                side.path,
                pictures,
                side.preprocessing,
                cache=StageCache(options.cache),
                engine=side.interpreter,
                step=step,
            )
            if side.head is None:
                check_classes(side, values.shape[1])
            if side.head is None and side.variant is None:
                output = adopted_output(side, values, options.output_activation)
                progress.note(f"output of {side.name}: {output.evidence}")
                side = replace(side, output=output)
            table = class_probabilities(values, side.head, side.output)
            if side.head is not None:
                check_classes(side, table.shape[1])
            found.append(side)
            tables.append(table)
    kinds = {side.output.kind for side in found}
    if len(kinds) > 1:
        raise UsageError(
            f"{found[0].name} is {found[0].output.kind}, {found[1].name} is "
            f"{found[1].output.kind}: they have no score in common",
            hint="Compare models that answer the same question.",
        )
    return (found[0], found[1]), tables


def _reordered(output: OutputSpec, order: Sequence[int] | None) -> OutputSpec:
    """The output of a side whose columns are put in the order of the other's."""
    if order is None or not output.thresholds:
        return output
    if output.multi_label:
        return replace(output, thresholds=tuple(output.thresholds[index] for index in order))
    return replace(output, thresholds=(1 - output.threshold,))


def _timings(
    policy: Policy, confidence: float, sides: tuple[Subject, Subject], progress: Progress
) -> dict[str, Timing | None]:
    timings: dict[str, Timing | None] = {}
    for source in policy.sources():
        if source == "recorded":
            timings[source] = recorded(*sides)
        else:
            timings[source] = measured(*sides, confidence, progress)
    return timings
