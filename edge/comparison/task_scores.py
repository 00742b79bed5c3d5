"""What annotations say of two files: the score of each, and how sure their difference is.

The interval of a difference is that of the jackknife over pictures: Student's t on pseudo-values
(Tukey 1958; Efron, Ann. Statist. 7, 1979). ``tests/performance/task_gate.py`` held it against the
paired bootstrap on a real detector's answers with noise (200 comparisons each of 30 and 100
pictures, no true difference): 95 % intervals missed it in 7 and 10 of 200, those by percentiles in
13 and 12, those by BCa in 19 and 20. A one-sided error of 2.5 % failed four of 200 by every one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.comparison.evidence import SEED, MetricEstimate
from edge.comparison.result import Interval
from edge.evaluation.confidence import confidence_of, most_changed
from edge.evaluation.tasks.metric import LEAST_IMAGES, TaskMetric, TaskScore

GROUPS: Final = 200  # of pictures that are left out together; a picture each where there are fewer
LEAST_OF_CLASS: Final = 10  # groups that show a class; its score is chance with fewer
# Where two files are equally good but noisy, one in forty would fail if what fails were held to the
# confidence of what passes. A file that is sound must not be called broken: it is a thousandth.
SURER: Final = 25  # times rarer than the other error, of (1 - confidence) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredSides:
    """The scores of two files on the same annotated pictures.

    Attributes:
        name: The name of the primary value, such as ``map``.
        images: How many pictures are annotated.
        whole: The score of the baseline and of the candidate.
        without: The scores of both with each group of pictures left out.
        sizes: How many pictures each group has, int64 (groups,).
    """

    name: str
    images: int
    whole: tuple[TaskScore, TaskScore]
    without: tuple[tuple[TaskScore, TaskScore], ...]
    sizes: NDArray[np.int64]


def scored_sides(metric: TaskMetric, records: tuple[Any, Any], images: int) -> ScoredSides:
    """Score both sides, and again without each group of pictures.

    Args:
        metric: The metric of the task.
        records: What it keeps of each picture, of the baseline and of the candidate.
        images: How many pictures these are.
    """
    order = np.random.default_rng(SEED).permutation(images)
    groups = np.array_split(order, min(images, GROUPS)) if images >= LEAST_IMAGES else []
    everything = np.arange(images)

    def scores(kept: NDArray[np.int64]) -> tuple[TaskScore, TaskScore]:
        first, second = (metric.score(side, kept) for side in records)
        return first, second

    return ScoredSides(
        name=metric.name,
        images=images,
        whole=scores(everything),
        without=tuple(scores(np.setdiff1d(everything, group)) for group in groups),
        sizes=np.array([len(group) for group in groups], np.int64),
    )


Reading = Callable[[TaskScore], float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreDifference:
    """A value of the baseline less that of the candidate, with its jackknife.

    Attributes:
        value: The difference.
        error: Its standard error.
        images: How many pictures it is of.
        groups: How many groups the error is from.
    """

    value: float
    error: float
    images: int
    groups: int

    def interval(self, count: float, z: float, unseen: float) -> Interval:
        """Return its interval on so many pictures; the end that fails a file is the surer one.

        Args:
            count: How many pictures.
            z: The normal quantile of the confidence level.
            unseen: How much is lost at most on a picture. No jackknife knows pictures that it has
                not seen: on as many as the rule of three leaves open, this may be lost or gained.
        """
        from scipy.stats import t

        tail = (1 - confidence_of(z)) / 2
        freedom = max(1, min(count, GROUPS) - 1)
        error = self.error * sqrt(self.images / count)
        down, up = (-float(t.ppf(end, freedom)) * error for end in (tail / SURER, tail))
        least = unseen * most_changed(count, 0, confidence_of(z))
        return Interval(self.value - max(down, least), self.value + max(up, least))

    def chance(self) -> float:
        """Return the p value, one-sided, of no loss."""
        from scipy.stats import t

        if self.error <= 0:
            return 0.0 if self.value > 0 else 1.0
        return float(t.sf(self.value / self.error, self.groups - 1))


def difference(scored: ScoredSides, read: Reading, scale: float) -> ScoreDifference | None:
    """Return how much a value differs, times ``scale``; None where a side or a group has none.

    Groups may differ in size by one picture: the delete-m jackknife (Busing, Meijer and van der
    Leeden, Statistics and Computing 9, 1999).
    """
    found = [_less(pair, read, scale) for pair in (scored.whole, *scored.without)]
    known = [value for value in found if value is not None]
    if len(known) < len(found) or not scored.without:
        return None
    whole, without = known[0], np.array(known[1:])
    ratio = scored.images / scored.sizes
    pseudo = ratio * whole - (ratio - 1) * without
    mean = len(without) * whole - ((1 - 1 / ratio) * without).sum()
    error = sqrt(float(((pseudo - mean) ** 2 / (ratio - 1)).mean()))
    return ScoreDifference(
        value=round(whole, 6),
        error=0.0 if error < 1e-9 else error,
        images=scored.images,
        groups=len(without),
    )


def estimate(found: ScoreDifference, z: float, unseen: float, **more: Any) -> MetricEstimate:
    """Return a difference as what a rule limits; see ``ScoreDifference.interval``."""
    return MetricEstimate(
        value=found.value,
        interval=found.interval(found.images, z, unseen),
        images=found.images,
        projected=lambda count, wanted: found.interval(count, wanted, unseen),
        **more,
    )


def of_class(index: int) -> Reading:
    """Return what reads the score of one class."""
    return lambda score: next((item.value for item in score.classes if item.index == index), None)


def counted_classes(scored: ScoredSides) -> list[tuple[int, str]]:
    """Return the classes that at least ``LEAST_OF_CLASS`` groups of pictures show."""
    counts = [{item.index: item.count for item in pair[0].classes} for pair in scored.without]
    return [
        (item.index, item.label)
        for item in scored.whole[0].classes
        if sum(rest.get(item.index, 0) != item.count for rest in counts) >= LEAST_OF_CLASS
    ]


def _less(pair: Sequence[TaskScore], read: Reading, scale: float) -> float | None:
    before, after = (read(score) for score in pair)
    return None if before is None or after is None else scale * (before - after)


def objects(scored: ScoredSides) -> float:
    """Return how many objects an annotated picture has, the mean; infinite without pictures."""
    total = sum(item.count for item in scored.whole[0].classes)
    return total / scored.images if scored.images else inf
