"""A comparison, and scores of labels, for people, on standard output."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from edge.cli.output import print_folded, print_table
from edge.comparison.result import Check, Comparison, Interval, Side, Verdict
from edge.comparison.wording import bare, change_text, score_text, spanned, telling_digits, written
from edge.evaluation.tasks.metric import SHOWN
from edge.runtime.streams import say
from edge.wording import bounds, percent, size

if TYPE_CHECKING:
    from edge.evaluation.multilabel import MultiLabelScore
    from edge.evaluation.score import Score

MOST_LABELS: Final = 20  # rows of the table for people
CLASSES = 5
FLIPS = 10


def print_comparison(result: Comparison) -> None:
    """Print both sides, what changed between them, every check, and the verdict."""
    if result.task == "classification":
        _print_sides(result)
    else:
        _print_task_sides(result)
    if result.paired is not None:
        paired = result.paired
        margin = "" if paired.margin_points is None else f"; margin {paired.margin_points:g}"
        low, high = paired.drop_interval.low, paired.drop_interval.high
        say(f"{paired.lost} lost, {paired.gained} gained, McNemar p = {paired.mcnemar_p:.2g}")
        say(f"top-1 drop {paired.drop_points:.2f} points ({low:.2f} to {high:.2f}){margin}")
    print_table(
        "",
        ("check", "found", "interval", "allowed", "verdict"),
        [_row(check) for check in result.checks],
        least=("interval",),
    )
    _print_classes(result)
    if result.task == "classification":
        _print_flips(result)
    else:
        _print_changes(result)
    _print_verdict(result)


def _row(check: Check) -> tuple[str, str, str, str, str]:
    sign = "<=" if check.direction == "at_most" else ">="
    if check.value is None:
        limit = written(check.limit, check.unit)
        skipped = check.verdict is Verdict.PASS
        verdict = "skipped" if skipped else str(check.verdict)
        return check.metric, "-", "", f"{sign} {limit}", verdict
    ends = [] if check.interval is None else [check.interval.low, check.interval.high]
    digits = telling_digits(check.limit, [check.value, *ends], check.unit)
    return (
        check.metric,
        written(check.value, check.unit, digits),
        " to ".join(bare(end, check.unit, digits) for end in ends),
        f"{sign} {bare(check.limit, check.unit, digits)}",
        str(check.verdict),
    )


def deciding(result: Comparison) -> list[Check]:
    """Return the checks that made the verdict."""
    return [check for check in result.checks if check.verdict is result.verdict]


def _print_sides(result: Comparison) -> None:
    if result.baseline.output.multi_label:
        _print_label_sides(result)
        return
    columns = ["", "top-1", "top-5", "ECE", "size"]
    timed = result.candidate.latency_ms is not None
    rows = []
    for part, side in (("baseline", result.baseline), ("candidate", result.candidate)):
        row = [f"{part} {side.name}", *_scores(side), size(side.size_bytes)]
        if timed:
            row.append("-" if side.latency_ms is None else f"{side.latency_ms:.2f} ms")
        rows.append(row)
    left_out = f", {len(result.left_out)} left out" if result.left_out else ""
    skipped = f", {len(result.skipped)} unreadable" if result.skipped else ""
    print_table(
        f"{result.images} images, {result.labelled} labelled{left_out}{skipped}",
        columns + ["latency"] * timed,
        rows,
        least=("ECE", "top-5", "size", "latency"),
    )


def _print_task_sides(result: Comparison) -> None:
    """Print two models that are no classifiers; without annotations neither has a score."""
    both = (("baseline", result.baseline), ("candidate", result.candidate))
    names = [] if result.baseline.score is None else list(result.baseline.score.values)
    rows = []
    for part, side in both:
        time = "-" if side.latency_ms is None else f"{side.latency_ms:.2f} ms"
        scores = [score_text(side, name) for name in names]
        rows.append((f"{part} {side.name}", *scores, size(side.size_bytes), time))
    annotated = f", {result.labelled} annotated" if names else ""
    left_out = f", {len(result.left_out)} left out" if result.left_out else ""
    skipped = f", {len(result.skipped)} unreadable" if result.skipped else ""
    title = f"{result.task}, {result.images} images{annotated}{left_out}{skipped}"
    columns = ("", *(SHOWN.get(name, name) for name in names), "size", "latency")
    print_table(title, columns, rows, least=("latency",))


def _print_label_sides(result: Comparison) -> None:
    """Print the scores of labels that do not exclude one another."""
    rows = []
    for part, side in (("baseline", result.baseline), ("candidate", result.candidate)):
        found = side.multi_label
        scores = (
            (found.mean_average_precision, found.macro_f1, found.subset_accuracy)
            if found
            else (None, None, None)
        )
        cells = [percent(score) for score in scores]
        rows.append([f"{part} {side.name}", *cells, size(side.size_bytes)])
    left_out = f", {len(result.left_out)} left out" if result.left_out else ""
    print_table(
        f"{result.images} images, {result.labelled} with known labels{left_out}",
        ["", "mAP", "macro F1", "whole sets", "size"],
        rows,
    )


def _scores(side: Side) -> tuple[str, str, str]:
    return (
        percent(side.top1) + _shares(side.top1_interval),
        percent(side.top5),
        percent(side.ece),
    )


def _shares(interval: Interval | None) -> str:
    return "" if interval is None else f" ({spanned(interval, 'share', 1)})"


def _print_classes(result: Comparison) -> None:
    changed = [item for item in result.classes if item.baseline != item.candidate]
    if not changed:
        return
    rows = [
        (
            item.label,
            str(item.images),
            percent(item.baseline),
            percent(item.candidate),
            bounds((item.candidate_interval.low, item.candidate_interval.high)),
            f"{item.drop_points:+.1f} pt",
            f"{item.p_value:.2g}",
        )
        for item in changed[:CLASSES]
    ]
    more = f"; {len(changed) - CLASSES} more: --json" if len(changed) > CLASSES else ""
    print_table(
        f"recall of classes that changed, worst first{more}",
        ("class", "images", "baseline", "candidate", "95 %", "drop", "p (Holm)"),
        rows,
        least=("p (Holm)", "images"),
    )
    chance = 1.0 if result.paired is None else 1 - result.paired.confidence
    if all(item.p_value >= chance for item in changed):
        print_folded(
            "None of these drops counts as a loss: with so few images of a class, each may be "
            f"chance (p is {chance:.2g} or more)."
        )


def _print_flips(result: Comparison) -> None:
    total = len(result.flips)
    say(f"{total} of {result.images} images changed their answer{':' if total else '.'}")
    for flip in result.flips[:FLIPS]:
        truth = "" if flip.truth is None else f" ({flip.truth})"
        say(
            f"  {flip.path}{truth}: {flip.baseline} {percent(flip.baseline_score)} -> "
            f"{flip.candidate} {percent(flip.candidate_score)}"
        )
    if total > FLIPS:
        say(f"  {total - FLIPS} more: --json")


def _print_changes(result: Comparison) -> None:
    total = len(result.changes)
    say(f"{total} of {result.images} images changed their answer{':' if total else '.'}")
    for change in result.changes[:FLIPS]:
        print_folded(f"  {change.path}: {change_text(change)}")
    if total > FLIPS:
        say(f"  {total - FLIPS} more: --json")


def _print_verdict(result: Comparison) -> None:
    for note in result.notes:
        print_folded(f"note: {note}")
    policy = result.policy
    say(f"policy: {policy.name}, sha256 {policy.sha256[:16]}")
    reasons = "; ".join(f"{check.metric}: {check.reason}" for check in deciding(result))
    print_folded(
        f"verdict: {result.verdict}" + (f" ({reasons})" if result.verdict != "pass" else "")
    )


def print_labels(title: str, scores: Mapping[str, "tuple[MultiLabelScore | None, Score]"]) -> None:
    """Print scores of labels that do not exclude one another: each model's, then each label's."""
    first, (found, _) = next(iter(scores.items()))
    known = 0 if found is None else found.images
    print_table(
        f"{title}: {next(iter(scores.values()))[1].images} images, {known} with known labels",
        ("variant", "mAP", "macro F1", "micro F1", "whole sets", "wrong", "agrees"),
        [
            (name, *_label_cells(item), percent(score.agreement))
            for name, (item, score) in scores.items()
        ],
        least=("micro F1", "wrong"),
    )
    if found is not None:
        print_each_label(first, found)
    say("mAP: mean of the labels' average precision. Whole sets: images whose every label is")
    say(f"right. Wrong: single labels that are not. Agrees: same set of labels as {first}.")


def _label_cells(found: "MultiLabelScore | None") -> tuple[str, ...]:
    if found is None:
        return ("-",) * 5
    return (
        percent(found.mean_average_precision),
        percent(found.macro_f1),
        percent(found.micro_f1),
        percent(found.subset_accuracy),
        percent(found.hamming_loss),
    )


def print_each_label(name: str, found: "MultiLabelScore") -> None:
    """Print average precision, precision, recall and F1 of each label, the lowest F1 first."""
    rows = sorted(found.labels, key=lambda item: 2.0 if item.f1 is None else item.f1)
    print_table(
        f"{name} by label",
        ("label", "holds in", "AP", "F1", "precision", "recall", "threshold"),
        [
            (
                item.label,
                str(item.positives),
                percent(item.average_precision),
                percent(item.f1),
                percent(item.precision),
                percent(item.recall),
                f"{item.threshold:g}",
            )
            for item in rows[:MOST_LABELS]
        ],
        least=("threshold", "precision", "recall"),
    )
