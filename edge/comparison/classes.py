"""Where the two sides differ: class by class, image by image."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.comparison.evidence import UNKNOWN, Evidence
from edge.comparison.result import ClassRecall, Confusion, Flip
from edge.evaluation.confidence import CONFIDENCE, holm, mcnemar_loss, normal_quantile, wilson
from edge.runtime.postprocess import holding

Z: Final = normal_quantile(CONFIDENCE)  # of the intervals of recalls


def class_recalls(evidence: Evidence) -> tuple[ClassRecall, ...]:
    """Recall of every class that has an image, worst drop first.

    Where labels do not exclude one another: of the images where a label holds, those in which it
    reaches its threshold.
    """
    rows = []
    for index, old, new in _found(evidence):
        lost, gained = int((old & ~new).sum()), int((new & ~old).sum())
        rows.append((int(index), len(old), old.mean(), new.mean(), mcnemar_loss(lost, gained)))
    corrected = holm([row[4] for row in rows])
    recalls = [
        ClassRecall(
            label=evidence.labels[index],
            images=images,
            baseline=float(old),
            candidate=float(new),
            baseline_interval=wilson(round(old * images), images, Z),
            candidate_interval=wilson(round(new * images), images, Z),
            drop_points=round(100 * float(old - new), 6),
            p_value=p,
        )
        for (index, images, old, new, _), p in zip(rows, corrected, strict=True)
    ]
    return tuple(sorted(recalls, key=lambda item: (-item.drop_points, item.p_value)))


def _found(
    evidence: Evidence,
) -> Iterator[tuple[int, NDArray[np.bool_], NDArray[np.bool_]]]:
    """Class, and of each of its images whether baseline and candidate find it."""
    if evidence.several is not None:
        tables = (evidence.baseline, evidence.candidate)
        said = [holding(*pair) for pair in zip(tables, evidence.outputs, strict=True)]
        for index in range(len(evidence.labels)):
            images = evidence.several.table[:, index] == 1
            if images.any():
                yield index, said[0][images, index], said[1][images, index]
        return
    truth = evidence.truth[evidence.labelled]
    before, after = evidence.right(1)
    for index in np.unique(truth):
        yield int(index), before[truth == index], after[truth == index]


def flips(evidence: Evidence, paths: Sequence[Path]) -> tuple[Flip, ...]:
    """The images whose answer changed, in their order."""
    old, new = evidence.answers
    found = []
    for image in np.flatnonzero(old != new).tolist():
        label = int(evidence.truth[image])
        found.append(
            Flip(
                path=str(paths[image]),
                truth=None if label == UNKNOWN else evidence.labels[label],
                baseline=evidence.said(0, image),
                baseline_score=evidence.score_of(0, image),
                candidate=evidence.said(1, image),
                candidate_score=evidence.score_of(1, image),
            )
        )
    return tuple(found)


def confusion(evidence: Evidence) -> tuple[Confusion, ...]:
    """Of the candidate on the labelled images, in the order of the classes; no empty cells."""
    known = evidence.labelled
    said = evidence.answers[1][known]
    counts = Counter(zip(evidence.truth[known].tolist(), said.tolist(), strict=True))
    return tuple(
        Confusion(truth=evidence.labels[truth], answer=evidence.labels[answer], images=images)
        for (truth, answer), images in sorted(counts.items())
    )
