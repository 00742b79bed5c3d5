"""SARIF 2.1.0 for the code scanning of GitHub: an alert for each check that does not pass.

Holds what GitHub requires of an upload ("SARIF support for code scanning"): rules with their
descriptions and help, and per result a message, a place with its region, and a fingerprint that
stays the same from run to run. A passing check is no result, so its alert is closed.
"""

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import edge
from edge.comparison.result import Check, Comparison, Interval, Verdict
from edge.comparison.wording import meaning, sides
from edge.runtime.printable import one_line

SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
LEVELS: Final = {Verdict.FAIL: "error", Verdict.INCONCLUSIVE: "warning"}


def sarif(comparison: Comparison) -> str:
    """Return the comparison as a SARIF log; paths are relative to the current folder."""
    metrics = list(dict.fromkeys(check.metric for check in comparison.checks))
    slug = "/".join(quote(one_line(side.name), safe="") for _, side in sides(comparison))
    driver = {
        "name": "edge",
        "semanticVersion": edge.__version__,
        "rules": [_rule(metric) for metric in metrics],
    }
    log = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                # What is before the last slash is the category: one for each pair of models.
                "automationDetails": {"id": f"edge-compare/{slug}/"},
                "results": list(_results(comparison, metrics)),
                "properties": _summary(comparison),
            }
        ],
    }
    return json.dumps(log, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _rule(metric: str) -> dict[str, Any]:
    text = {"text": f"{one_line(meaning(metric))}."}
    return {
        "id": rule_id(metric),
        "name": one_line(metric),
        "shortDescription": text,
        "fullDescription": text,
        "help": text,
        "properties": {"tags": ["model-quality"], "precision": "very-high"},
    }


def rule_id(metric: str) -> str:
    """Return the ID of the rule for a metric, which stands among those of other tools."""
    return f"edge-compare/{one_line(metric)}"


def _results(comparison: Comparison, metrics: list[str]) -> Iterator[dict[str, Any]]:
    uri = relative_uri(Path(comparison.candidate.path))
    seen: Counter[str] = Counter()
    for check in comparison.checks:
        seen[check.metric] += 1
        if check.verdict in LEVELS:
            identity = json.dumps([check.metric, uri, comparison.baseline.name])
            # The only fingerprint that GitHub reads; without it the action hashes line 1 of a
            # model file, which changes with every model.
            digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
            fingerprints = {"primaryLocationLineHash": f"{digest}:{seen[check.metric]}"}
            yield {
                **_result(check, metrics.index(check.metric), uri),
                "partialFingerprints": fingerprints,
            }


def _result(check: Check, index: int, uri: str) -> dict[str, Any]:
    region = {"startLine": 1, "startColumn": 1, "endLine": 1, "endColumn": 1}
    return {
        "ruleId": rule_id(check.metric),
        "ruleIndex": index,
        "level": LEVELS[check.verdict],
        "message": {"text": one_line(f"{check.metric}: {check.reason}.")},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri}, "region": region}}],
        "properties": {
            "value": _finite(check.value),
            "interval": _ends(check.interval),
            "unit": check.unit,
            "direction": check.direction,
            "limit": _finite(check.limit),
            "verdict": check.verdict.value,
            "images_needed": check.images_needed,
        },
    }


def relative_uri(path: Path) -> str:
    """Return a file's path below the current folder as a relative URI (RFC 3986), links followed.

    GitHub takes it as relative to the repository. A file elsewhere is named without its folder.
    """
    file, here = path.resolve(), Path.cwd().resolve()
    inside = file.relative_to(here) if file.is_relative_to(here) else Path(path.name)
    return quote(os.fsencode(inside.as_posix()))


def _summary(comparison: Comparison) -> dict[str, Any]:
    return {
        "verdict": comparison.verdict.value,
        "images": comparison.images,
        "labelled": comparison.labelled,
        "policy": one_line(comparison.policy.name),
        "policy_sha256": comparison.policy.sha256,
        **{f"{part}_sha256": side.sha256 for part, side in sides(comparison)},
    }


def _ends(interval: Interval | None) -> list[float | None] | None:
    return None if interval is None else [_finite(interval.low), _finite(interval.high)]


def _finite(value: float | None) -> float | None:
    """The number, or None where it is not finite, which JSON cannot state."""
    return value if value is not None and math.isfinite(value) else None
