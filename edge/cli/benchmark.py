"""``edge benchmark``."""

import os
from pathlib import Path
from typing import Annotated

import typer

from edge.cli import options as shared

EPILOG = "Example: edge benchmark bundle --threads 2"


def benchmark(
    bundle: Annotated[Path, typer.Argument(help="A bundle.", show_default=False)],
    variant: Annotated[
        list[str] | None,
        typer.Option(
            help="Variant to time; may be repeated.  \\[default: all]", show_default=False
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option(help="CPU threads of one inference.", min=1)
    ] = os.cpu_count() or 1,
    runs: Annotated[int, typer.Option(help="At least so many inferences.", min=1)] = 50,
    min_secs: Annotated[float, typer.Option(help="At least so long, seconds.", min=0)] = 1.0,
    max_secs: Annotated[float, typer.Option(help="At most so long, seconds.", min=0)] = 30.0,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Time the variants of a bundle on this host's CPU: load, first and steady inference."""
    from benchmarks.harness import Protocol, benchmark_bundle
    from edge.cli.output import print_json, print_table
    from edge.cli.progress import shown_progress

    results = benchmark_bundle(
        bundle,
        tuple(variant or ()),
        Protocol(runs=runs, min_seconds=min_secs, max_seconds=max_secs, threads=threads),
        shown_progress(quiet=quiet),
    )
    if json:
        print_json({name: result.to_json() for name, result in results.items()})
        return
    rows = []
    for name, result in results.items():
        values = result.to_json()
        times = (f"{values[key]:.2f}" for key in ("load_ms", "first_ms", "median_ms", "p95_ms"))
        rows.append((name, *times, str(values["runs"])))
    print_table(
        f"{bundle.name}: measured on this host's CPU, {threads} threads, milliseconds",
        ("variant", "load", "first", "median", "p95", "runs"),
        rows,
    )
    engines = dict.fromkeys(result.engine for result in results.values())
    typer.echo(f"Engines: {', '.join(engines)}.")
