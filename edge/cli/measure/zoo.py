"""``edge zoo``: Keras Applications, as published and as measured here."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from edge.cli import options as shared
from edge.cli.help import DEFAULT, Application, DefaultGroup, example
from edge.cli.measure.options import Overwrite
from edge.errors import UsageError
from edge.runtime.numbers import MOST_THREADS, finite_number
from edge.runtime.place import check_new_file, write_output
from edge.runtime.streams import say

if TYPE_CHECKING:
    from edge.zoo.results import ZooResults

FORMS: Final = (".json", ".md", ".png", ".svg")
# Columns that a narrow terminal does not get, the least important first.
LEAST: Final = (
    *("depth", "GPU pub.", "CPU pub.", "top-5 pub.", "params M", "MiB", "mult-adds M"),
    "onnx-fp32",
    "Keras b32",
)


zoo = Application(cls=DefaultGroup, help="Show or measure Keras Applications.")


@zoo.command(DEFAULT, hidden=True)
@example("edge zoo docs/zoo.json -o zoo.md -o zoo.svg")
def show(
    results: Annotated[
        Path | None,
        typer.Argument(
            help="Results file of edge zoo measure.  \\[default: the published table alone]",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write: the table (.md) or accuracy against latency (.png, .svg); may be "
            "repeated.",
            show_default=False,
        ),
    ] = None,
    overwrite: Overwrite = False,
    json: shared.Json = False,
) -> None:
    """Show Keras Applications: the published table, and what edge zoo measure measured."""
    from edge.cli.output import print_json
    from edge.zoo.results import read_zoo, zoo_json

    if results is None:
        if output:
            raise UsageError(
                "--output writes what was measured", hint="Run edge zoo measure first."
            )
        _published(json=json)
        return
    check_outputs(output or (), overwrite=overwrite)
    found = read_zoo(results)
    write_outputs(output or (), found)
    if json:
        print_json(zoo_json(found))
    else:
        print_zoo(found)


def check_outputs(outputs: Sequence[Path], *, overwrite: bool, goes_on: bool = False) -> None:
    """Refuse files that cannot be written, before the work is done.

    Args:
        outputs: The files to write.
        overwrite: Whether files that exist may be replaced.
        goes_on: Whether a results file that exists is one to go on from.

    Raises:
        UsageError: A file has a suffix that nothing writes.
        OutputError: A file exists, or cannot be written.
    """
    for path in outputs:
        kept = goes_on and path.suffix.lower() == ".json"
        check_new_file(path, FORMS, overwrite=overwrite or kept)


def write_outputs(outputs: Sequence[Path], results: "ZooResults") -> None:
    """Write to each file what its suffix asks for.

    Raises:
        OutputError: A file cannot be written.
    """
    from edge.zoo.report import markdown, picture
    from edge.zoo.results import write_zoo

    forms: dict[str, Callable[[], bytes]] = {
        ".md": lambda: markdown(results).encode(),
        ".png": lambda: picture(results, "png"),
        ".svg": lambda: picture(results, "svg"),
    }
    for path in outputs:
        if path.suffix.lower() == ".json":
            write_zoo(path, results)
            continue
        write_output(path, forms[path.suffix.lower()]())


def print_zoo(results: "ZooResults") -> None:
    """Print the table, and what it leaves open."""
    from edge.cli.output import print_beside, print_table
    from edge.zoo.report import cells, notes

    rows = [cells(entry) for entry in results.entries]
    if rows:
        cpu = results.environment["cpu"]["model"]
        print_table(
            f"{cpu}, {results.threads} threads: median milliseconds; pub.: as Keras publishes",
            tuple(rows[0]),
            [tuple(row.values()) for row in rows],
            least=LEAST,
        )
    for line in notes(results):
        print_beside("", line, 0)


def _published(*, json: bool) -> None:
    """Print the published table, and the networks that edge knows beside it."""
    from dataclasses import asdict

    from edge.cli.output import print_beside, print_json, print_table
    from edge.training.backbones import BACKBONES
    from edge.zoo.published import BATCH, CPU, GPU, published

    rows = list(published().values())
    if json:
        print_json([asdict(row) for row in rows])
        return
    columns = ("network", "MiB", "top-1", "top-5", "params M", "depth", "CPU ms", "GPU ms")
    print_table(
        f"Keras Applications as published; times: one step of batch {BATCH} on {CPU}, {GPU}",
        columns,
        [
            tuple(
                "-" if value is None else str(value)
                for value in (
                    row.model,
                    row.size_mb,
                    row.top1,
                    row.top5,
                    row.params_m,
                    row.depth,
                    row.cpu_ms,
                    row.gpu_ms,
                )
            )
            for row in rows
        ],
        least=("depth", "params M", "GPU ms", "top-5"),
    )
    known = {row.model for row in rows}
    others = [row.keras_name for row in BACKBONES.values() if row.keras_name not in known]
    print_beside("", f"Known to edge too, but not in that table: {', '.join(others)}.", 0)
    print_beside("", "Next: edge zoo measure --models MobileNet,MobileNetV2", 0)


IMAGENET: Final = "imagenet"
FILE: Final = Path("zoo.json")
UNITS: Final = {"s": 1, "m": 60, "h": 3600}

Models = Annotated[
    str | None,
    typer.Option(
        "--models",
        help="Names of networks, separated by commas.  \\[default: the 33 of the table]",
        show_default=False,
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(
        help="Time that all measurements may take, such as 20m or 2h; the conversions come on "
        "top.  \\[default: no end]",
        show_default=False,
    ),
]
Weights = Annotated[
    str,
    typer.Option(
        help="imagenet (random where they cannot be had, which is said), or none (random)."
    ),
]
Memory = Annotated[
    float | None,
    typer.Option(
        "--memory-gib",
        help="Memory at which a process is killed, in GiB.  \\[default: 90 % of this machine's]",
        min=0.5,
        show_default=False,
    ),
]


def seconds(text: str | None) -> float | None:
    """Return the seconds of a time such as ``90s``, ``20m`` or ``2h``; None for no text.

    Raises:
        UsageError: The text is something else.
    """
    if text is None:
        return None
    number, unit = text[:-1], text[-1:]
    value = (finite_number(number) or 0.0) * UNITS.get(unit, 0)
    if not 0 < value < float("inf"):
        raise UsageError(
            f"--budget {text!r}: expected a time such as 90s, 20m or 2h",
            hint="A number and one of s, m, h.",
        )
    return value


def memory_bytes(gib: float | None) -> int:
    """Return the limit in bytes: as given, or nine tenths of this machine's memory."""
    if gib is not None:
        return int(gib * 2**30)
    return int(0.9 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


@zoo.command()
@example("edge zoo measure --models MobileNet,MobileNetV2 --budget 5m -o zoo.json")
def measure(
    models: Models = None,
    budget: Budget = None,
    weights: Weights = IMAGENET,
    memory_gib: Memory = None,
    threads: Annotated[
        int, typer.Option(help="CPU threads of one inference.", min=1, max=MOST_THREADS)
    ] = min(os.cpu_count() or 1, MOST_THREADS),
    seed: Annotated[int, typer.Option(help="Seed of the random order.", min=0)] = 0,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write: the results (.json), the table (.md) or accuracy against latency "
            "(.png, .svg); may be repeated.  \\[default: zoo.json]",
            show_default=False,
        ),
    ] = None,
    overwrite: Overwrite = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Measure Keras Applications on this machine, beside their published table.

    A run that reached its budget, or that Ctrl-C ended, goes on with the same command: the
    networks in the results file are not measured again.
    """
    from edge.cache import default_cache
    from edge.cli.output import print_json
    from edge.cli.terminal import shown_progress
    from edge.zoo.results import zoo_json
    from edge.zoo.run import ZooOptions, networks, run

    outputs = output or []
    if weights not in (IMAGENET, "none"):
        raise UsageError(f"--weights {weights!r}: not known", hint="Name imagenet or none.")
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
