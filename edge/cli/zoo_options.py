"""Options of ``edge benchmark --zoo``."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from edge.errors import UsageError
from edge.runtime.streams import say

IMAGENET: Final = "imagenet"
FILE: Final = Path("zoo.json")
UNITS: Final = {"s": 1, "m": 60, "h": 3600}

Zoo = Annotated[
    bool,
    typer.Option("--zoo", help="Measure Keras Applications, beside their published table."),
]
Models = Annotated[
    str | None,
    typer.Option(
        "--models",
        help="With --zoo: networks, separated by commas.  \\[default: the 33 of the table]",
        show_default=False,
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(
        help="With --zoo: time for measuring, such as 20m or 2h.  \\[default: no end]",
        show_default=False,
    ),
]
Weights = Annotated[
    str,
    typer.Option(
        help="With --zoo: imagenet (random where they cannot be had, and said so), or none."
    ),
]
Memory = Annotated[
    float | None,
    typer.Option(
        "--memory-gib",
        help="With --zoo: kill a process that needs more.  \\[default: 90 % of this machine's]",
        min=0.5,
        show_default=False,
    ),
]


def seconds(text: str | None) -> float | None:
    """Seconds of a duration such as ``90s``, ``20m`` or ``2h``; None for no text.

    Raises:
        UsageError: Something else.
    """
    if text is None:
        return None
    number, unit = text[:-1], text[-1:]
    try:
        value = float(number) * UNITS[unit]
    except (KeyError, ValueError):
        value = 0.0
    if not 0 < value < float("inf"):
        raise UsageError(
            f"--budget {text!r}: expected a time such as 90s, 20m or 2h",
            hint="A number and one of s, m, h.",
        )
    return value


def memory_bytes(gib: float | None) -> int:
    """The limit: as given, or nine tenths of this machine's memory."""
    if gib is not None:
        return int(gib * 2**30)
    return int(0.9 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def benchmark_zoo(
    given: Sequence[Path] | None,
    models: str | None,
    budget: str | None,
    weights: str,
    memory_gib: float | None,
    outputs: Sequence[Path],
    *,
    threads: int,
    seed: int,
    overwrite: bool,
    json: bool,
    quiet: bool,
) -> None:
    """Measure the zoo and show it.

    Raises:
        UsageError: Options that do not go together.
    """
    from edge.cache import default_cache
    from edge.cli.output import print_json
    from edge.cli.progress import shown_progress
    from edge.cli.zoo import check_outputs, print_zoo, write_outputs
    from edge.zoo.files import zoo_json
    from edge.zoo.measure import ZooOptions
    from edge.zoo.run import networks, run

    if given:
        raise UsageError(
            f"--zoo builds its own models; {given[0]} is not one", hint="Use --models."
        )
    if weights not in (IMAGENET, "none"):
        raise UsageError(f"--weights {weights!r}: not known", hint="With --zoo: imagenet or none.")
    files = [path for path in outputs if path.suffix.lower() == ".json"] or [FILE]
    check_outputs((*outputs, files[0]), overwrite=overwrite, goes_on=True)
    options = ZooOptions(
        networks=networks(models),
        weights=weights,
        cache=default_cache(),
        threads=threads,
        budget_seconds=seconds(budget),
        memory_bytes=memory_bytes(memory_gib),
        seed=seed,
    )
    results = run(options, files[0], shown_progress(quiet=quiet), anew=overwrite)
    write_outputs(outputs, results)
    if json:
        print_json(zoo_json(results))
    else:
        print_zoo(results)
        say(f"Written: {', '.join(str(path) for path in outputs or [FILE])}")
