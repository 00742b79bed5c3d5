"""``edge cache`` and ``edge dataset``."""

from pathlib import Path
from typing import Annotated

import typer

from edge.cli import options as shared
from edge.cli.help import Application, example
from edge.runtime.streams import say


@example("edge cache --clear")
def cache(
    clear: Annotated[
        bool, typer.Option("--clear", help="Remove every kept stage; only time is lost.")
    ] = False,
    cache: shared.Cache = None,
    json: shared.Json = False,
) -> None:
    """Show where finished stages are kept and how large they are; or remove them."""
    from edge.cache import StageCache
    from edge.cli.output import print_json
    from edge.wording import size

    stages = StageCache(shared.cache_root(cache))
    if clear:
        stages.clear()
    held = stages.size_bytes()
    if json:
        print_json({"path": str(stages.root), "size_bytes": held})
    else:
        say(f"{stages.root}: {size(held)}")


dataset = Application(help="Make image folders that need no download.", no_args_is_help=True)


@dataset.callback()
def root() -> None:
    """Make image folders that need no download."""


@dataset.command()
@example("edge dataset digits digits")
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
