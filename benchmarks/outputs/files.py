"""Results into files, in the form that the name asks for."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.outputs.csv_file import csv_text
from benchmarks.outputs.json_file import json_text
from benchmarks.outputs.markdown import markdown
from benchmarks.result import Results
from edge.errors import OutputError, UsageError
from edge.runtime.files import write_bytes

FORMS: Final[dict[str, Callable[[Results], str]]] = {
    ".json": json_text,
    ".csv": csv_text,
    ".md": markdown,
}


def check_place(path: Path) -> None:
    """Refuse a place before the work is done.

    Raises:
        UsageError: No form has that suffix.
        OutputError: A folder lies there, or its folder does not exist.
    """
    if path.suffix.lower() not in FORMS:
        raise UsageError(
            f"{path}: expected a name ending in {', '.join(FORMS)}",
            hint="The suffix decides the form.",
        )
    if path.is_dir():
        raise OutputError(f"{path} is a folder; a file is to be written", hint="Name a file.")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise OutputError(
            f"the folder {folder} does not exist", hint="Make it, or choose another place."
        )


def write_results(path: Path, results: Results) -> None:
    """Write JSON, CSV or Markdown, by the suffix.

    Raises:
        UsageError: No form has that suffix.
        OutputError: The place cannot be written.
    """
    check_place(path)
    text = FORMS[path.suffix.lower()](results)
    try:
        write_bytes(path, text.encode("utf-8", "replace"))
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror}", hint="Choose another place."
        ) from error
