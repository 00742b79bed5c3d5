"""``edge dataset``."""

from pathlib import Path
from typing import Annotated

import typer

from edge.cli import options as shared
from edge.cli.help import Application
from edge.runtime.streams import say

app = Application(help="Make image folders that need no download.", no_args_is_help=True)


@app.callback()
def root() -> None:
    """Make image folders that need no download."""


@app.command(epilog="Example: edge dataset digits digits")
def digits(
    directory: Annotated[Path, typer.Argument(help="Folder to make.", show_default=False)],
    json: shared.Json = False,
) -> None:
    """Write scikit-learn's 1797 handwritten digits as PNG files, one folder per class."""
    from edge.cli.output import print_json
    from edge.dataset.digits import export_digits

    count = export_digits(directory)
    if json:
        print_json({"path": str(directory), "images": count})
    else:
        say(f"{count} images in {directory}")
        say(f"Next: edge build {directory} --output bundle --size 96")
