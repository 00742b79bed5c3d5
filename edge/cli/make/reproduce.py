"""``edge reproduce``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge.cli import options as shared
from edge.cli.help import example
from edge.runtime.streams import say
from edge.wording import percent

if TYPE_CHECKING:
    from edge.pipeline.reproduce.differences import (
        DataDifference,
        Difference,
        FileComparison,
        Reproduction,
    )

MOST = 10  # images of a kind that are named


@example("edge reproduce bundle photos")
def reproduce(
    bundle: Annotated[Path, typer.Argument(help="A bundle.", show_default=False)],
    data: Annotated[
        Path,
        typer.Argument(
            help="Folder of the photos that it was built from; for an export, its "
            "--calibration-data.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder in which the second bundle is kept.", show_default=False
        ),
    ] = None,
    evaluation_data: Annotated[
        Path | None,
        typer.Option(
            help="The same folder again, if the export had --evaluation-data.", show_default=False
        ),
    ] = None,
    files: Annotated[
        Path | None,
        typer.Option(
            help="Folder with the files that options named (weights, a base), if they are no "
            "longer where they were.",
            show_default=False,
        ),
    ] = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Build and compare even if the data differ.")
    ] = False,
    overwrite: shared.Overwrite = False,
    cache: shared.Cache = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Make a bundle again, from the beginning, and compare it with the first file by file.

    The exit code is 0 if every file is equal, and 1 if something differs, which is listed.
    """
    from edge.cli.output import print_json
    from edge.cli.terminal import shown_progress
    from edge.pipeline.reproduce.reproduce import ReproduceOptions
    from edge.pipeline.reproduce.reproduce import reproduce as run

    found = run(
        ReproduceOptions(
            bundle=bundle,
            data=data,
            evaluation_data=evaluation_data,
            files=files,
            output=output,
            overwrite=overwrite,
            anyway=anyway,
            cache=shared.cache_root(cache),
        ),
        shown_progress(quiet=quiet),
    )
    if json:
        print_json(found.to_json())
    else:
        _print(found, data, output)
    raise typer.Exit(0 if found.equal else 1)


def _print(found: "Reproduction", data: Path, output: Path | None) -> None:
    for name, difference in found.data.items():
        _print_data(name, difference)
    _print_changes("versions", found.versions)
    _print_changes("processor", found.processor)
    if found.weights is not None:
        say(f"weights: sha256 {found.weights[0][:16]} then, {found.weights[1][:16]} now")
    if found.equal is None:
        say("different: the data; nothing was built (--anyway builds with these)")
        return
    _print_files(found.files)
    for item in found.scores:
        if not found.equal:
            say(f"  {item.variant}: score {percent(item.then)}, now {percent(item.now)}")
    same = sum(item.is_equal for item in found.files)
    word = "equal" if found.equal else "different"
    say(f"{word}: {same} of {len(found.files)} files have the sha256 of edge.lock")
    if found.cause:
        say(f"Likely cause: {found.cause}")
    say(f"Next: {_next(found, data, output)}")


def _next(found: "Reproduction", data: Path, output: Path | None) -> str:
    from edge.cli.output import quoted

    bundle = quoted(Path(found.bundle))
    if found.equal:
        return f"edge sign {bundle}"
    if output is None:
        return f"edge reproduce {bundle} {quoted(data)} --output again  # keeps the second bundle"
    variant = found.scores[0].variant
    other = quoted(Path(f"{output}:{variant}"))
    return f"edge compare {bundle} {quoted(data)} --baseline {variant} --candidate {other}"


def _print_data(name: str, found: "DataDifference") -> None:
    from edge.runtime.printable import one_line

    if found.is_same:
        say(f"{name}: {found.images} images, as they were")
        return
    say(f"{name}: not the {found.images} images of edge.lock")
    if found.is_foreign:
        say("  none of them is there: is it the right folder?")
    other = dict(found.other_class)
    renamed = [f"{then} -> {now}" for then, now in found.moved if then not in other]
    kinds = {
        "missing": found.missing,
        "altered": found.altered,
        "extra": found.extra,
        "in another folder": [f"{then} -> {now}" for then, now in other.items()],
        "renamed": renamed,
    }
    for kind, paths in kinds.items():
        for path in paths[:MOST]:
            say(f"  {kind}: {one_line(path)}")
        if len(paths) > MOST:
            say(f"  {kind}: and {len(paths) - MOST} more")


def _print_changes(name: str, changes: Mapping[str, tuple[Any, Any]]) -> None:
    if not changes:
        say(f"{name}: as then")
    for key, (then, now) in changes.items():
        say(f"{name}: {key} was {_shown(then)}, is {_shown(now)}")


def _shown(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "not there" if value is None else str(value)


def _print_files(files: "Sequence[FileComparison]") -> None:
    for item in files:
        say(f"  {'equal    ' if item.is_equal else 'DIFFERENT'}  {item.path}")
        if item.difference is not None:
            say(f"             {_words(item.difference)}")


def _words(found: "Difference") -> str:
    """Describe the difference of two files."""
    if not found.same_structure:
        return "another structure: other constants, or other shapes"
    changed = f"{found.changed} of {found.tensors} constants differ"
    if found.largest is None:
        return f"{changed}, no weight among them"
    return f"{changed}, a weight at most by {found.largest:.3g} ({found.unit}) in {found.where}"
