"""``edge analogy``."""

from typing import Annotated

import typer

from edge.cli import options as shared
from edge.cli.similar import Count, Exact, Table, print_neighbours
from edge.errors import DataError

EPILOG = "Example: edge analogy usa dollar mexico glove.6B.100d.txt"


def analogy(
    a: Annotated[str, typer.Argument(help="A is to", show_default=False)],
    b: Annotated[str, typer.Argument(help="B", show_default=False)],
    c: Annotated[str, typer.Argument(help="as C is to what is looked for.", show_default=False)],
    table: Table,
    count: Count = 5,
    exact: Exact = False,
    cache: shared.Cache = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Find the word that is to C what B is to A: the nearest to b - a + c by cosine."""
    from edge.cache import StageCache
    from edge.cli.output import print_json
    from edge.cli.progress import shown_progress
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
