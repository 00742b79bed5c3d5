"""The tables that methods learn from: pixels, and embeddings."""

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.cache import StageCache
from edge.embedding.extractor import Extractor, base_extractor, bundle_extractor
from edge.embedding.features import extract
from edge.errors import DataError
from edge.fewshot.classes import Classes
from edge.fewshot.options import FewShotOptions
from edge.progress import Progress
from edge.runtime.head import normalised
from edge.runtime.preprocess import load
from edge.threads import in_threads
from edge.training.base import Base
from edge.training.input_evidence import PICTURES

TURNS: Final = 4  # of 90 degrees


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """Of all pictures.

    Attributes:
        vectors: (pictures, features) float32, of length 1.
        name: Of the network.
        id: Of the file and contract that made them.
    """

    vectors: NDArray[np.float32]
    name: str
    id: str


def pixels(classes: Classes) -> NDArray[np.uint8]:
    """(pictures, height, width, channels) uint8, dark as 255: paper is 0, as the padding is.

    One channel where all pictures are grey, else three.
    """

    def one(picture: Any) -> NDArray[np.uint8]:
        return 255 - load(picture.path, classes.contract)

    table: NDArray[np.uint8] = np.stack(in_threads(one, classes.pictures))
    grey = (table == table[..., :1]).all()
    return table[..., :1] if grey else table


def turned(
    table: NDArray[np.uint8], classes: list[NDArray[np.int64]]
) -> tuple[NDArray[np.uint8], list[NDArray[np.int64]]]:
    """Pictures and classes four times as many: turned by 0, 90, 180 and 270 degrees."""
    tables = [np.rot90(table, turns, (1, 2)) for turns in range(TURNS)]
    rows = [item + turns * len(table) for turns in range(TURNS) for item in classes]
    return np.concatenate(tables), rows


def embeddings(
    classes: Classes, options: FewShotOptions, cache: StageCache, progress: Progress
) -> Embeddings:
    """Features of every picture, of length 1, computed once.

    Raises:
        DataError: A picture cannot be read any more.
        WeightsUnavailable: No pretrained weights.
        BundleError, UsageError: The bundle cannot be used.
    """
    with progress.stage("network"):
        extractor = _extractor(options, classes, cache, progress)
    with progress.stage("features", len(classes.pictures)) as step:
        found = extract(
            extractor.path, classes.pictures, extractor.preprocessing, cache=cache, step=step
        )
    for path, why in found.problems.items():
        raise DataError(f"{path} cannot be read: {why}", hint="Take it out of its folder.")
    return Embeddings(
        vectors=normalised(found.vectors),
        name=f"{extractor.name}, {extractor.features} features",
        id=extractor.id,
    )


def _extractor(
    options: FewShotOptions, classes: Classes, cache: StageCache, progress: Progress
) -> Extractor:
    if options.bundle is not None:
        return bundle_extractor(options.bundle, cache)
    base = Base(options.base)
    step = max(1, len(classes.pictures) // PICTURES)
    base.find_input(classes.pictures[::step], progress.note)
    extractor = base_extractor(base, cache)
    contract = replace(extractor.preprocessing, levels=classes.contract.levels)
    return replace(extractor, preprocessing=contract)
