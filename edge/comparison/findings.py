"""Puts the result of a comparison together."""

from collections.abc import Sequence

import numpy as np

from benchmarks.environment import host
from edge.comparison.classes import class_recalls, confusion, flips
from edge.comparison.evidence import UNKNOWN, Evidence
from edge.comparison.images import ComparedImages
from edge.comparison.judge import overall
from edge.comparison.metrics import METRICS
from edge.comparison.policy import Policy
from edge.comparison.result import Check, Comparison, Interval, Paired, Side
from edge.comparison.subject import Subject
from edge.evaluation.confidence import mcnemar, wilson
from edge.evaluation.multilabel import multi_label_score
from edge.evaluation.score import are_probabilities, calibration_error, score
from edge.runtime.spec import Preprocessing


def findings(
    evidence: Evidence,
    sides: tuple[Subject, Subject],
    images: ComparedImages,
    checks: tuple[Check, ...],
    policy: Policy,
) -> Comparison:
    """Everything that the reports show.

    Args:
        evidence: What was computed from.
        sides: Baseline and candidate.
        images: Compared on.
        checks: Already judged.
        policy: Applied.
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


def _side(subject: Subject, evidence: Evidence, which: int) -> Side:
    table = (evidence.baseline, evidence.candidate)[which]
    known = evidence.labelled
    labels = evidence.truth[known]
    classes = [None if label == UNKNOWN else int(label) for label in evidence.truth]
    output = evidence.outputs[which]
    found = score(table, classes, output=output)
    truth = evidence.several
    several = None if truth is None else multi_label_score(table, truth, output)
    times = [timing for timing in evidence.timings.values() if timing is not None]

    def interval(share: float | None) -> Interval | None:
        return None if share is None else wilson(share * len(labels), len(labels), evidence.z)

    return Side(
        name=subject.name,
        path=str(subject.path),
        sha256=subject.sha256,
        size_bytes=evidence.sizes[which],
        engine=subject.engine,
        top1=found.top1,
        top1_interval=interval(found.top1),
        top5=found.top5,
        top5_interval=interval(found.top5),
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


def _notes(baseline: Subject, candidate: Subject, evidence: Evidence) -> list[str]:
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
