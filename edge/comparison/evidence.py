"""What metrics are computed from, and what each of them gives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.comparison.result import Interval
from edge.evaluation.confidence import normal_quantile
from edge.evaluation.multilabel import LabelTruth
from edge.evaluation.score import right_within
from edge.runtime.output import PROBABILITIES, OutputSpec
from edge.runtime.postprocess import answered, answers, best_class

UNKNOWN: Final = -1  # class index of an image without a label

Projection = Callable[[float, float], Interval]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Latencies of both sides on one host.

    Attributes:
        baseline_ms: Median of one inference, milliseconds.
        candidate_ms: The same of the candidate, on a machine just as fast.
        ratio: Interval of candidate / baseline; None where samples of one run are all there is.
    """

    baseline_ms: float
    candidate_ms: float
    ratio: Interval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The answers of both sides on the same images, and what is known of the files.

    Attributes:
        labels: Class names, in the order of the scores.
        truth: (images,) class index, or ``UNKNOWN``.
        baseline: (images, classes) scores, float32.
        candidate: (images, classes) scores, float32, columns in the baseline's order.
        sizes: Bytes of the baseline's and the candidate's file.
        identical: Whether both are the same file.
        same_network: Whether both hold the same float32 weights; None where it is not known.
        confidence: Of every interval, 0..1.
        timings: By source, ``measured`` or ``recorded``; those that the policy asks for.
        outputs: What the scores of the baseline and of the candidate mean.
        several: Which labels hold, where they do not exclude one another: no class is known then.
    """

    labels: tuple[str, ...]
    truth: NDArray[np.int64]
    baseline: NDArray[np.float32]
    candidate: NDArray[np.float32]
    sizes: tuple[int, int]
    identical: bool
    same_network: bool | None
    confidence: float
    timings: Mapping[str, Timing | None] = field(default_factory=dict)
    outputs: tuple[OutputSpec, OutputSpec] = (PROBABILITIES, PROBABILITIES)
    several: LabelTruth | None = None

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """(images,) whether the class is known."""
        known: NDArray[np.bool_] = self.truth != UNKNOWN
        return known

    @property
    def answers(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(images,) what baseline and candidate say, see ``edge.runtime.postprocess.answers``."""
        return answers(self.baseline, self.outputs[0]), answers(self.candidate, self.outputs[1])

    def said(self, which: int, image: int) -> str:
        """The answer of a side, 0 or 1, to an image: a label, or those that hold."""
        table = (self.baseline, self.candidate)[which]
        found = answered(table[image], self.labels, self.outputs[which])
        return ", ".join(found) or "no label"

    def score_of(self, which: int, image: int) -> float:
        """The score of that answer, 0..1; of several labels, the highest one of any label."""
        row = (self.baseline, self.candidate)[which][image]
        output = self.outputs[which]
        return float(row.max() if output.multi_label else row[int(best_class(row, output))])

    @property
    def z(self) -> float:
        """Normal quantile of the confidence."""
        return normal_quantile(self.confidence)

    def right(self, k: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(labelled,) whether baseline and candidate have the class among their best k."""
        known, labels = self.labelled, self.truth[self.labelled]
        if k == 1:
            before, after = self.answers
            return before[known] == labels, after[known] == labels
        return (
            right_within(self.baseline[known], labels, k),
            right_within(self.candidate[known], labels, k),
        )

    def changed(self, k: int) -> int:
        """How many images, labelled or not, have other classes among the best k of the sides."""
        if k == 1:
            before, after = self.answers
            return int((before != after).sum())
        best = [
            np.sort(np.argsort(-scores, axis=1, kind="stable")[:, :k], axis=1)
            for scores in (self.baseline, self.candidate)
        ]
        return int((best[0] != best[1]).any(axis=1).sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a metric found.

    Attributes:
        value: In the metric's unit; None where it cannot be had.
        interval: Of the value, if it is an estimate from the images.
        images: That it was estimated from.
        projected: The interval from (images, z) if the rates seen so far go on.
        baseline: The baseline's value, of a metric that each side has for itself.
        difference: Interval of candidate - baseline, of such a metric.
        unchanged: Whether not one answer changed, of a drop; see ``Rule.unchanged``.
        detail: A few words on where the value comes from.
        missing: Why there is no value, one sentence.
    """

    value: float | None
    interval: Interval | None = None
    images: int = 0
    projected: Projection | None = None
    baseline: float | None = None
    difference: Interval | None = None
    unchanged: bool = False
    detail: str = ""
    missing: str = ""
