"""``edge cache``."""

from typing import Annotated

import typer

from edge.cli import options as shared
from edge.runtime.streams import say

EPILOG = "Example: edge cache --clear"


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
