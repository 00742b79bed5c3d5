"""Policies: which limits a candidate must keep; from a TOML file, or the built-in one."""

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Final, Literal

from edge import schema
from edge.comparison.evidence import FileEvidence
from edge.comparison.metrics import AT_LEAST, AT_MOST, DROPS, METRICS
from edge.comparison.result import PolicyRecord
from edge.comparison.task_metrics import task_agreement, task_score_drop, worst_class_score_drop
from edge.errors import UsageError, cause_of
from edge.runtime import checked
from edge.runtime.contract import canonical_json

POLICY_SCHEMA_VERSION: Final = 1
MARGIN_POINTS: Final = 1.0  # drop of top-1 that the built-in policy accepts
UNCHANGED_POINTS: Final = 1.5  # the same where no answer changed; 199 images show it with 95 %
# Least task_agreement. Measured on YOLOX-nano, 100 pictures, 95 %: weights of 8 bits agree with the
# float file by 0.88 to 0.93, of 7 bits by 0.84 to 0.90, of 6 bits by 0.60 to 0.72. Its int8 file,
# whose activations are of 8 bits as well, is ruined: 0.15 to 0.25 on 200 pictures. DeepLab's int8
# file is near the limit, 0.75 to 0.93 on 200 pictures of cats and dogs, where most of its classes
# are rare. For poses and embeddings no pair of files was at hand; the limit is that of the others.
AGREEMENT: Final = 0.8
CLASS_POINTS: Final = 10.0  # drop of one class's recall that it accepts
# Rounding changes scores of MobileNet by at most 1e-5, scaling by 1/128 for 1/127.5 by 1e-3.
SAME_WEIGHTS_SHIFT: Final = 3e-4


def rule_example(
    metric: str = "top1_drop", limit: str = AT_MOST, value: float = MARGIN_POINTS
) -> str:
    """Return how a rule is written: words, a colon, and TOML that a policy can take as it stands.

    It is on one line, since every message is.
    """
    return f'A policy of one rule is: rule = [{{ metric = "{metric}", {limit} = {value:.12g} }}]'


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The limit of one metric.

    Attributes:
        metric: The key of ``METRICS``.
        limit: The limit in the metric's unit, or in percent of the baseline's value.
        percent: Whether the limit is on the change relative to the baseline.
        missing: ``fail`` or ``skip``: what to do where the metric cannot be had.
        source: ``measured`` or ``recorded``: where a latency has to come from.
        unchanged: The limit of a drop where not one answer changed, above ``limit``; None for the
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
    """The rules of a comparison, and what identifies them."""

    record: PolicyRecord
    rules: tuple[Rule, ...]

    def sources(self) -> tuple[str, ...]:
        """Return where latencies have to come from; nothing if no rule asks for any."""
        return tuple(sorted({rule.source for rule in self.rules if METRICS[rule.metric].timed}))


def default_policy(margin_points: float | None = None) -> Policy:
    """Return the built-in policy.

    Top-1 may drop by the margin at most, no class may break, and between files with the same
    weights no score may shift.

    Args:
        margin_points: The margin that the user asks for, which then holds in every case; None for
            ``MARGIN_POINTS``, and for ``UNCHANGED_POINTS`` where no answer changed.
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
    """Return the policy for labels that do not exclude one another.

    Where the built-in policy limits the drop of top-1, that of mAP is limited instead, since there
    is no best class. A policy file says itself what it limits, and stays as it is.
    """
    if policy.record.path is not None:
        return policy
    return _built_in(
        tuple(
            replace(rule, metric="map_drop") if rule.metric == "top1_drop" else rule
            for rule in policy.rules
        )
    )


def task_policy(*, annotated: bool = False) -> Policy:
    """Return the built-in policy for models that are no classifiers.

    Args:
        annotated: Whether pictures are annotated: the score then counts, and no class may break.
            Without annotations the answers of both files have to agree.
    """
    if not annotated:
        return _built_in((Rule(metric=task_agreement.__name__, limit=AGREEMENT),))
    rules = (
        Rule(metric=task_score_drop.__name__, limit=MARGIN_POINTS),
        Rule(metric=worst_class_score_drop.__name__, limit=CLASS_POINTS, missing="skip"),
    )
    return _built_in(rules)


def check_metrics(policy: Policy, kind: type[FileEvidence], answers: str) -> None:
    """Refuse a policy with a metric that these models do not have.

    Args:
        policy: The rules.
        kind: The evidence that the models give.
        answers: What they are, for people.

    Raises:
        UsageError: A metric of the policy is computed from other evidence.
    """
    for rule in policy.rules:
        if not METRICS[rule.metric].fits(kind):
            names = ", ".join(item.name for item in METRICS.values() if item.fits(kind))
            raise UsageError(
                f"the policy {policy.record.name} limits {rule.metric}, which is not for {answers}",
                hint=f"Metrics for {answers} are {names}.",
            )


def load_policy(path: Path) -> Policy:
    """Read a policy file.

    Raises:
        UsageError: It cannot be read, or something in it is unknown or not allowed.
    """
    try:
        content = checked.read_bytes(path, "the policy")
    except FileNotFoundError as error:
        raise UsageError(f"there is no policy at {path}", hint=rule_example()) from error
    except (OSError, checked.Malformed) as error:
        raise UsageError(
            f"the policy {path} cannot be read: {cause_of(error)}", hint=rule_example()
        ) from error
    stored = schema.parse(
        _StoredPolicy,
        content,
        str(path),
        "the policy",
        form="toml",
        version=POLICY_SCHEMA_VERSION,
        hint=rule_example(),
    )
    name = path.stem if stored.name is None else stored.name
    record = PolicyRecord(name=name, sha256=hashlib.sha256(content).hexdigest(), path=str(path))
    return Policy(record=record, rules=stored.rule)


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoredRule:
    """A rule as a policy file states it."""

    metric: Annotated[str, schema.one_of(METRICS)]
    at_most: float | None = None
    at_least: float | None = None
    at_most_unchanged: float | None = None
    unit: Literal["absolute", "percent"] = "absolute"
    missing: Literal["fail", "skip"] = "fail"
    source: Literal["measured", "recorded"] | None = None

    def rule(self) -> Rule:
        """The rule, if its fields fit its metric.

        Raises:
            Refused: They do not.
        """
        metric = METRICS[self.metric]
        if self.unit == "percent" and not metric.relative:
            names = ", ".join(item.name for item in METRICS.values() if item.relative)
            raise schema.Refused(
                f"{self.metric} has no baseline to be a percentage of",
                f'unit = "percent" goes with {names}.',
            )
        if self.source is not None and not metric.timed:
            raise schema.Refused(f"source is for latencies; {self.metric} is none")
        limit = self._limit(metric.direction)
        self._check_unchanged(limit)
        return Rule(
            metric=self.metric,
            limit=limit,
            unchanged=self.at_most_unchanged,
            percent=self.unit == "percent",
            missing=self.missing,
            source=self.source or "measured",
        )

    def _limit(self, direction: str) -> float:
        limits = {AT_MOST: self.at_most, AT_LEAST: self.at_least}
        given = {name: limit for name, limit in limits.items() if limit is not None}
        if list(given) != [direction]:
            stated = " and ".join(given) or "no limit"
            raise schema.Refused(
                f"it has {stated}; {self.metric} takes one {direction}",
                rule_example(self.metric, direction, 0.9 if direction == AT_LEAST else 1.0),
            )
        return given[direction]

    def _check_unchanged(self, limit: float) -> None:
        if self.at_most_unchanged is None:
            return
        if self.metric not in DROPS:
            raise schema.Refused(
                f"at_most_unchanged is for {', '.join(DROPS)}; {self.metric} is none"
            )
        if self.at_most_unchanged < limit:
            raise schema.Refused(
                f"at_most_unchanged is {self.at_most_unchanged:g}; "
                f"a number from {AT_MOST} ({limit:g}) on is needed",
                "It is the drop that is accepted where no answer changed; see docs/ci.md.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoredPolicy:
    """A policy file, without its version."""

    name: str | None = None
    rule: Annotated[
        tuple[Annotated[Rule, schema.As(_StoredRule, _StoredRule.rule)], ...], schema.NOT_EMPTY
    ]
