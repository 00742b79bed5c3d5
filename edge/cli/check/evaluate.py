"""``edge evaluate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from edge.cli import options as shared
from edge.cli.help import example
from edge.runtime.streams import say
from edge.wording import bounds, percent

if TYPE_CHECKING:
    from edge.evaluation.evaluate import Evaluation
    from edge.evaluation.tasks.evaluate import TaskEvaluation
    from edge.evaluation.tasks.metric import TaskScore

MOST_CLASSES: Final = 20  # rows of the table for people


@example("edge evaluate bundle photos/test --variant tflite-int8")
def evaluate(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.", show_default=False)],
    directory: shared.ScoredFolder,
    variant: Annotated[
        list[str] | None,
        typer.Option(
            help="Name of a variant to score; may be repeated.  \\[default: all]",
            show_default=False,
        ),
    ] = None,
    truth: shared.Truth = None,
    annotations: shared.Annotations = None,
    engine: shared.Engine = None,
    cache: shared.Cache = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Score the written files of a bundle on labelled images; TensorFlow is not needed.

    Images that trained or calibrated the bundle are found by their hash and are counted apart: the
    scores are those of the other images, if there are any.
    """
    from edge.cli.output import print_json
    from edge.cli.terminal import shown_progress
    from edge.evaluation.evaluate import evaluate as run
    from edge.evaluation.tasks.evaluate import TaskEvaluation
    from edge.inspection.notes import overflow_notes_of

    result = run(
        bundle,
        directory,
        variants=tuple(variant or ()),
        truth_file=truth,
        annotations=annotations,
        engine=engine,
        cache=shared.cache_root(cache),
        progress=shown_progress(quiet=quiet),
        file_notes=overflow_notes_of,
    )
    if json:
        print_json(result.to_json())
    elif isinstance(result, TaskEvaluation):
        _print_task(result)
    else:
        _print(result)


def _print_task(result: "TaskEvaluation") -> None:
    """Print the scores of every variant, then the classes of the first one."""
    from edge.cli.output import print_table
    from edge.evaluation.confidence import ends
    from edge.evaluation.tasks.metric import SHOWN

    metric = SHOWN.get(result.metric, result.metric)
    others = [name for name in result.variants[0].score.values if name != result.metric]
    more = [SHOWN.get(name, name) for name in others]
    known = bool(result.annotated)
    print_table(
        f"{result.name}, {result.task}: {result.images} images, "
        f"{result.annotated if known else 'none'} annotated",
        ("variant", *((metric, "95 %", *more) if known else ()), "agrees"),
        [
            (
                item.name,
                *((percent(item.score.primary), bounds(ends(item.interval))) if known else ()),
                *(_value(item.score, name) for name in others),
                percent(item.agreement),
            )
            for item in result.variants
        ],
        least=("95 %", *more),
    )
    first = result.variants[0]
    rows = [item for item in first.score.classes if item.value is not None]
    rows.sort(key=lambda item: item.value or 0.0)
    if len(rows) > 1:
        print_table(
            f"{first.name} by class",
            ("class", metric, "annotated"),
            [(item.label, percent(item.value), str(item.count)) for item in rows[:MOST_CLASSES]],
        )
    agrees = f"Agrees: how much of its answers and those of {first.name} are the same."
    interval = "95 %: bootstrap over the images."
    legend = ((agrees, len(result.variants) > 1), (interval, known))
    say(" ".join(text for text, holds in legend if holds))


def _value(score: "TaskScore", name: str) -> str:
    value = score.values[name]
    if name == "count_error":
        return "-" if value is None else f"{value:.2f}"
    return percent(value)


def _print(result: "Evaluation") -> None:
    """Print the scores of every variant, then the classes of the first one."""
    from edge.cli.check.view import print_labels
    from edge.dataset.folder import unused_files

    if result.output.multi_label:
        print_labels(
            result.name, {item.name: (item.multi_label, item.score) for item in result.variants}
        )
        return
    _print_scores(result)
    _print_classes(result)
    if unused := unused_files(len(result.files.images), result.files.others):
        say(f"Data: {unused}")
    agrees = f"Agrees: with {result.variants[0].name}. " if len(result.variants) > 1 else ""
    say(f"{agrees}95 %: intervals (Wilson).")


def _print_scores(result: "Evaluation") -> None:
    """Print the scores of every variant, and those of images of different origins apart."""
    from edge.cli.output import print_table
    from edge.evaluation.confidence import ends
    from edge.evaluation.images import said

    first = result.variants[0]
    of_what = {
        "unseen": "images that it was not made from",
        "seen": "images that IT WAS MADE FROM",
        "unknown": "images, some perhaps it was made from",
    }[result.scope]
    print_table(
        f"{result.name}: {first.score.images} {of_what}, {first.score.labelled} labelled",
        ("variant", "top-1", "95 %", "top-5", "agrees"),
        [
            (
                item.name,
                percent(item.score.top1),
                bounds(ends(item.top1_interval)),
                percent(item.score.top5),
                percent(item.score.agreement),
            )
            for item in result.variants
        ],
        least=("top-5", "95 %"),
    )
    if len(first.by_origin) > 1:
        print_table(
            f"Apart: {said(result.origins)}",
            ("variant", *(f"{origin.replace('_', '-')}" for origin in first.by_origin)),
            [
                (item.name, *(percent(found.top1) for found in item.by_origin.values()))
                for item in result.variants
            ],
        )


def _print_classes(result: "Evaluation") -> None:
    """Print the classes of the first variant, those of the lowest recall first."""
    from edge.cli.output import print_table
    from edge.evaluation.confidence import ends

    first = result.variants[0]
    rows = sorted(
        (item for item in first.classes if item.images),
        key=lambda item: 1.0 if item.recall is None else item.recall,
    )
    more = f", the {MOST_CLASSES} of lowest recall" if len(rows) > MOST_CLASSES else ""
    print_table(
        f"{first.name} by class{more}",
        ("class", "images", "right", "recall", "95 %", "precision"),
        [
            (
                result.labels[item.index],
                str(item.images),
                str(item.right),
                percent(item.recall),
                bounds(ends(item.recall_interval)),
                percent(item.precision),
            )
            for item in rows[:MOST_CLASSES]
        ],
        least=("images", "right", "precision", "95 %"),
    )
