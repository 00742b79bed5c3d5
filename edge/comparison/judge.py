"""Applies the rules of a policy to the evidence, and one rule that every policy has."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.comparison.evidence import FileEvidence, MetricEstimate, narrowing
from edge.comparison.metrics import AT_MOST, CONSTANT_OUTPUTS, METRICS, Metric
from edge.comparison.model import ComparedModel
from edge.comparison.policy import Policy, Rule
from edge.comparison.result import Check, Interval, Verdict
from edge.comparison.wording import spanned, telling_digits, written
from edge.evaluation.confidence import images_to_decide
from edge.runtime.contract import Preprocessing
from edge.runtime.head import activated
from edge.runtime.postprocess import dequantize
from edge.runtime.session import encode_pixels, open_session

_WORST: Final = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)


def overall(checks: Sequence[Check]) -> Verdict:
    """Return the worst verdict of the checks."""
    return min((check.verdict for check in checks), key=_WORST.index)


def judge(policy: Policy, evidence: FileEvidence) -> tuple[Check, ...]:
    """Return one check for each rule, in their order.

    An estimate passes if its whole interval keeps the limit and fails if its whole interval
    breaks it; else the images are too few to tell. With a limit on what may be lost this is the
    test of non-inferiority by confidence interval (ICH E9, section 3.3.2). If the true loss is
    the limit, at most (1 - confidence) / 2 of all comparisons pass by the interval of the
    labelled images, and at most 1 - confidence by it or by the answers that did not change.
    Where not one changed, a rule may accept more (``Rule.unchanged``).
    """
    return tuple(_check(rule, METRICS[rule.metric], evidence) for rule in policy.rules)


def _check(rule: Rule, metric: Metric, evidence: FileEvidence) -> Check:
    estimate = metric.estimate(evidence, rule.source)
    if estimate.unchanged and rule.unchanged is not None:
        rule = replace(rule, limit=rule.unchanged)
    if rule.percent:
        estimate = _relative(estimate, evidence.z)
    unit = "percent" if rule.percent else metric.unit
    verdict, why = _verdict(rule, metric, estimate)
    needed = None
    if verdict is Verdict.INCONCLUSIVE and estimate.projected and estimate.value is not None:
        needed = images_to_decide(
            estimate.value, rule.limit, estimate.images, evidence.confidence, estimate.projected
        )
        why += _images_needed(needed, metric, estimate)
    return Check(
        metric=metric.name,
        unit=unit,
        value=estimate.value,
        interval=estimate.interval,
        limit=rule.limit,
        direction=metric.direction,
        verdict=verdict,
        reason="; ".join(filter(None, [_numbers(rule, metric, estimate, unit), why])),
        images_needed=needed,
    )


def _images_needed(needed: int | None, metric: Metric, estimate: MetricEstimate) -> str:
    if not needed:
        return "; no number would tell, as the value is the limit"
    more = f"more {f'{metric.of.known} ' if metric.labelled else ''}images would tell"
    if estimate.unchanged:
        more = "more images, labelled or not, would tell if no answer changes on them either"
    return f"; about {needed:,} {more}"


def _verdict(rule: Rule, metric: Metric, estimate: MetricEstimate) -> tuple[Verdict, str]:
    if estimate.value is None:
        if rule.missing == "skip":
            return Verdict.PASS, f"{estimate.missing}; the policy skips it then"
        return Verdict.FAIL, f"{estimate.missing}; the policy needs it"
    ends = estimate.interval or Interval(estimate.value, estimate.value)
    sign = 1 if metric.direction == AT_MOST else -1  # after it, lower is better
    best, worst = sorted((sign * ends.low, sign * ends.high))
    limit = sign * rule.limit
    if worst <= limit:
        return Verdict.PASS, ""
    if best > limit:
        return Verdict.FAIL, ""
    return Verdict.INCONCLUSIVE, "the images are too few to tell"


def _numbers(rule: Rule, metric: Metric, estimate: MetricEstimate, unit: str) -> str:
    """The value and what is allowed; empty where there is no value."""
    if estimate.value is None:
        return ""
    ends = [] if estimate.interval is None else [estimate.interval.low, estimate.interval.high]
    digits = telling_digits(rule.limit, [estimate.value, *ends], unit)
    text = written(estimate.value, unit, digits)
    if estimate.interval is not None:
        text += f" ({spanned(estimate.interval, unit, digits)})"
    if estimate.detail:
        text += f" ({estimate.detail})"
    limit = written(rule.limit, unit, digits)
    return f"{text}, allowed is {metric.direction.replace('_', ' ')} {limit}"


def _relative(estimate: MetricEstimate, z: float) -> MetricEstimate:
    """The change in percent of the baseline's value; the baseline is taken as known."""
    if estimate.value is None:
        return estimate
    if not estimate.baseline:
        return MetricEstimate(
            value=None, missing="the baseline's value is 0, so there is no percentage"
        )
    base = estimate.baseline
    value = 100 * (estimate.value / base - 1)
    if estimate.difference is None:
        return MetricEstimate(value=value)
    change = estimate.difference
    interval = Interval(100 * change.low / base, 100 * change.high / base)
    return MetricEstimate(
        value=value,
        interval=interval,
        images=estimate.images,
        projected=narrowing(value, interval, estimate.images, z) if estimate.images else None,
    )


def output_check(sides: Sequence[tuple[str, ComparedModel, NDArray[np.float32]]]) -> Check:
    """Return the check that a side's scores depend on the image, which every policy has.

    A model that answers every image the same fails: no accuracy on any folder makes up for that.

    Args:
        sides: For each side its part in the comparison, the model, and its (images, classes)
            scores.
    """
    problems = []
    for part, model, scores in sides:
        if not scores.any():
            problems.append(f"every score of the {part} is 0")
        elif (scores == scores[0]).all() and _is_constant(model, scores[0]):
            problems.append(f"the {part} gives every image the same scores")
    return Check(
        metric=CONSTANT_OUTPUTS,
        unit="count",
        value=len(problems),
        interval=None,
        limit=0,
        direction=AT_MOST,
        verdict=Verdict.FAIL if problems else Verdict.PASS,
        reason="; ".join(problems) or "the scores depend on the image",
    )


def _is_constant(model: ComparedModel, scores: NDArray[np.float32]) -> bool:
    """Whether test pictures get these scores too: a few images of one class may round alike."""
    session = open_session(model.path, engine=model.interpreter)
    contract = model.preprocessing
    for pixels in _test_pictures(contract):
        output = session.run(encode_pixels(pixels, session.inputs[0], contract.encoding))[0]
        values = dequantize(output, session.outputs[0]).reshape(1, -1)
        if model.head is not None:
            values = model.head.scores(values)
        else:
            values = activated(values, model.output)
        if not np.array_equal(values[0], scores):
            return False
    return True


def _test_pictures(contract: Preprocessing) -> Iterator[NDArray[np.uint8]]:
    """Plain colours, noise and its coarse version: uint8 (height, width, channels)."""
    shape = contract.shape
    for color in ((0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255)):
        # A grey image takes the first of the three values; one with opacity is opaque.
        values = (*color, 255)[: shape[2]]
        yield np.broadcast_to(np.array(values, np.uint8), shape).copy()
    random = np.random.default_rng(0)
    yield random.integers(0, 256, shape, np.uint8)
    coarse = random.integers(0, 256, (contract.height // 8 + 1, contract.width // 8 + 1, shape[2]))
    fine = coarse.repeat(8, axis=0).repeat(8, axis=1)[: shape[0], : shape[1]]
    yield fine.astype(np.uint8)
