"""Applies the rules of a policy to the evidence."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from edge.comparison.estimates import narrowing
from edge.comparison.evidence import Estimate, Evidence
from edge.comparison.metrics import AT_MOST, METRICS, Metric
from edge.comparison.policy import Policy, Rule
from edge.comparison.result import Check, Interval, Verdict
from edge.evaluation.confidence import images_to_decide

_SIGNS: Final = {"share": "%", "ratio": "", "count": "", "milliseconds": "ms", "percent": "%"}
_WORST: Final = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)


def overall(checks: Sequence[Check]) -> Verdict:
    """The worst verdict of the checks."""
    return min((check.verdict for check in checks), key=_WORST.index)


def judge(policy: Policy, evidence: Evidence) -> tuple[Check, ...]:
    """One check per rule, in their order.

    An estimate passes if its whole interval keeps the limit and fails if its whole interval
    breaks it; else the images are too few to tell. With a limit on what may be lost this is the
    test of non-inferiority by confidence interval (ICH E9, section 3.3.2). If the true loss is
    the limit, at most (1 - confidence) / 2 of all comparisons pass by the interval of the
    labelled images, and at most 1 - confidence by it or by the answers that did not change.
    Where not one changed, a rule may accept more (``Rule.unchanged``).
    """
    return tuple(_check(rule, METRICS[rule.metric], evidence) for rule in policy.rules)


def _check(rule: Rule, metric: Metric, evidence: Evidence) -> Check:
    found = metric.estimate(evidence, rule.source)
    if found.unchanged and rule.unchanged is not None:
        rule = replace(rule, limit=rule.unchanged)
    if rule.percent:
        found = _relative(found, evidence.z)
    unit = "percent" if rule.percent else metric.unit
    verdict, why = _verdict(rule, metric, found)
    needed = None
    if verdict is Verdict.INCONCLUSIVE and found.projected and found.value is not None:
        needed = images_to_decide(
            found.value, rule.limit, found.images, evidence.confidence, found.projected
        )
        more = f"more {'labelled ' if metric.labelled else ''}images would tell"
        if found.unchanged:
            more = "more images, labelled or not, would tell if no answer changes on them either"
        why += (
            f"; about {needed:,} {more}"
            if needed
            else "; no number would tell, as the value is the limit"
        )
    return Check(
        metric=metric.name,
        unit=unit,
        value=found.value,
        interval=found.interval,
        limit=rule.limit,
        direction=metric.direction,
        verdict=verdict,
        reason="; ".join(filter(None, [_numbers(rule, metric, found, unit), why])),
        images_needed=needed,
    )


def _verdict(rule: Rule, metric: Metric, found: Estimate) -> tuple[Verdict, str]:
    if found.value is None:
        if rule.missing == "skip":
            return Verdict.PASS, f"{found.missing}; the policy skips it then"
        return Verdict.FAIL, f"{found.missing}; the policy needs it"
    ends = found.interval or Interval(found.value, found.value)
    sign = 1 if metric.direction == AT_MOST else -1  # after it, lower is better
    best, worst = sorted((sign * ends.low, sign * ends.high))
    limit = sign * rule.limit
    if worst <= limit:
        return Verdict.PASS, ""
    if best > limit:
        return Verdict.FAIL, ""
    return Verdict.INCONCLUSIVE, "the images are too few to tell"


def _numbers(rule: Rule, metric: Metric, found: Estimate, unit: str) -> str:
    """What was found and what is allowed; nothing if nothing was found."""
    if found.value is None:
        return ""
    ends = [] if found.interval is None else [found.interval.low, found.interval.high]
    digits = telling_digits(rule.limit, [found.value, *ends], unit)
    text = written(found.value, unit, digits)
    if found.interval is not None:
        text += f" ({spanned(found.interval, unit, digits)})"
    if found.detail:
        text += f" ({found.detail})"
    limit = written(rule.limit, unit, digits)
    return f"{text}, allowed is {metric.direction.replace('_', ' ')} {limit}"


def _relative(found: Estimate, z: float) -> Estimate:
    """The change in percent of the baseline's value; the baseline is taken as known."""
    if found.value is None:
        return found
    if not found.baseline:
        return Estimate(value=None, missing="the baseline's value is 0, so there is no percentage")
    base = found.baseline
    value = 100 * (found.value / base - 1)
    if found.difference is None:
        return Estimate(value=value)
    change = found.difference
    interval = Interval(100 * change.low / base, 100 * change.high / base)
    return Estimate(
        value=value,
        interval=interval,
        images=found.images,
        projected=narrowing(value, interval, found.images, z) if found.images else None,
    )


def telling_digits(limit: float, values: Sequence[float], unit: str) -> int:
    """Digits behind the point that tell the values from the limit; a rounded tie would mislead."""
    others = [value for value in values if value != limit]
    for digits in range(2, 6):
        shown = written(limit, unit, digits)
        if all(written(value, unit, digits) != shown for value in others):
            return digits
    return 6


def written(value: float, unit: str, digits: int = 2) -> str:
    """A number of a check with its unit, for people.

    Args:
        value: In ``unit``.
        unit: As in ``Check``.
        digits: Behind the point; whole numbers and ratios have their own.
    """
    return f"{bare(value, unit, digits)} {_SIGNS.get(unit, unit)}".strip()


def spanned(interval: Interval, unit: str, digits: int = 2) -> str:
    """An interval for people: ``-0.50 to 1.20 points``."""
    return f"{bare(interval.low, unit, digits)} to {written(interval.high, unit, digits)}"


def bare(value: float, unit: str, digits: int = 2) -> str:
    """The number without its unit; shares are in percent."""
    if unit in ("count", "bytes"):
        return f"{value:,.0f}"
    if unit == "ratio":
        digits += 1
    sign = "+" if unit == "percent" else ""  # a change, as against a share
    return f"{100 * value if unit == 'share' else value:{sign}.{digits}f}"
