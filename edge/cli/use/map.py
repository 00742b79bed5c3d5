"""``edge map``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge.cli import options as shared
from edge.cli.help import example
from edge.runtime.streams import say

if TYPE_CHECKING:
    from edge.embedding.collection_map import CollectionMap

SHOWN = 10  # entries of each list on stdout


@example("edge map embeddings.npz -o map.html --png map.png")
def map(
    embeddings: Annotated[
        Path, typer.Argument(help="Embedding file of edge embed.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Page to write: .html.", show_default=False)
    ],
    png: Annotated[
        Path | None, typer.Option(help="Picture to write as well: .png.", show_default=False)
    ] = None,
    points: Annotated[
        int,
        typer.Option(help="Largest number of pictures; of more, a random sample is drawn.", min=4),
    ] = 5000,
    near: Annotated[
        float,
        typer.Option(
            help="Lowest cosine at which two pictures are near duplicates.", min=0.5, max=1
        ),
    ] = 0.95,
    seed: Annotated[int, typer.Option(help="Seed of the sample and of t-SNE.", min=0)] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the files at --output and --png.")
    ] = False,
    cache: shared.Cache = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Draw a collection as a map, by PCA and t-SNE, and list its duplicates and outliers."""
    from edge.cache import StageCache
    from edge.cli.output import print_json
    from edge.cli.terminal import shown_progress
    from edge.dataset.folder import check_outside
    from edge.embedding.collection_map import make_map
    from edge.embedding.map_view import draw_map, map_page
    from edge.embedding.table import read_embeddings
    from edge.runtime.place import check_new_file, write_output

    check_new_file(output, ".html", overwrite=overwrite)
    if png is not None:
        check_new_file(png, ".png", overwrite=overwrite, option="--png")
    table = read_embeddings(embeddings)
    if png is not None:
        check_outside(png, Path(table.header.root), option="--png")
    result = make_map(
        table,
        points=points,
        threshold=near,
        seed=seed,
        cache=StageCache(shared.cache_root(cache)),
        progress=shown_progress(quiet=quiet),
    )
    write_output(output, map_page(result))
    if png is not None:
        draw_map(result, png)
    if json:
        print_json({"page": str(output), "png": png and str(png), **result.to_json()})
    else:
        _print(result, output, png)


def _print(result: "CollectionMap", output: Path, png: Path | None) -> None:
    from edge.runtime.files import readable
    from edge.runtime.printable import one_line
    from edge.wording import counted, percent

    names = [one_line(path) for path in result.paths]
    review = result.review
    lists = {
        "same": [" = ".join(names[row] for row in group) for group in review.same],
        "near": [
            f"{pair.cosine:.4f}  {names[pair.first]}  {names[pair.second]}" for pair in review.near
        ],
        "outliers": [f"z {item.score:.1f}  {names[item.row]}" for item in review.outliers],
    }
    titles = {"same": "duplicate", "near": "near duplicate", "outliers": "outlier"}
    totals = {"same": len(review.same), "near": review.near_total, "outliers": len(review.outliers)}
    for kind, lines in lists.items():
        say(f"{counted(totals[kind], titles[kind])} ({review.formulas[kind]})")
        for line in lines[:SHOWN]:
            say(f"  {line}")
        if totals[kind] > SHOWN:
            say(f"  and {totals[kind] - SHOWN} more: see --json")
    shares = result.projection.explained
    say(
        f"PCA: {percent(sum(shares[:2]))} of the variance on the plane, "
        f"{percent(sum(shares))} in space"
    )
    sampled = f" of {result.total}" if result.total > len(names) else ""
    say(f"{readable(output)}: {len(names)}{sampled} pictures; open it in a browser")
    if png is not None:
        say(readable(png))
