"""``edge zoo``."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from edge.cli import options as shared
from edge.cli.benchmark_options import Overwrite
from edge.errors import UsageError
from edge.runtime.place import check_new_file, write_output

if TYPE_CHECKING:
    from edge.zoo.result import ZooResults

EPILOG = "Example: edge zoo docs/zoo.json -o zoo.md -o zoo.svg"
FORMS: Final = (".json", ".md", ".png", ".svg")
# Columns that a narrow terminal does not get, the least important first.
LEAST: Final = (
    *("depth", "GPU pub.", "CPU pub.", "top-5 pub.", "params M", "MiB", "mult-adds M"),
    "onnx-fp32",
    "Keras b32",
)


def zoo(
    results: Annotated[
        Path | None,
        typer.Argument(
            help="Results file of edge benchmark --zoo.  \\[default: the published table alone]",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            help="Write the table (.md) or accuracy against latency (.png, .svg).",
            show_default=False,
        ),
    ] = None,
    overwrite: Overwrite = False,
    json: shared.Json = False,
) -> None:
    """Show Keras Applications: the published table, and what edge benchmark --zoo measured."""
    from edge.cli.output import print_json
    from edge.zoo.files import read_zoo, zoo_json

    if results is None:
        if output:
            raise UsageError(
                "--output writes what was measured", hint="Run edge benchmark --zoo first."
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
    """Refuse places before the work is done.

    Args:
        outputs: The files.
        overwrite: Whether files that exist may be replaced.
        goes_on: Whether a results file that exists is one to go on from.

    Raises:
        UsageError: A suffix that nothing writes.
        OutputError: A file exists, or cannot be written.
    """
    for path in outputs:
        kept = goes_on and path.suffix.lower() == ".json"
        check_new_file(path, FORMS, overwrite=overwrite or kept)


def write_outputs(outputs: Sequence[Path], results: "ZooResults") -> None:
    """Write what each name asks for.

    Raises:
        OutputError: A place cannot be written.
    """
    from edge.zoo.files import write_zoo
    from edge.zoo.plot import picture
    from edge.zoo.table import markdown

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
    """The table for people, and what it leaves open."""
    from edge.cli.output import print_beside, print_table
    from edge.zoo.table import cells, notes

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
    """The published table, and the networks that edge knows beside it."""
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
    print_beside("", "Next: edge benchmark --zoo --models MobileNet,MobileNetV2", 0)
