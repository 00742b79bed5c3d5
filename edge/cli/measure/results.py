"""``edge benchmark diff`` and ``edge benchmark plot``: commands on results files."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from edge.cli import options as shared
from edge.cli.help import example
from edge.errors import NegativeVerdict
from edge.runtime.streams import say
from edge.wording import counted, milliseconds

if TYPE_CHECKING:
    from benchmarks.diff import Change, Diff

MAX_REGRESSION: Final = 5.0  # percent; a comparison with --against judges by it too


@example("edge benchmark diff monday.json today.json --max-regression 5")
def diff(
    old: Annotated[Path, typer.Argument(help="Results file to compare with.", show_default=False)],
    new: Annotated[Path, typer.Argument(help="Results file to judge.", show_default=False)],
    max_regression: Annotated[
        float, typer.Option(help="Slowdown of a row that is allowed, in percent.", min=0)
    ] = MAX_REGRESSION,
    allow_other_models: Annotated[
        bool, typer.Option(help="Compare model files that differ under the same name.")
    ] = False,
    json: shared.Json = False,
) -> None:
    """Compare two results files of one host; the exit code is 1 if a row is surely too slow.

    A row is the same if the whole interval of the ratio is within the allowed slowdown, either way.
    Each file holds one process per row: to decide about small differences, measure with --against.
    """
    from benchmarks.diff import diff as run
    from benchmarks.outputs.json_file import read_results
    from edge.cli.output import print_json

    found = run(
        read_results(old),
        read_results(new),
        max_regression=max_regression,
        other_models=allow_other_models,
    )
    if json:
        print_json(_json(found))
    else:
        _print(found, old, new)
    _judge(found)


def _judge(found: "Diff") -> None:
    if found.regressions:
        worst = max(found.regressions, key=lambda change: change.interval.low)
        count = len(found.regressions)
        raise NegativeVerdict(
            f"{counted(count, 'row')} slower by more than "
            f"{found.max_regression:g} %: {worst.name} takes {worst.ratio:.2f} times as long"
        )
    if found.lost:
        raise NegativeVerdict(f"no longer measured: {found.lost[0]}")


def _print(found: "Diff", old: Path, new: Path) -> None:
    from benchmarks.verdict import SpeedVerdict
    from edge.cli.output import print_table

    print_table(
        f"{old.name} -> {new.name}: medians in milliseconds, "
        f"interval of the ratio with {100 * found.confidence:g} % confidence",
        ("model, path", "old", "new", "ratio", "interval", "verdict"),
        [_cells(change) for change in found.changes],
        least=("old", "new"),
    )
    for title, lines in (
        ("no longer measured", found.lost),
        ("only in the old file", found.only_old),
        ("only in the new file", found.only_new),
        ("differs", found.notes),
    ):
        for line in lines:
            say(f"{title}: {line}")
    open_ = sum(change.verdict is SpeedVerdict.INCONCLUSIVE for change in found.changes)
    if open_:
        say(
            f"inconclusive: {open_} of {len(found.changes)} rows; measure on a quiet machine, or "
            "both models in turn with --against"
        )


def _cells(change: "Change") -> tuple[str, ...]:

    words = [str(change.verdict)]
    words += ["regression"] * change.regression + [change.note] * bool(change.note)
    return (
        change.name,
        milliseconds(change.old),
        milliseconds(change.new),
        f"{change.ratio:.3f}",
        f"{change.interval.low:.3f} to {change.interval.high:.3f}",
        ", ".join(words),
    )


def _json(found: "Diff") -> dict[str, Any]:
    return {
        "max_regression_percent": found.max_regression,
        "confidence": found.confidence,
        "rows": [
            {
                "name": change.name,
                "old_ms": 1e3 * change.old,
                "new_ms": 1e3 * change.new,
                "ratio": change.ratio,
                "interval": [change.interval.low, change.interval.high],
                "verdict": change.verdict.value,
                "regression": change.regression,
                "note": change.note,
            }
            for change in found.changes
        ],
        "lost": list(found.lost),
        "only_old": list(found.only_old),
        "only_new": list(found.only_new),
        "notes": list(found.notes),
    }


class PlotFormat(StrEnum):
    """The format of a picture."""

    PNG = "png"
    SVG = "svg"


@example("edge benchmark plot results.json -o pictures --format svg")
def plot(
    results: Annotated[
        Path,
        typer.Argument(help="Results file that edge benchmark --output wrote.", show_default=False),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Folder that the pictures are written to.", show_default=False
        ),
    ],
    form: Annotated[
        PlotFormat | None,
        typer.Option("--format", help="Format of the pictures.  \\[default: both]"),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace pictures of the same names at --output.")
    ] = False,
) -> None:
    """Draw latency, accuracy against latency, and sustained runs, as far as they were measured."""
    from benchmarks.outputs.json_file import read_results
    from benchmarks.plots.draw import PICTURES, draw
    from edge.runtime.place import check_folder

    forms = tuple(item.value for item in (PlotFormat if form is None else (form,)))
    names = [f"{name}.{form}" for name in PICTURES for form in forms]
    check_folder(output, names, overwrite=overwrite, parents=True)
    for path in draw(read_results(results), output, forms):
        say(path)
