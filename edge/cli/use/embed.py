"""``edge embed``."""

from pathlib import Path
from typing import Annotated, Final

import typer

from edge.cli import options as shared
from edge.cli.help import example, refuse_unused, spread
from edge.runtime.streams import say

# Parameters that say which network embeds; a bundle has one.
OWN_NETWORK: Final = (
    *("backbone", "weights", "size", "alpha", "resize", "input_range", "channel_order", "seed"),
)


@example("edge embed photos -o embeddings.npz")
@spread
def embed(
    context: typer.Context,
    photos: Annotated[
        Path, typer.Argument(help="Folder of pictures, with its sub-folders.", show_default=False)
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Embedding file to write: .npz.", show_default=False),
    ],
    *,
    bundle: Annotated[
        Path | None,
        typer.Option(
            help="Bundle whose network, up to its head, embeds the pictures, instead of "
            "--backbone.",
            show_default=False,
        ),
    ] = None,
    network: shared.NetworkFlags,
    dask: Annotated[
        str | None,
        typer.Option(
            help="Dask cluster to compute on: tcp://HOST:PORT of its scheduler, or local. Its "
            "workers have to see the pictures under the same paths.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of random weights.", min=0)] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file at --output.")
    ] = False,
    cache: shared.Cache = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Turn every picture of a folder into a vector of features and write them to one file."""
    from edge.cli.output import print_json, quoted
    from edge.cli.terminal import shown_progress
    from edge.dataset.folder import skipped_notes
    from edge.embedding.embed import EmbedOptions
    from edge.embedding.embed import embed as run
    from edge.embedding.table import write_embeddings
    from edge.runtime.files import readable
    from edge.runtime.place import check_new_file

    base = network.options(seed)
    if bundle is not None:
        refuse_unused(context, "with --bundle, which has its own network and input", *OWN_NETWORK)
    check_new_file(output, ".npz", overwrite=overwrite)
    progress = shown_progress(quiet=quiet)
    found = run(
        EmbedOptions(
            photos=photos, source=bundle or base, cache=shared.cache_root(cache), dask=dask
        ),
        progress,
    )
    write_embeddings(found.table, output)
    for note in skipped_notes(found.skipped):
        progress.note(note)
    if json:
        print_json({"path": readable(output), **found.to_json()})
        return
    images, features = found.table.vectors.shape
    name = found.table.header.name
    say(f"{readable(output)}: {images} vectors of {features} features by {name}")
    say(f"{found.reused} of them from earlier runs, {len(found.skipped)} pictures skipped")
    say(f"Next: edge similar IMAGE {quoted(output)}")
    say(f"      edge map {quoted(output)} -o map.html")
