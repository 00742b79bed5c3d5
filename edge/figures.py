"""Matplotlib's figures as files, and names in them out of text that may say anything."""

import io
from pathlib import Path
from typing import Any

from edge.runtime.place import write_output
from edge.runtime.printable import one_line


def plot_text(text: str, longest: int = 80) -> str:
    """Return a name in which Matplotlib sees no formula, and none that a legend leaves out.

    Args:
        text: Any text.
        longest: The largest number of characters that are shown.
    """
    shown = one_line(text, longest).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def figure_bytes(figure: Any, form: str, *, dpi: int, with_creator: bool = False) -> bytes:
    """Return a figure as a picture; equal figures give equal bytes.

    Args:
        figure: A figure of Matplotlib.
        form: The format, ``png`` or ``svg``.
        dpi: The dots per inch of a PNG picture.
        with_creator: Whether the picture names Matplotlib and its version.
    """
    import matplotlib as mpl

    # There is no date, and ids are no random numbers.
    metadata = {"Date": None} if form == "svg" else {}
    if not with_creator:
        metadata["Creator" if form == "svg" else "Software"] = None
    stream = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "edge"}):
        figure.savefig(stream, format=form, metadata=metadata, dpi=dpi)
    return stream.getvalue()


def write_figure(figure: Any, path: Path, *, dpi: int, with_creator: bool = False) -> None:
    """Write a figure in the format of the suffix of its file; see ``figure_bytes``.

    Raises:
        OutputError: The file cannot be written.
    """
    form = path.suffix.lower()[1:]
    write_output(path, figure_bytes(figure, form, dpi=dpi, with_creator=with_creator))
