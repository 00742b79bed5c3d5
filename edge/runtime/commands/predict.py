"""``python3 -m edge.runtime predict BUNDLE IMAGE...``."""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edge.errors import EdgeError, ImageError, InferenceError, UsageError
from edge.runtime.bundle import Bundle
from edge.runtime.commands.arguments import (
    add_bundle,
    add_model,
    add_top_k,
    answer_count,
    named,
    named_path,
    open_model,
    print_json,
)
from edge.runtime.commands.drawings import Drawings, check_draws
from edge.runtime.commands.task_words import task_columns, task_rows, task_words
from edge.runtime.frozen import frozen_dataclass
from edge.runtime.pictures import STANDARD_INPUT, NamedPicture, pictures
from edge.runtime.printable import csv_cell
from edge.runtime.streams import reader_left, say
from edge.runtime.teach.labels import NO_CLASS

if TYPE_CHECKING:
    from edge.runtime.tasks.model import Predictor

EXAMPLE: Final = "Example: python3 -m edge.runtime predict BUNDLE photos --csv answers.csv"
SILENT_SECONDS: Final = 2.0  # before progress is shown
EVERY_SECONDS: Final = 10.0  # between two lines of it


@frozen_dataclass(kw_only=True)
class Form:
    """How many answers, and where they go.

    Attributes:
        top_k: Classes per picture; None for as many as is usual.
        json: Whether standard output gets one JSON document instead of lines.
        csv: File that gets a table; ``-`` is standard output.
        draw: File, or folder for several pictures, that gets them with the answers drawn on them.
        overwrite: Whether these files may be replaced.
        quiet: Whether standard error gets no progress, and no notes on files that are no pictures.
    """

    top_k: int | None = None
    json: bool = False
    csv: Path | None = None
    draw: Path | None = None
    overwrite: bool = False
    quiet: bool = False

    def check(self) -> None:
        """Refuse what cannot be written, before anything is computed.

        Raises:
            UsageError: Both forms want standard output, or the table's name has another suffix.
            OutputError: The table cannot be written, or would replace a file.
        """
        if self.csv is None:
            return
        if str(self.csv) == STANDARD_INPUT:
            if self.json:
                raise UsageError(
                    "--json and --csv - both print on standard output", hint="Name a file."
                )
            return
        from edge.runtime.place import check_new_file

        check_new_file(self.csv, ".csv", overwrite=self.overwrite, option="--csv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_bundle(parser)
    parser.add_argument(
        "images",
        type=named,
        nargs="+",
        metavar="IMAGE",
        help="picture files, folders of any depth, or - for one picture on standard input",
    )
    add_top_k(parser)
    add_model(parser)
    parser.add_argument("--json", action="store_true", help="print the answers as JSON")
    parser.add_argument(
        "--csv",
        type=named_path,
        metavar="FILE",
        help="write a table, a row per picture (- prints it)",
    )
    parser.add_argument(
        "--draw",
        type=named_path,
        metavar="OUT",
        help="write the picture with the objects, masks or points that were found drawn on it: a "
        ".jpg or .png file; a folder where several pictures are asked for",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the files at --csv and --draw"
    )
    parser.add_argument(
        "--quiet",
        "-q",
        action="store_true",
        help="show no progress, and not which files are left out",
    )


def run(options: argparse.Namespace) -> int:
    """Answer; see ``answered``."""
    form = Form(
        top_k=options.top_k,
        json=options.json,
        csv=options.csv,
        draw=options.draw,
        overwrite=options.overwrite,
        quiet=options.quiet,
    )
    form.check()
    variant, model = open_model(Bundle.open(options.bundle), options)
    return answered(lambda: model, options.images, variant.name, form)


def answered(
    opened: "Callable[[], Predictor]", images: Sequence[str], variant: str, form: Form
) -> int:
    """Print or write an answer for each picture.

    Args:
        opened: Gives the model; only asked where there is a picture.
        images: The words of the command line.
        variant: The name of the model's variant, for the answers.
        form: The form of the answers.

    Returns:
        0; 2 where a picture could not be read, 4 where the model failed on one. The others are
        answered nevertheless.

    Raises:
        UsageError: Standard input is named twice, or the model has no classes to count.
        OutputError: The table cannot be written.
    """
    asked, notes = pictures(images)
    if not form.quiet:
        for note in notes:
            say(f"note: {note}", err=True)
    lines = not form.json and form.csv is None
    told = _counted(asked, shown=not form.quiet and not (lines and sys.stdout.isatty()))
    model = None if all(picture.problem for picture in asked) else opened()
    count = 0 if model is None else answer_count(model, form.top_k)
    drawings = None if form.draw is None or model is None else _drawings(images, asked, form, model)
    answers = []
    code = 0
    for picture in told:
        answer, error = predicted(model, picture, count, variant, drawings)
        answers.append(answer)
        if error is not None:
            code = max(code, error.exit_code)
            _complain(error, alone=len(asked) == 1)
        elif lines:
            say(_line(answer))
            if reader_left():
                return code
    failed = sum("error" in answer for answer in answers)
    if form.json:
        print_json(answers)
    if form.csv is not None:
        _write_table(form.csv, answers)
    if failed and len(asked) > 1:
        say(f"{failed} of {len(asked)} pictures could not be answered", err=True)
    return code


def predicted(
    model: "Predictor | None",
    picture: NamedPicture,
    k: int,
    variant: str,
    drawings: Drawings | None = None,
) -> tuple[dict[str, Any], EdgeError | None]:
    """Return the JSON object for a picture.

    It holds its answer, or the error that kept it from an answer.
    """
    try:
        if drawings is not None:
            return drawings.answer(check_draws(model), picture, variant=variant), None
        content = picture.read()
        assert model is not None  # there is a picture
        answer = model.answer(content, name=picture.name, k=k, variant=variant)
    except (ImageError, InferenceError) as error:
        return {"image": picture.name, "error": error.message}, error
    return answer, None


def _drawings(
    images: Sequence[str], asked: Sequence[NamedPicture], form: Form, model: "Predictor"
) -> Drawings:
    """Return what draws, once the place and the model fit."""
    check_draws(model)
    assert form.draw is not None
    return Drawings(form.draw, images, asked, overwrite=form.overwrite)


def _counted(asked: Sequence[NamedPicture], *, shown: bool) -> Iterator[NamedPicture]:
    """Yield the pictures one by one; work of more than two seconds tells how far it is."""
    last = time.monotonic() + SILENT_SECONDS - EVERY_SECONDS
    for done, picture in enumerate(asked):
        if shown and done and time.monotonic() - last >= EVERY_SECONDS:
            last = time.monotonic()
            say(f"{done} of {len(asked)} pictures", err=True)
        yield picture


def _complain(error: EdgeError, *, alone: bool) -> None:
    say(f"error: {error.told}", err=True)
    if alone and error.hint:
        say(f"hint: {error.hint}", err=True)


def _line(answer: dict[str, Any]) -> str:
    if "task" in answer:
        return f"{answer['image']}: {task_words(answer)}"
    scores = [f"{item['label']} {100 * item['score']:.1f} %" for item in answer["categories"]]
    name = answer["image"]
    if not scores:
        return f"{name}: the bundle {NO_CLASS}"
    if "labels" not in answer:
        if "threshold" in answer:  # the answer may have the lower score
            scores[0] += f" (threshold {100 * answer['threshold']:.1f} %)"
        return f"{name}: {', '.join(scores)}"
    held = len(answer["labels"])  # they come first
    parts = [", ".join(scores[:held]) or "no label reaches its threshold"]
    parts += [f"below the threshold: {', '.join(scores[held:])}"] * (held < len(scores))
    return f"{name}: {'; '.join(parts)}"


def _write_table(path: Path, answers: Sequence[dict[str, Any]]) -> None:
    """Write a row per picture: its name, labels and scores (0..1) from the best on, or its error.

    A task model gets a row per object, class or point; see ``task_words``.
    Where labels do not exclude one another, those that hold come first, joined by ``|``.
    What a spreadsheet would take as a formula has an apostrophe before it.
    """
    columns = task_columns(answers)
    if columns:
        rows = [("image", *columns, "error")]
        for answer in answers:
            ends = csv_cell(answer["image"]), csv_cell(answer.get("error", ""))
            rows += [(ends[0], *row, ends[1]) for row in task_rows(answer, columns)]
        _written(path, rows)
        return
    ranks = max((len(answer.get("categories", ())) for answer in answers), default=0) or 1
    several = any("labels" in answer for answer in answers)
    head = [f"{what}_{rank}" for rank in range(1, ranks + 1) for what in ("label", "score")]
    rows = [("image", *["labels"] * several, *head, "error")]
    for answer in answers:
        values = [
            value
            for item in answer.get("categories", ())
            for value in (csv_cell(item["label"]), f"{item['score']:.6g}")
        ]
        values += [""] * (len(head) - len(values))
        held = [csv_cell("|".join(answer.get("labels", ())))] * several
        rows.append((csv_cell(answer["image"]), *held, *values, csv_cell(answer.get("error", ""))))
    _written(path, rows)


def _written(path: Path, rows: Sequence[Sequence[str]]) -> None:
    import csv
    import io

    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\n").writerows(rows)
    if str(path) == STANDARD_INPUT:
        sys.stdout.write(stream.getvalue())
        return
    from edge.runtime.place import write_output

    write_output(path, stream.getvalue())
    say(f"Written: {path}", err=True)
