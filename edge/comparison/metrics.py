"""The metrics that a policy can limit: one function each, listed in ``METRICS``."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from edge.comparison.evidence import (
    NO_LABELS,
    Evidence,
    FileEvidence,
    Latencies,
    MetricEstimate,
    class_recalls,
    mean_estimate,
    narrowing,
    resampled_errors,
    share_estimate,
)
from edge.comparison.result import Interval
from edge.evaluation.confidence import confidence_of, drop_interval, most_changed, tango
from edge.evaluation.multilabel import map_intervals
from edge.evaluation.multilabel import mean_average_precision as average_precisions
from edge.evaluation.score import are_probabilities

CONSTANT_OUTPUTS: Final = "constant_outputs"  # a check that every comparison has
AT_MOST: Final = "at_most"
AT_LEAST: Final = "at_least"
NO_BEST: Final = MetricEstimate(
    value=None, missing="labels do not exclude one another, so no best class is right or wrong"
)
DROPS: Final = ("top1_drop", "top5_drop", "map_drop")  # bounded by the answers that changed


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A number that a rule can limit.

    Attributes:
        name: The name in policies and results.
        unit: The unit, as in ``Check``.
        direction: ``at_most`` or ``at_least``: which side of the limit is good.
        meaning: One line for people.
        relative: Whether each side has a value, so that its change in percent can be limited.
        timed: Whether it needs latencies, ``measured`` or ``recorded``.
        labelled: Whether only images count whose class is known.
        of: The evidence that it is computed from: of classifiers, of other tasks, or of any files.
        estimate: Computes it; of a timed metric for the source that is named.
    """

    name: str
    unit: str
    direction: str
    meaning: str
    relative: bool
    timed: bool
    labelled: bool
    of: type[FileEvidence]
    estimate: Callable[[Any, str], MetricEstimate]

    def fits(self, kind: type[FileEvidence]) -> bool:
        """Whether it can be computed from that evidence."""
        return issubclass(kind, self.of)


METRICS: Final[dict[str, Metric]] = {}


def metric(
    unit: str,
    direction: str,
    meaning: str,
    *,
    relative: bool = False,
    labelled: bool = True,
    of: type[FileEvidence] = Evidence,
) -> Callable[[Callable[[Any], MetricEstimate]], Callable[[Any], MetricEstimate]]:
    """Enter a function of the evidence into ``METRICS`` under its own name."""

    def enter(function: Callable[[Any], MetricEstimate]) -> Callable[[Any], MetricEstimate]:
        METRICS[function.__name__] = Metric(
            name=function.__name__,
            unit=unit,
            direction=direction,
            meaning=meaning,
            relative=relative,
            timed=False,
            labelled=labelled,
            of=of,
            estimate=lambda evidence, _: function(evidence),
        )
        return function

    return enter


def timed_metric(
    unit: str, meaning: str, *, relative: bool = False
) -> Callable[[Callable[[Latencies], MetricEstimate]], Callable[[Latencies], MetricEstimate]]:
    """Enter a function of the latencies, of which lower ones are better."""

    def enter(
        function: Callable[[Latencies], MetricEstimate],
    ) -> Callable[[Latencies], MetricEstimate]:
        def estimate(evidence: FileEvidence, source: str) -> MetricEstimate:
            timing = evidence.timings.get(source)
            if timing is None:
                return MetricEstimate(value=None, missing=f"a side has no {source} latency")
            return function(timing)

        METRICS[function.__name__] = Metric(
            name=function.__name__,
            unit=unit,
            direction=AT_MOST,
            meaning=meaning,
            relative=relative,
            timed=True,
            labelled=False,
            of=FileEvidence,
            estimate=estimate,
        )
        return function

    return enter


@metric("points", AT_MOST, "percentage points of top-1 that the candidate loses")
def top1_drop(evidence: Evidence) -> MetricEstimate:
    """Compute it on the labelled images, bounded by the answers that changed on any image."""
    return _drop(evidence, 1)


@metric("points", AT_MOST, "percentage points of top-5 that the candidate loses")
def top5_drop(evidence: Evidence) -> MetricEstimate:
    """Compute it on the labelled images; it needs six classes."""
    return _drop(evidence, 5)


@metric("share", AT_LEAST, "share of images that the candidate answers right", relative=True)
def top1(evidence: Evidence) -> MetricEstimate:
    """Compute it on the labelled images."""
    return _accuracy(evidence, 1)


@metric("share", AT_LEAST, "share with the right class among its best five", relative=True)
def top5(evidence: Evidence) -> MetricEstimate:
    """Compute it on the labelled images; it needs six classes."""
    return _accuracy(evidence, 5)


@metric("points", AT_MOST, "percentage points of mAP that the candidate loses")
def map_drop(evidence: Evidence) -> MetricEstimate:
    """Compute it for labels that may hold together, with a paired bootstrap over the images."""
    precisions = _mean_average_precisions(evidence)
    if isinstance(precisions, MetricEstimate):
        return precisions
    before, after, images = precisions
    drop = round(100 * (before - after), 6)
    if evidence.identical:
        return MetricEstimate(value=drop, interval=Interval(0.0, 0.0), images=images)
    interval = _map_intervals(evidence)[2]
    if interval is None or interval.low == interval.high:
        # The bootstrap knows no change that it has not seen: as for a drop of top-1, as many
        # answers may change as the images do not rule out.
        changed = evidence.changed(1)
        if changed == 0 and drop == 0:
            return _unchanged(len(evidence.truth), evidence)
        bound = most_changed(len(evidence.truth), changed, evidence.confidence)
        interval = Interval(-bound, bound)
    ends = Interval(min(100 * interval.low, drop), max(100 * interval.high, drop))
    return MetricEstimate(
        value=drop,
        interval=ends,
        images=images,
        projected=narrowing(drop, ends, images, evidence.z),
    )


@metric("share", AT_LEAST, "mean average precision of the candidate (mAP)", relative=True)
def mean_average_precision(evidence: Evidence) -> MetricEstimate:
    """Compute it for labels that may hold together, with a bootstrap over the images."""
    precisions = _mean_average_precisions(evidence)
    if isinstance(precisions, MetricEstimate):
        return precisions
    before, after, images = precisions
    _, interval, lost = _map_intervals(evidence)
    return MetricEstimate(
        value=after,
        interval=interval,
        images=images,
        projected=None if interval is None else narrowing(after, interval, images, evidence.z),
        baseline=before,
        difference=lost and Interval(-lost.high, -lost.low),
    )


def _mean_average_precisions(evidence: Evidence) -> MetricEstimate | tuple[float, float, int]:
    """The values of baseline and candidate, and the number of images; or why there are none."""
    if evidence.several is None:
        return MetricEstimate(value=None, missing="one class is the answer, so there is no mAP")
    before = average_precisions(evidence.baseline, evidence.several)
    after = average_precisions(evidence.candidate, evidence.several)
    if before is None or after is None:
        return NO_LABELS
    return before, after, sum(evidence.several.known)


def _map_intervals(evidence: Evidence) -> tuple[Interval | None, ...]:
    assert evidence.several is not None  # asked before
    tables = [evidence.baseline, evidence.candidate]
    return map_intervals(tables, evidence.several, evidence.confidence)


@metric("share", AT_LEAST, "share of images with the same answer on both sides", labelled=False)
def agreement(evidence: Evidence) -> MetricEstimate:
    """Compute it on all images, labelled or not."""
    before, after = evidence.answers
    return share_estimate(before == after, evidence)


@metric("share", AT_MOST, "share of images whose answer changed", labelled=False)
def flips(evidence: Evidence) -> MetricEstimate:
    """Compute it on all images, labelled or not."""
    before, after = evidence.answers
    return share_estimate(before != after, evidence)


@metric(
    "share", AT_MOST, "largest change of any class's score, mean over the images", labelled=False
)
def score_shift(evidence: Evidence) -> MetricEstimate:
    """Compute it on all images, labelled or not."""
    changes = np.abs(evidence.candidate - evidence.baseline).max(axis=1)
    return mean_estimate(changes, evidence)


@metric("share", AT_MOST, "largest change of any score between files with the same weights")
def same_weights_shift(evidence: Evidence) -> MetricEstimate:
    """Compute it for files with the same float32 weights, which differ by rounding or by a mistake.

    Wrong scaling, as 128 for 127.5, changes too few answers to be seen in the accuracy.
    """
    if evidence.same_network is None:
        missing = "without the package onnx the weights of the sides cannot be compared"
        return MetricEstimate(value=None, missing=missing)
    if not evidence.same_network:
        return MetricEstimate(value=None, missing="the sides do not hold the same float32 weights")
    return MetricEstimate(
        value=float(np.abs(evidence.candidate - evidence.baseline).max()),
        detail="the weights are the same: only scaling, channel order or rounding can differ",
    )


@metric("points", AT_MOST, "largest loss of recall of one class that is not chance")
def worst_class_recall_drop(evidence: Evidence) -> MetricEstimate:
    """Look at the classes where McNemar's test, one-sided and corrected for all, is significant."""
    recalls = class_recalls(evidence)
    if not recalls:
        return NO_LABELS
    certain = [item for item in recalls if item.p_value < 1 - evidence.confidence]
    if not certain:
        chance = "; what others lose may be chance" if recalls[0].drop_points > 0 else ""
        return MetricEstimate(value=0.0, detail=f"no class is surely worse{chance}")
    worst = certain[0]
    detail = f"{worst.label}, {worst.images} images, p = {worst.p_value:.2g}"
    return MetricEstimate(value=worst.drop_points, detail=detail)


@metric("share", AT_MOST, "expected calibration error of the candidate", relative=True)
def ece(evidence: Evidence) -> MetricEstimate:
    """Compute it in 15 bins, as Guo et al. 2017 do."""
    return _calibration(evidence, increase=False)


@metric("share", AT_MOST, "expected calibration error less that of the baseline")
def ece_increase(evidence: Evidence) -> MetricEstimate:
    """Compute it in 15 bins, as Guo et al. 2017 do."""
    return _calibration(evidence, increase=True)


@metric("bytes", AT_MOST, "size of the candidate's file", relative=True, of=FileEvidence)
def size_bytes(evidence: FileEvidence) -> MetricEstimate:
    """Compare the sizes, which are exact."""
    return MetricEstimate(value=evidence.sizes[1], baseline=evidence.sizes[0])


@metric("ratio", AT_MOST, "size of the candidate's file / the baseline's", of=FileEvidence)
def size_ratio(evidence: FileEvidence) -> MetricEstimate:
    """Compare the sizes, which are exact."""
    return MetricEstimate(value=evidence.sizes[1] / evidence.sizes[0])


@timed_metric("ratio", "median latency of the candidate / the baseline's")
def latency_ratio(timing: Latencies) -> MetricEstimate:
    """Compare the latencies on one host."""
    return MetricEstimate(value=timing.candidate_ms / timing.baseline_ms, interval=timing.ratio)


@timed_metric("milliseconds", "median latency of the candidate", relative=True)
def latency_ms(timing: Latencies) -> MetricEstimate:
    """Compare the latencies on one host; only the change has an interval."""
    base, ratio = timing.baseline_ms, timing.ratio
    change = ratio and Interval((ratio.low - 1) * base, (ratio.high - 1) * base)
    return MetricEstimate(value=timing.candidate_ms, baseline=base, difference=change)


def _drop(evidence: Evidence, k: int) -> MetricEstimate:
    problem = _unscorable(evidence, k)
    if problem is not None:
        return problem
    changed, everything = evidence.changed(k), len(evidence.truth)
    if changed == 0:
        return _unchanged(everything, evidence)
    before, after = evidence.right(k)
    images, lost, gained = len(before), int((before & ~after).sum()), int((after & ~before).sum())
    drop = round(100 * (lost - gained) / images, 6)

    def projected(count: float, z: float) -> Interval:
        interval = _times(100, tango(count, lost * count / images, gained * count / images, z))
        times = count / images
        bound = most_changed(everything * times, changed * times, confidence_of(z))
        return _within(interval, 100 * bound)

    interval = _within(
        _times(100, drop_interval(images, lost, gained, evidence.confidence)),
        100 * most_changed(everything, changed, evidence.confidence),
    )
    return MetricEstimate(value=drop, interval=interval, images=images, projected=projected)


def _unchanged(images: int, evidence: Evidence) -> MetricEstimate:
    """The drop where no answer changed; more images narrow it, with a label or without."""
    if evidence.identical:
        return MetricEstimate(value=0.0, interval=Interval(0.0, 0.0), images=images)

    def projected(count: float, _: float) -> Interval:
        bound = 100 * most_changed(count, 0, evidence.confidence)
        return Interval(-bound, bound)

    return MetricEstimate(
        value=0.0,
        interval=projected(images, 0),
        images=images,
        projected=projected,
        unchanged=True,
        detail=f"no answer changed on {images:,} images",
    )


def _accuracy(evidence: Evidence, k: int) -> MetricEstimate:
    problem = _unscorable(evidence, k)
    if problem is not None:
        return problem
    before, after = evidence.right(k)
    drop = _drop(evidence, k).interval
    return share_estimate(
        after,
        evidence,
        baseline=float(before.mean()),
        difference=drop and Interval(-drop.high / 100, -drop.low / 100),
    )


def _unscorable(evidence: Evidence, k: int) -> MetricEstimate | None:
    if evidence.outputs[0].multi_label:
        return NO_BEST
    if not evidence.labelled.any():
        return NO_LABELS
    if len(evidence.labels) <= k:
        return MetricEstimate(value=None, missing=f"top-{k} needs more than {k} classes")
    return None


def _calibration(evidence: Evidence, *, increase: bool) -> MetricEstimate:
    if evidence.outputs[0].multi_label:
        return NO_BEST
    if not evidence.labelled.any():
        return NO_LABELS
    if not (are_probabilities(evidence.baseline) and are_probabilities(evidence.candidate)):
        return MetricEstimate(
            value=None, missing="a side answers with scores that are no probabilities"
        )
    return resampled_errors(evidence, increase=increase)


def _within(interval: Interval, bound: float) -> Interval:
    """The part of the interval that is possible if at most ``bound`` is lost or gained."""
    return Interval(max(interval.low, -bound), min(interval.high, bound))


def _times(factor: float, interval: Interval) -> Interval:
    return Interval(factor * interval.low, factor * interval.high)
