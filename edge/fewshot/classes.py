"""The classes of a folder, which of them meta-training may see, and their pictures as tables."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.cache import StageCache
from edge.dataset.folder import skipped_notes
from edge.dataset.layout import find_layout
from edge.dataset.levels import with_levels
from edge.dataset.pictures import Picture, unreadable
from edge.embedding.extractor import Extractor, base_extractor, bundle_extractor
from edge.embedding.features import extract
from edge.errors import DataError
from edge.fewshot.options import FewShotOptions, Split
from edge.progress import Progress
from edge.runtime.contract import Preprocessing, Resize
from edge.runtime.files import sha256_file
from edge.runtime.head import normalised
from edge.runtime.preprocess import load
from edge.threads import in_threads
from edge.training.base import Base
from edge.training.input_evidence import PICTURES
from edge.wording import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Classes:
    """Readable pictures by class, and the division of the classes.

    Attributes:
        names: The names of all classes.
        pictures: The readable pictures; ``label`` is the index into ``names``. The position of a
            picture is its row.
        contract: How a picture becomes pixels, for methods that see no embedding.
        training: The indices of the classes that meta-training may see; empty if there is none.
        held_out: The indices of the classes that episodes are drawn from.
        groups: The number of groups that are held out; None if single classes are.
    """

    names: tuple[str, ...]
    pictures: tuple[Picture, ...]
    contract: Preprocessing
    training: tuple[int, ...]
    held_out: tuple[int, ...]
    groups: int | None

    @property
    def sha256(self) -> str:
        """The digest of contents, classes and order of the pictures, hex."""
        lines = (f"{picture.label} {picture.sha256}\n" for picture in self.pictures)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def rows(self, classes: Iterable[int]) -> list[NDArray[np.int64]]:
        """Return the rows of the pictures of each of some classes."""
        labels = np.array([picture.label for picture in self.pictures])
        return [np.flatnonzero(labels == index) for index in classes]


def pixel_contract(size: int) -> Preprocessing:
    """Return how a picture becomes (size, size), for methods that see pixels and no embedding."""
    return Preprocessing(height=size, width=size, resize=Resize.STRETCH)


def find_classes(options: FewShotOptions, progress: Progress) -> Classes:
    """Find the classes of the folder, enough for the episodes that are asked for.

    If the folder has train/, val/ and test/, each class has the pictures of all of them.

    Raises:
        DataError: There are fewer than two classes, too few for the episodes, or a class has too
            few pictures.
    """
    with progress.stage("data"):
        layout = find_layout(options.photos)
        names = tuple(sorted({name for split in layout.splits.values() for name in split}))
        paths = [
            (path, index)
            for index, name in enumerate(names)
            for split in layout.splits.values()
            for path in split.get(name, ())
        ]
        hashes = in_threads(sha256_file, [path for path, _ in paths])
        pictures = [
            Picture(path, digest, index)
            for (path, index), digest in zip(paths, hashes, strict=True)
        ]
        contract, notes = with_levels(pixel_contract(options.size), [path for path, _ in paths])
        problems = unreadable(pictures, contract)
    for note in (*layout.notes, *notes):
        progress.note(note)
    for note in skipped_notes(problems):
        progress.note(note)
    # If a copy of a picture is asked for in an episode that shows it, it is answered by itself.
    unique = {(item.sha256, item.label): item for item in reversed(pictures)}
    usable = tuple(item for item in reversed(unique.values()) if item.path not in problems)
    if len(unique) < len(pictures):
        progress.note(f"{len(pictures) - len(unique)} copies of pictures are left out")
    _check_pictures(names, usable, options)
    training, held_out, groups = _divided(names, options)
    return Classes(
        names=names,
        pictures=usable,
        contract=contract,
        training=training,
        held_out=held_out,
        groups=groups,
    )


def _check_pictures(
    names: Sequence[str], pictures: Sequence[Picture], options: FewShotOptions
) -> None:
    """Refuse classes that cannot fill an episode."""
    shots, queries = max(options.shots), options.queries
    counts = np.bincount([picture.label or 0 for picture in pictures], minlength=len(names))
    few = [index for index, count in enumerate(counts) if count < shots + queries]
    if few:
        raise DataError(
            f"class {names[few[0]]!r} has {counted(int(counts[few[0]]), 'usable picture')}; "
            f"{counted(shots, 'shot')} and queries ({queries}) need {shots + queries}",
            hint="Lower --shots or --queries, add pictures, or take the class out.",
        )


def _divided(
    names: Sequence[str], options: FewShotOptions
) -> tuple[tuple[int, ...], tuple[int, ...], int | None]:
    """Return the classes to train on, those to score on, and how many groups the latter are."""
    if not options.meta_trains:
        _check_ways(len(names), "classes", options)
        return (), tuple(range(len(names))), None
    grouped = options.split is Split.GROUPS
    units = [name.partition("-")[0] if grouped else name for name in names]
    known = sorted(set(units))
    if len(known) < 2:
        raise DataError(
            f"all classes are of the group {known[0]!r}",
            hint="Use --split classes; a group is what stands before the first - of a name.",
        )
    order = np.random.default_rng(options.seed).permutation(len(known))
    count = min(max(1, round(options.train_share * len(known))), len(known) - 1)
    chosen = {known[position] for position in order[:count]}
    training = tuple(index for index, unit in enumerate(units) if unit in chosen)
    held_out = tuple(index for index, unit in enumerate(units) if unit not in chosen)
    _check_ways(len(training), "classes to meta-train on", options)
    _check_ways(len(held_out), "held-out classes", options)
    return training, held_out, len(known) - count if grouped else None


def _check_ways(count: int, what: str, options: FewShotOptions) -> None:
    if count < options.ways:
        apart = " Without reptile in --methods no class is kept for training."
        raise DataError(
            f"{options.photos} gives {count} {what}; {options.ways} ways need {options.ways}",
            hint="Lower --ways, or add classes." + (apart if options.meta_trains else ""),
        )


TURNS: Final = 4  # quarter turns


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureVectors:
    """The embeddings of all pictures.

    Attributes:
        vectors: (pictures, features) float32, each of length 1.
        name: The name of the network and its number of features, for people.
        id: The content key of the file and contract that made them.
    """

    vectors: NDArray[np.float32]
    name: str
    id: str


def pixels(classes: Classes) -> NDArray[np.uint8]:
    """Load all pictures: (pictures, height, width, channels) uint8.

    Dark is 255, so that paper is 0, as the padding is. There is one channel if all pictures are
    grey, and three otherwise.
    """

    def one(picture: Picture) -> NDArray[np.uint8]:
        return 255 - load(picture.path, classes.contract)

    table: NDArray[np.uint8] = np.stack(in_threads(one, classes.pictures))
    grey = (table == table[..., :1]).all()
    return table[..., :1] if grey else table


def turned(
    table: NDArray[np.uint8], classes: list[NDArray[np.int64]]
) -> tuple[NDArray[np.uint8], list[NDArray[np.int64]]]:
    """Return four times as many pictures and classes: turned by 0, 90, 180 and 270 degrees."""
    tables = [np.rot90(table, turns, (1, 2)) for turns in range(TURNS)]
    rows = [item + turns * len(table) for turns in range(TURNS) for item in classes]
    return np.concatenate(tables), rows


def embeddings(
    classes: Classes, options: FewShotOptions, cache: StageCache, progress: Progress
) -> PictureVectors:
    """Compute the features of every picture once, and scale them to length 1.

    Raises:
        DataError: A picture cannot be read any more.
        WeightsUnavailable: There are no pretrained weights.
        BundleError, UsageError: The bundle cannot be used.
    """
    with progress.stage("network"):
        extractor = _extractor(options, classes, cache, progress)
    with progress.stage("features", len(classes.pictures)) as step:
        features = extract(
            extractor.path, classes.pictures, extractor.preprocessing, cache=cache, step=step
        )
    for path, why in features.problems.items():
        raise DataError(f"{path} cannot be read: {why}", hint="Take it out of its folder.")
    return PictureVectors(
        vectors=normalised(features.vectors),
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
    base.find_input(classes.pictures[::step], progress)
    extractor = base_extractor(base, cache)
    contract = replace(extractor.preprocessing, levels=classes.contract.levels)
    return replace(extractor, preprocessing=contract)
