"""Where the two sides differ: class by class, image by image."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge.comparison.evidence import UNKNOWN, Evidence
from edge.comparison.result import ClassRecall, Confusion, Flip
from edge.evaluation.paired import holm, mcnemar_loss


def class_recalls(evidence: Evidence) -> tuple[ClassRecall, ...]:
    """Recall of every class that has an image, worst drop first."""
    truth = evidence.truth[evidence.labelled]
    before, after = evidence.right(1)
    indices = np.unique(truth)
    rows = []
    for index in indices:
        old, new = before[truth == index], after[truth == index]
        lost, gained = int((old & ~new).sum()), int((new & ~old).sum())
        rows.append((int(index), len(old), old.mean(), new.mean(), mcnemar_loss(lost, gained)))
    corrected = holm([row[4] for row in rows])
    recalls = [
        ClassRecall(
            label=evidence.labels[index],
            images=images,
            baseline=float(old),
            candidate=float(new),
            drop_points=round(100 * float(old - new), 6),
            p_value=p,
        )
        for (index, images, old, new, _), p in zip(rows, corrected, strict=True)
    ]
    return tuple(sorted(recalls, key=lambda item: (-item.drop_points, item.p_value)))


def flips(evidence: Evidence, paths: Sequence[Path]) -> tuple[Flip, ...]:
    """The images whose best class changed, in their order."""
    old, new = evidence.baseline.argmax(axis=1), evidence.candidate.argmax(axis=1)
    found = []
    for image in np.flatnonzero(old != new).tolist():
        label = int(evidence.truth[image])
        found.append(
            Flip(
                path=str(paths[image]),
                truth=None if label == UNKNOWN else evidence.labels[label],
                baseline=evidence.labels[old[image]],
                baseline_score=float(evidence.baseline[image, old[image]]),
                candidate=evidence.labels[new[image]],
                candidate_score=float(evidence.candidate[image, new[image]]),
            )
        )
    return tuple(found)


def confusion(evidence: Evidence) -> tuple[Confusion, ...]:
    """Of the candidate on the labelled images, in the order of the classes; no empty cells."""
    known = evidence.labelled
    answers = evidence.candidate[known].argmax(axis=1)
    counts = Counter(zip(evidence.truth[known].tolist(), answers.tolist(), strict=True))
    return tuple(
        Confusion(truth=evidence.labels[truth], answer=evidence.labels[answer], images=images)
        for (truth, answer), images in sorted(counts.items())
    )
