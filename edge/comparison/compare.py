"""``edge compare``: both sides over the same images, then the rules of the policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.cache import StageCache
from edge.comparison.degenerate import output_check
from edge.comparison.evidence import UNKNOWN, Evidence, Timing
from edge.comparison.findings import findings
from edge.comparison.images import compared_images
from edge.comparison.judge import judge
from edge.comparison.latency import measured, recorded
from edge.comparison.policy import Policy
from edge.comparison.result import Comparison
from edge.comparison.subject import Subject, check_classes, column_order, find_subject
from edge.comparison.weights import same_network
from edge.dataset.pictures import Picture
from edge.errors import UsageError
from edge.evaluation.predictions import predictions
from edge.progress import Progress
from edge.runtime.bundle import Bundle


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
    """

    bundle: Path
    directory: Path
    baseline: str
    candidate: str
    policy: Policy
    confidence: float
    engine: str | None
    cache: Path


def compare(options: CompareOptions, progress: Progress) -> Comparison:
    """Judge the candidate.

    Raises:
        UsageError: No such bundle, side or interpreter; sides that cannot be compared.
        BundleError: A bundle was altered.
        ModelLoadError: A model does not load.
        DataError: No image is left to compare on.
        InferenceError: A model fails, or answers with NaN.
    """
    baseline, candidate = sides = _sides(options)
    order = column_order(baseline, candidate)
    images = compared_images(options.directory, sides, progress)
    before, after = _tables(sides, images.pictures, options, progress)
    varies = output_check([("baseline", baseline, before), ("candidate", candidate, after)])
    labels = [UNKNOWN if item.label is None else item.label for item in images.pictures]
    evidence = Evidence(
        labels=baseline.labels,
        truth=np.array(labels, np.int64),
        baseline=before,
        candidate=after if order is None else after[:, order],
        sizes=(baseline.path.stat().st_size, candidate.path.stat().st_size),
        identical=baseline.sha256 == candidate.sha256,
        same_network=same_network(baseline.family, candidate.family),
        confidence=options.confidence,
        timings=_timings(options, sides, progress),
    )
    checks = (varies, *judge(options.policy, evidence))
    return findings(evidence, sides, images, checks, options.policy)


def _sides(options: CompareOptions) -> tuple[Subject, Subject]:
    bundle = Bundle.open(options.bundle)
    baseline = find_subject(options.baseline, bundle, engine=options.engine)
    candidate = find_subject(options.candidate, bundle, engine=options.engine)
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
) -> list[NDArray[np.float32]]:
    """Scores (images, classes) of each side, from its own contract."""
    tables = []
    with progress.stage("score", len(sides) * len(pictures)) as step:
        for side in sides:
            table = predictions(
                side.path,
                pictures,
                side.preprocessing,
                cache=StageCache(options.cache),
                engine=side.interpreter,
                head=side.head,
                step=step,
            )
            check_classes(side, table.shape[1])
            tables.append(table)
    return tables


def _timings(
    options: CompareOptions, sides: tuple[Subject, Subject], progress: Progress
) -> dict[str, Timing | None]:
    timings: dict[str, Timing | None] = {}
    for source in options.policy.sources():
        if source == "recorded":
            timings[source] = recorded(*sides)
        else:
            timings[source] = measured(*sides, options.confidence, progress)
    return timings
