"""Questions to an embedding file or a table of words."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.cache import StageCache
from edge.dataset.pictures import Picture
from edge.embedding.features import extract
from edge.embedding.index import Neighbours, open_index
from edge.embedding.source import extractor_of
from edge.embedding.table import Embeddings
from edge.errors import DataError
from edge.progress import Progress
from edge.runtime.files import sha256_file

_ZIP: Final = b"PK"


@dataclass(frozen=True, slots=True)
class Found:
    """Pictures like a picture.

    Attributes:
        neighbours: Rows of the table and their cosines.
        search: ``exact`` or ``rabitq``: how they were searched for.
    """

    neighbours: Neighbours
    search: str


def is_word_table(path: Path) -> bool:
    """Whether a file is to be read as text: it is there, and it is no archive of arrays."""
    try:
        with path.open("rb") as stream:
            return stream.read(2) != _ZIP and path.suffix.lower() not in (".npz", ".npy")
    except OSError:
        return False


def similar_pictures(
    table: Embeddings,
    image: Path,
    k: int,
    cache: StageCache,
    progress: Progress,
    *,
    exact: bool = False,
) -> Found:
    """The k pictures of a table nearest to a picture by cosine.

    Raises:
        DataError: The picture cannot be read, or the table is of another extractor.
    """
    if not image.is_file():
        raise DataError(f"no picture at {image}", hint="Name an image file to compare with.")
    with progress.stage("extractor"):
        extractor = extractor_of(table.header, cache)
    picture = Picture(image, sha256_file(image))
    with progress.stage("query", 1) as step:
        features = extract(
            extractor.path, [picture], extractor.preprocessing, cache=cache, step=step
        )
    if image in features.problems:
        raise DataError(features.problems[image], hint="Name an image file that opens in a viewer.")
    index = open_index(table.vectors, cache, progress, exact=exact)
    return Found(index.search(features.vectors[0], k), index.kind)
