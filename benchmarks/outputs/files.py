"""Results into files, in the form that the name asks for."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.outputs.csv_file import csv_text
from benchmarks.outputs.json_file import json_text
from benchmarks.outputs.markdown import markdown
from benchmarks.result import Results
from edge.runtime.place import check_file, write_output

FORMS: Final[dict[str, Callable[[Results], str]]] = {
    ".json": json_text,
    ".csv": csv_text,
    ".md": markdown,
}


def write_results(path: Path, results: Results) -> None:
    """Write JSON, CSV or Markdown, by the suffix.

    Raises:
        UsageError: No form has that suffix.
        OutputError: The place cannot be written.
    """
    check_file(path, tuple(FORMS))
    write_output(path, FORMS[path.suffix.lower()](results))
