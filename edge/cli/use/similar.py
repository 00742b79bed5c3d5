"""``edge similar`` and ``edge analogy``: neighbours in a table of vectors."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge.cli import options as shared
from edge.cli.help import example
from edge.errors import DataError
from edge.runtime.streams import say

if TYPE_CHECKING:
    from edge.cache import StageCache
    from edge.progress import Progress

Count = Annotated[int, typer.Option("-k", help="Number of answers.", min=1)]
Exact = Annotated[
    bool,
    typer.Option(
        "--exact",
        help="Compare with every vector, however many there are, instead of searching an index.",
    ),
]
VectorTable = Annotated[
    Path,
    typer.Argument(
        help="File of edge embed, or word vectors in GloVe's text format (.gz too).",
        show_default=False,
    ),
]


@example("edge similar photo.jpg embeddings.npz -k 5")
def similar(
    query: Annotated[
        str,
        typer.Argument(help="Image file; or a word, if TABLE holds words.", show_default=False),
    ],
    table: VectorTable,
    count: Count = 10,
    exact: Exact = False,
    cache: shared.Cache = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """List the pictures most like a picture, or the words nearest to a word, by cosine."""
    from edge.cache import StageCache
    from edge.cli.output import print_json
    from edge.cli.terminal import shown_progress
    from edge.embedding.index import is_word_table

    stages, progress = StageCache(shared.cache_root(cache)), shown_progress(quiet=quiet)
    answer = _of_words if is_word_table(table) else _of_pictures
    result = answer(query, table, count, stages, progress, exact)
    if json:
        print_json(result)
    else:
        name = Path(query).name
        print_neighbours(f"like {name}, by {result['search']} search", result["results"])


def _of_pictures(
    query: str, path: Path, count: int, cache: "StageCache", progress: "Progress", exact: bool
) -> dict[str, Any]:
    from edge.embedding.index import similar_pictures
    from edge.embedding.table import read_embeddings
    from edge.runtime.files import readable

    table = read_embeddings(path)
    found = similar_pictures(table, Path(query), count, cache, progress, exact=exact)
    results = [
        {
            "path": readable(Path(table.paths[row])),
            "class": readable(Path(table.classes[row])) if table.classes[row] else "",
            "cosine": round(float(cosine), 6),
        }
        for row, cosine in zip(found.neighbours.rows, found.neighbours.cosines, strict=True)
    ]
    return {
        "query": query,
        "root": table.header.root,
        "extractor": table.header.extractor,
        "search": found.search,
        "images": len(table.paths),
        "results": results,
    }


def _of_words(
    query: str, path: Path, count: int, cache: "StageCache", progress: "Progress", exact: bool
) -> dict[str, Any]:
    from edge.embedding.index import open_index
    from edge.embedding.words import open_words, similar_words

    words = open_words(path, cache, progress)
    words.vector(query)  # no index is made for a word that is not there
    index = open_index(words.vectors, cache, progress, exact=exact)
    found = similar_words(words, index, query, count)
    results = [{"word": item.word, "cosine": round(item.cosine, 6)} for item in found]
    return {"query": query, "search": index.kind, "words": len(words.words), "results": results}


def print_neighbours(title: str, results: list[dict[str, Any]]) -> None:
    """Print a table of the neighbours, with a column for each field."""
    from edge.cli.output import print_table
    from edge.runtime.printable import one_line

    columns = list(results[0]) if results else ["cosine"]
    rows = [
        [
            f"{value:.4f}" if isinstance(value, float) else one_line(value) or "-"
            for value in item.values()
        ]
        for item in results
    ]
    say(one_line(title))  # as the table's title it would be wrapped to its width
    print_table("", columns, rows)


@example("edge analogy usa dollar mexico glove.6B.100d.txt")
def analogy(
    a: Annotated[
        str, typer.Argument(help="Word A, as in: A is to B as C is to ...", show_default=False)
    ],
    b: Annotated[str, typer.Argument(help="Word B.", show_default=False)],
    c: Annotated[str, typer.Argument(help="Word C.", show_default=False)],
    table: VectorTable,
    count: Count = 5,
    exact: Exact = False,
    cache: shared.Cache = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Find the word that is to C what B is to A: the nearest to b - a + c by cosine."""
    from edge.cache import StageCache
    from edge.cli.output import print_json
    from edge.cli.terminal import shown_progress
    from edge.embedding.index import is_word_table, open_index
    from edge.embedding.words import analogy as answer
    from edge.embedding.words import open_words

    if table.is_file() and not is_word_table(table):
        raise DataError(
            f"{table} holds no words", hint="Name a table of word vectors in GloVe's text format."
        )
    stages, progress = StageCache(shared.cache_root(cache)), shown_progress(quiet=quiet)
    words = open_words(table, stages, progress)
    for word in (a, b, c):
        words.vector(word)  # no index is made for a word that is not there
    index = open_index(words.vectors, stages, progress, exact=exact)
    found = answer(words, index, (a, b, c), count)
    results = [{"word": item.word, "cosine": round(item.cosine, 6)} for item in found]
    if json:
        print_json({"a": a, "b": b, "c": c, "search": index.kind, "results": results})
    else:
        print_neighbours(f"{a} is to {b} as {c} is to", results)
