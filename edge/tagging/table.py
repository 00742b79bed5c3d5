"""Tags as CSV: UTF-8, a header, a row per picture and tag (RFC 4180).

What a spreadsheet would take as a formula has an apostrophe before it.
"""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from edge.runtime.files import readable
from edge.runtime.place import write_output
from edge.runtime.printable import csv_cell
from edge.tagging.tags import Tagged

COLUMNS: Final = ("image", "tag", "probability")


def write_csv(path: Path, pictures: Iterable[Tagged]) -> None:
    """Write the table; a picture without a tag has one row with two empty fields.

    Raises:
        OutputError: The file cannot be written.
    """
    stream = io.StringIO(newline="")
    table = csv.writer(stream)  # its defaults are RFC 4180: CRLF, quotes doubled
    table.writerow(COLUMNS)
    for picture in pictures:
        name = csv_cell(readable(picture.path))
        rows = [(name, csv_cell(tag.label), f"{tag.score:.4f}") for tag in picture.tags]
        table.writerows(rows or [(name, "", "")])
    write_output(path, stream.getvalue())
