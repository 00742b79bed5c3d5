"""Policies: which limits a candidate must keep; from a TOML file, or the built-in one."""

import difflib
import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from edge.comparison.metrics import AT_LEAST, AT_MOST, DROPS, METRICS
from edge.comparison.result import PolicyRecord
from edge.errors import UsageError
from edge.runtime import checked
from edge.runtime.spec import canonical_json

POLICY_SCHEMA_VERSION: Final = 1
MARGIN_POINTS: Final = 1.0  # drop of top-1 that the built-in policy accepts
UNCHANGED_POINTS: Final = 1.5  # and where no answer changed; 199 images show that with 95 %
CLASS_POINTS: Final = 10.0  # and of one class's recall
# Rounding changes scores of MobileNet by at most 1e-5, scaling by 1/128 for 1/127.5 by 1e-3.
SAME_WEIGHTS_SHIFT: Final = 3e-4
CHOICES: Final = {
    "unit": ("absolute", "percent"),
    "missing": ("fail", "skip"),
    "source": ("measured", "recorded"),
}
UNCHANGED: Final = "at_most_unchanged"


def rule_example(
    metric: str = "top1_drop", limit: str = AT_MOST, value: float = MARGIN_POINTS
) -> str:
    """How a rule is written: a sentence, then TOML that a policy can take as it stands."""
    return f'A rule is:\n[[rule]]\nmetric = "{metric}"\n{limit} = {value:.12g}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One limit.

    Attributes:
        metric: Key of ``METRICS``.
        limit: In the metric's unit, or in percent of the baseline's value.
        percent: Whether the limit is on the change relative to the baseline.
        missing: ``fail`` or ``skip``: what to do where the metric cannot be had.
        source: ``measured`` or ``recorded``, of a latency.
        unchanged: Limit of a drop where not one answer changed, above ``limit``; None for the
            same limit.
    """

    metric: str
    limit: float
    percent: bool = False
    missing: str = "fail"
    source: str = "measured"
    unchanged: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Rules, and what identifies them."""

    record: PolicyRecord
    rules: tuple[Rule, ...]

    def sources(self) -> tuple[str, ...]:
        """Where latencies have to come from; none if no rule asks for any."""
        return tuple(sorted({rule.source for rule in self.rules if METRICS[rule.metric].timed}))


def default_policy(margin_points: float | None = None) -> Policy:
    """Top-1 not worse by more than the margin, no class broken, nothing odd around the weights.

    Args:
        margin_points: Asked for, and then it holds in every case; None for ``MARGIN_POINTS``, and
            ``UNCHANGED_POINTS`` where no answer changed.
    """
    drop = (
        Rule(metric="top1_drop", limit=MARGIN_POINTS, unchanged=UNCHANGED_POINTS)
        if margin_points is None
        else Rule(metric="top1_drop", limit=margin_points)
    )
    rules = (
        drop,
        Rule(metric="worst_class_recall_drop", limit=CLASS_POINTS, missing="skip"),
        Rule(metric="same_weights_shift", limit=SAME_WEIGHTS_SHIFT, missing="skip"),
    )
    return _built_in(rules)


def _built_in(rules: tuple[Rule, ...]) -> Policy:
    text = canonical_json([asdict(rule) for rule in rules])
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Policy(record=PolicyRecord(name="built-in", sha256=digest, path=None), rules=rules)


def policy_of_labels(policy: Policy) -> Policy:
    """The built-in policy for labels that do not exclude one another; any other as it is.

    Where the built-in one limits the drop of top-1, that of mAP is limited: there is no best
    class. A policy file says itself what it limits.
    """
    if policy.record.path is not None:
        return policy
    return _built_in(
        tuple(
            replace(rule, metric="map_drop") if rule.metric == "top1_drop" else rule
            for rule in policy.rules
        )
    )


def load_policy(path: Path) -> Policy:
    """Read a policy file.

    Raises:
        UsageError: It cannot be read, or something in it is not known.
    """
    try:
        content = checked.read_bytes(path)
        value = checked.parse_toml(content, finite=False)
    except OSError as error:
        raise UsageError(f"no policy at {path}: {error.strerror}", hint=rule_example()) from error
    except checked.Malformed as error:
        raise UsageError(f"{path} is no TOML file: {error}", hint=rule_example()) from error
    _known(f"{path}: key", value, ("schema_version", "name", "rule"))
    version = value.get("schema_version")
    if type(version) is not int or version != POLICY_SCHEMA_VERSION:
        raise UsageError(
            f"{path}: schema_version is {version!r}; this edge reads {POLICY_SCHEMA_VERSION}",
            hint=f"Write schema_version = {POLICY_SCHEMA_VERSION} at the top.",
        )
    name, rules = value.get("name", path.stem), value.get("rule")
    if not isinstance(name, str):
        raise UsageError(f"{path}: name is {name!r}; text is needed")
    if not isinstance(rules, list) or not rules or not all(isinstance(r, dict) for r in rules):
        raise UsageError(f"{path} has no rules", hint=rule_example())
    record = PolicyRecord(name=name, sha256=hashlib.sha256(content).hexdigest(), path=str(path))
    parsed = tuple(_rule(f"{path}: rule {n}", rule) for n, rule in enumerate(rules, 1))
    return Policy(record=record, rules=parsed)


def _rule(place: str, value: Mapping[str, Any]) -> Rule:
    _known(f"{place}: key", value, ("metric", AT_MOST, AT_LEAST, UNCHANGED, *CHOICES))
    name = value.get("metric")
    if not isinstance(name, str):
        raise UsageError(f"{place} names no metric", hint=f"Known: {', '.join(METRICS)}.")
    _known(f"{place}: metric", [name], METRICS)
    metric = METRICS[name]
    chosen = {key: _choice(place, value, key) for key in CHOICES}
    percent = chosen["unit"] == "percent"
    if percent and not metric.relative:
        names = ", ".join(item.name for item in METRICS.values() if item.relative)
        raise UsageError(
            f"{place}: {name} has no baseline to be a percentage of",
            hint=f'unit = "percent" goes with {names}.',
        )
    if "source" in value and not metric.timed:
        raise UsageError(f"{place}: source is for latencies; {name} is none")
    limit = _limit(place, value, metric.direction, name)
    return Rule(
        metric=name,
        limit=limit,
        unchanged=_unchanged(place, value, name, limit),
        percent=percent,
        missing=chosen["missing"],
        source=chosen["source"],
    )


def _limit(place: str, value: Mapping[str, Any], direction: str, name: str) -> float:
    given = [key for key in (AT_MOST, AT_LEAST) if key in value]
    if given != [direction]:
        found = " and ".join(given) or "no limit"
        hint = rule_example(name, direction, 0.9 if direction == AT_LEAST else 1.0)
        raise UsageError(f"{place} has {found}; {name} takes one {direction}", hint=hint)
    limit = value[direction]
    if type(limit) not in (int, float) or not math.isfinite(limit):
        raise UsageError(f"{place}: {direction} is {limit!r}; a number is needed")
    return float(limit)


def _unchanged(place: str, value: Mapping[str, Any], name: str, limit: float) -> float | None:
    if UNCHANGED not in value:
        return None
    found = value[UNCHANGED]
    if name not in DROPS:
        raise UsageError(f"{place}: {UNCHANGED} is for {', '.join(DROPS)}; {name} is none")
    if type(found) not in (int, float) or not math.isfinite(found) or found < limit:
        raise UsageError(
            f"{place}: {UNCHANGED} is {found!r}; a number from {AT_MOST} ({limit:g}) on is needed",
            hint="It is the drop that is accepted where no answer changed; see docs/ci.md.",
        )
    return float(found)


def _choice(place: str, value: Mapping[str, Any], key: str) -> str:
    found = value.get(key, CHOICES[key][0])
    if not isinstance(found, str):
        raise UsageError(f"{place}: {key} is {found!r}; text is needed")
    _known(f"{place}: {key}", [found], CHOICES[key])
    return found


def _known(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a name that is not among the known ones, with the one that was probably meant."""
    known = tuple(known)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise UsageError(
                f"{what} {name!r} is unknown", hint=f"{hint}Known: {', '.join(known)}."
            )
