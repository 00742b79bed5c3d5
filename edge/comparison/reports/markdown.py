"""Markdown for a comment on a pull request."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import edge
from edge.comparison.result import CLASSIFICATION, Check, Comparison, Verdict
from edge.comparison.wording import change_text, quantity, score_text, sides, span
from edge.evaluation.tasks.metric import SHOWN
from edge.markup import code, folded, prose, table

LARGEST: Final = 65_535  # GitHub refuses comments of 65,536 characters; bytes are never fewer
ROWS: Final = (50, 20, 8)  # of any table; fewer where the whole would be too large
CONFUSIONS: Final = 10

# Worst first.
MARKS: Final = {Verdict.FAIL: "❌", Verdict.INCONCLUSIVE: "⚠️", Verdict.PASS: "✅"}


def markdown(comparison: Comparison) -> str:
    """Return the comparison in GitHub-flavoured Markdown, below the size that a comment may have.

    The first line is a comment of HTML that is the same for every run with these two names, by
    which a later run finds the comment to update.
    """
    for rows in ROWS:
        text = "\n\n".join(part for part in _parts(comparison, rows) if part) + "\n"
        if len(text.encode()) <= LARGEST:
            break
    return text


def _parts(comparison: Comparison, rows: int) -> list[str]:
    return [
        _marker(comparison),
        _headline(comparison),
        _sides(comparison),
        _paired(comparison),
        _checks(comparison.checks, rows),
        _classes(comparison, min(rows, 10)),
        _flips(comparison, rows),
        _changes(comparison, rows),
        _confusion(comparison),
        _notes(comparison, min(rows, 20)),
        _footer(comparison),
    ]


def _marker(comparison: Comparison) -> str:
    names = [re.sub(r"[^A-Za-z0-9]+", "-", side.name)[:60] for _, side in sides(comparison)]
    return f"<!-- edge compare {' '.join(names)} -->"


def _headline(comparison: Comparison) -> str:
    verdict = comparison.verdict
    known = "labelled" if comparison.task == CLASSIFICATION else "annotated"
    left_out = f"; {len(comparison.left_out)} left out, they trained or calibrated a model"
    skipped = f"; {len(comparison.skipped)} could not be read"
    return (
        f"## {MARKS[verdict]} edge compare: {verdict.value}\n\n"
        f"{code(comparison.candidate.name)} against {code(comparison.baseline.name)}: "
        f"{comparison.images:,} images, {comparison.labelled:,} of them {known}"
        f"{left_out if comparison.left_out else ''}{skipped if comparison.skipped else ''}."
        + (" Both are the same file." if comparison.identical else "")
    )


def _sides(comparison: Comparison) -> str:
    both = (comparison.baseline, comparison.candidate)
    rows = [
        ("top-1", *(quantity(s.top1, "share") + span(s.top1_interval, "share") for s in both)),
        ("top-5", *(quantity(s.top5, "share") + span(s.top5_interval, "share") for s in both)),
        *(
            (SHOWN.get(name, name), *(score_text(s, name) for s in both))
            for name in (both[0].score.values if both[0].score else ())
        ),
        ("calibration error (ECE)", *(quantity(s.ece, "share") for s in both)),
        ("size", *(f"{s.size_bytes / 1e6:.2f} MB" for s in both)),
        ("latency", *(quantity(s.latency_ms, "milliseconds") for s in both)),
        ("engine", *(prose(s.engine, 60) for s in both)),
    ]
    known = [row for row in rows if row[1:] != ("-", "-")]
    titles = {f"{part}: {code(side.name)}": "right" for part, side in sides(comparison)}
    return table({"": "left", **titles}, known)


def _paired(comparison: Comparison) -> str:
    paired = comparison.paired
    share = quantity(comparison.agreement, "share")
    agreement = f"Both name the same best class on {share} of the images."
    if comparison.task != CLASSIFICATION:
        return f"The answers of both agree by {share}."
    if paired is None:
        return agreement
    margin = paired.margin_points
    accepted = "" if margin is None else f"; up to {quantity(margin, 'points')} is accepted"
    return (
        f"Drop of top-1: **{quantity(paired.drop_points, 'points')}**"
        f"{span(paired.drop_interval, 'points')} with {100 * paired.confidence:g} % "
        f"confidence{accepted}. {paired.lost:,} images lost, {paired.gained:,} gained "
        f"(exact McNemar p = {paired.mcnemar_p:.3g}). {agreement}"
    )


def _checks(checks: Sequence[Check], rows: int) -> str:
    shown = list(checks)
    if len(shown) > rows:
        shown.sort(key=lambda check: list(MARKS).index(check.verdict))
    cells = [
        (
            code(check.metric),
            f"{MARKS[check.verdict]} {check.verdict.value}",
            prose(check.reason),
        )
        for check in shown[:rows]
    ]
    columns = dict.fromkeys(("check", "verdict", "found and allowed"), "left")
    return "### Checks\n\n" + table(columns, cells, len(shown))


def _classes(comparison: Comparison, rows: int) -> str:
    worse = [item for item in comparison.classes if item.drop_points > 0]
    cells = [
        (
            code(item.label),
            f"{item.images:,}",
            quantity(item.baseline, "share"),
            quantity(item.candidate, "share"),
            quantity(item.drop_points, "points"),
            f"{item.p_value:.3g}",
        )
        for item in worse[:rows]
    ]
    numbers = ("images", "baseline", "candidate", "drop of recall", "p (Holm)")
    columns = {"class": "left", **dict.fromkeys(numbers, "right")}
    return "### Worst classes\n\n" + table(columns, cells, len(worse)) if worse else ""


def _flips(comparison: Comparison, rows: int) -> str:
    cells = [
        (
            code(flip.path, 80),
            "-" if flip.truth is None else code(flip.truth),
            f"{code(flip.baseline)} {quantity(flip.baseline_score, 'share')}",
            f"{code(flip.candidate)} {quantity(flip.candidate_score, 'share')}",
        )
        for flip in comparison.flips[:rows]
    ]
    columns = dict.fromkeys(("image", "class", "baseline says", "candidate says"), "left")
    total = len(comparison.flips)
    body = table(columns, cells, total)
    return folded(f"Images whose best class changed: {total:,}", body) if cells else ""


def _changes(comparison: Comparison, rows: int) -> str:
    """What objects, pixels or points changed, by picture."""
    cells = [
        (code(change.path, 80), prose(change_text(change))) for change in comparison.changes[:rows]
    ]
    total = len(comparison.changes)
    body = table(dict.fromkeys(("image", "what changed"), "left"), cells, total)
    return folded(f"Images whose answer changed: {total:,}", body) if cells else ""


def _confusion(comparison: Comparison) -> str:
    wrong = [cell for cell in comparison.confusion if cell.truth != cell.answer]
    wrong.sort(key=lambda cell: -cell.images)
    cells = [
        (code(cell.truth), code(cell.answer), f"{cell.images:,}") for cell in wrong[:CONFUSIONS]
    ]
    columns = {"class": "left", "taken for": "left", "images": "right"}
    body = table(columns, cells, len(wrong))
    return folded("What the candidate takes for what", body) if cells else ""


def _notes(comparison: Comparison, rows: int) -> str:
    notes = [f"- {prose(note)}" for note in comparison.notes[:rows]]
    hidden = len(comparison.notes) - rows
    more = [f"- and {hidden:,} more"] if hidden > 0 else []
    return "### Notes\n\n" + "\n".join([*notes, *more]) if notes else ""


def _footer(comparison: Comparison) -> str:
    policy = comparison.policy
    parts = [
        f"policy {code(policy.name)} {code(policy.sha256[:12])}",
        *(f"{part} {code(side.sha256[:12])}" for part, side in sides(comparison)),
        f"host {prose(_host(comparison.host), 200)}",
        f"edge {edge.__version__}",
    ]
    return f"<sub>{' · '.join(parts)}</sub>"


def _host(host: Mapping[str, Any]) -> str:
    plain = {key: value for key, value in host.items() if isinstance(value, str | int | float)}
    return ", ".join(f"{key} {value}" for key, value in plain.items()) or "unknown"
