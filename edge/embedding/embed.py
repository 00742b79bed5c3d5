"""``edge embed``: a folder of pictures -> its embeddings."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from edge.cache import StageCache
from edge.dataset.folder import list_files
from edge.dataset.layout import find_any_class_folders
from edge.dataset.levels import with_levels
from edge.dataset.pictures import Picture
from edge.embedding.extractor import Extractor, ExtractorSource, open_extractor, source_json
from edge.embedding.features import extract
from edge.embedding.table import Embeddings, Header
from edge.errors import DataError
from edge.evaluation.cluster import check_address
from edge.progress import Progress
from edge.runtime.files import sha256_file
from edge.threads import in_threads
from edge.training.base import Base
from edge.training.input_evidence import PICTURES
from edge.training.weights import random_note

_BATCH: Final = 256  # files hashed between two reports of progress


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedOptions:
    """What to embed, and with which extractor.

    Attributes:
        photos: The folder whose pictures are embedded, those in sub-folders too.
        source: The base or the bundle that the extractor is made from.
        cache: The root of the stage cache.
        dask: The address of a Dask scheduler, ``local``, or None for this process.
    """

    photos: Path
    source: ExtractorSource
    cache: Path
    dask: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """The embeddings of a folder, and what was left out of them.

    Attributes:
        table: The vectors of every readable picture, in the order of the relative paths.
        skipped: The reason why each of the other pictures could not be read.
        reused: The number of pictures whose vectors an earlier run had computed.
        warning: A sentence on an extractor that has learned nothing; otherwise empty.
    """

    table: Embeddings
    skipped: dict[Path, str]
    reused: int
    warning: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values, without the vectors."""
        header = self.table.header
        images, features = self.table.vectors.shape
        return {
            "extractor": header.extractor,
            "name": header.name,
            "source": dict(header.source),
            "root": header.root,
            "images": images,
            "features": features,
            "classes": len({*self.table.classes} - {""}),
            "reused": self.reused,
            "notes": [self.warning] if self.warning else [],
            "skipped": [{"path": str(path), "why": why} for path, why in self.skipped.items()],
        }


def embed(options: EmbedOptions, progress: Progress) -> Embedded:
    """Embed every readable picture; what an earlier run computed is not computed again.

    Raises:
        DataError: The folder, or every picture in it, cannot be read.
        UsageError, ConnectionFailed: See ``run_on_cluster``.
        WeightsUnavailable, ModelLoadError, ConversionError: The extractor cannot be made.
        OutputError: The cache cannot be written.
    """
    if options.dask is not None:
        check_address(options.dask)
    cache = StageCache(options.cache)
    folders, files = find_any_class_folders(options.photos), list_files(options.photos)
    for note in (*folders.notes, *files.notes()):
        progress.note(note)
    extractor, warning = _open(options.source, files.images, cache, progress)
    pictures, skipped = _hashed(files.images, progress)
    with progress.stage("embedding", len(pictures)) as step:
        features = extract(
            extractor.path,
            pictures,
            extractor.preprocessing,
            cache=cache,
            step=step,
            dask=options.dask,
        )
    skipped |= features.problems
    kept = [picture for picture in pictures if picture.path not in skipped]
    if not kept:
        path, problem = next(iter(skipped.items()))
        raise DataError(
            f"none of the {len(files.images)} pictures in {options.photos} can be read, such as "
            f"{path}: {problem}",
            hint="Name a folder with pictures that open in a viewer.",
        )
    table = Embeddings(
        header=_header(options, extractor),
        vectors=features.vectors,
        paths=tuple(picture.path.relative_to(options.photos).as_posix() for picture in kept),
        sha256=tuple(picture.sha256 for picture in kept),
        classes=tuple(folders.class_of(picture.path) for picture in kept),
    )
    return Embedded(table=table, skipped=skipped, reused=features.reused, warning=warning)


def _open(
    source: ExtractorSource, paths: Sequence[Path], cache: StageCache, progress: Progress
) -> tuple[Extractor, str]:
    """Open the extractor, fit for the pictures, and say whether it has learned nothing."""
    with progress.stage("extractor"):
        if not isinstance(source, Path):
            base = Base(source)
            tried = paths[:: max(1, len(paths) // PICTURES)][:PICTURES]
            base.find_input([Picture(path, "") for path in tried], progress)
        extractor = open_extractor(source, cache)
    warning = random_note(extractor.weights, "vectors")
    if warning:
        progress.note(warning)
    if not isinstance(source, Path):  # the contract of a bundle has its levels
        contract, notes = with_levels(extractor.preprocessing, paths)
        extractor = replace(extractor, preprocessing=contract)
        for note in notes:
            progress.note(note)
    return extractor, warning


def _hashed(paths: Sequence[Path], progress: Progress) -> tuple[list[Picture], dict[Path, str]]:
    """Return the pictures by content, and why the others cannot be read."""
    pictures: list[Picture] = []
    problems: dict[Path, str] = {}
    with progress.stage("hashing", len(paths)) as step:
        for path, digest, problem in _digests(paths):
            step(1)
            if problem:
                problems[path] = problem
            else:
                pictures.append(Picture(path, digest))
    return pictures, problems


def _header(options: EmbedOptions, extractor: Extractor) -> Header:
    return Header(
        extractor=extractor.id,
        name=extractor.name,
        source=source_json(options.source),
        preprocessing=extractor.preprocessing,
        root=os.path.abspath(options.photos),  # noqa: PTH100 (Path.absolute keeps "..")
    )


def _digests(paths: Sequence[Path]) -> Iterator[tuple[Path, str, str]]:
    """Yield each path with the sha256 of its file, or with the reason why it cannot be read."""
    for start in range(0, len(paths), _BATCH):
        yield from in_threads(_digest, paths[start : start + _BATCH])


def _digest(path: Path) -> tuple[Path, str, str]:
    try:
        return path, sha256_file(path), ""
    except OSError as error:
        return path, "", f"the file cannot be read: {error.strerror}"
