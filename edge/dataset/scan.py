"""A folder of photos -> a labelled, checked data set in three splits that share no picture."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Self

from edge.dataset.folder import Files
from edge.dataset.groups import (
    Division,
    GroupsFile,
    PictureGroups,
    check_own_splits,
    divide,
    grouped,
    read_groups,
    refuse_parted,
)
from edge.dataset.layout import Layout, find_layout
from edge.errors import DataError, ImageError, UsageError
from edge.runtime.contract import canonical_json
from edge.runtime.files import open_regular
from edge.runtime.image import check_image
from edge.threads import in_threads
from edge.wording import counted

_BATCH: Final = 256  # files handed to the thread pool at a time; it bounds the memory
_NAMED: Final = 5  # files that an error names before it only counts


@dataclass(frozen=True, slots=True, kw_only=True)
class LabeledImage:
    """One image file and its class.

    Attributes:
        path: The path of the file.
        label: The class index into ``Dataset.labels``.
        sha256: The digest of the bytes of the file, hex.
    """

    path: Path
    label: int
    sha256: str


Splits = dict[str, list[LabeledImage]]
"""The images of ``train``, and of ``val`` and ``test`` if they exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """An image file that is not used, and why, in words that do not repeat the path."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Labelled images in three splits that share no picture.

    Attributes:
        labels: The class names, sorted; the index is the class.
        train: The images to learn from, by class and then relative path; shuffle them before use.
        val: The images by which to choose.
        test: The images to score with; nothing else uses them.
        skipped: The files that cannot be used.
        notes: Sentences for people on what was left out and why.
        files: Everything that lies below the folder.
        groups: Which images belong together; None where nothing says so.
    """

    labels: tuple[str, ...]
    train: tuple[LabeledImage, ...]
    val: tuple[LabeledImage, ...]
    test: tuple[LabeledImage, ...]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    files: Files = field(default_factory=lambda: Files(images=()))
    groups: PictureGroups | None = None

    @property
    def splits(self) -> dict[str, tuple[LabeledImage, ...]]:
        """The three splits by name, in the order train, val, test."""
        return {"train": self.train, "val": self.val, "test": self.test}

    @property
    def sha256(self) -> str:
        """The hash of labels, splits, and hash and class of each file in order, but no path."""
        content = {
            split: [[image.sha256, image.label] for image in images]
            for split, images in self.splits.items()
        }
        text = canonical_json({"labels": list(self.labels), **content})
        return hashlib.sha256(text.encode()).hexdigest()

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of images by split and class name."""
        counts = {split: dict.fromkeys(self.labels, 0) for split in self.splits}
        for split, images in self.splits.items():
            for image in images:
                counts[split][self.labels[image.label]] += 1
        return counts

    @property
    def division(self) -> Division | None:
        """How the groups of the images were divided; None without groups."""
        if self.groups is None:
            return None
        everything = [image.sha256 for images in self.splits.values() for image in images]
        return self.groups.division(everything, [image.sha256 for image in self.test])

    def without(self, unusable: Mapping[Path, str], *, strict: bool = False) -> Self:
        """Return the data set without files that a later stage could not decode.

        Args:
            unusable: The reason by path, such as the message of an ImageError.
            strict: Whether to refuse the data set instead, if there is any such file.

        Raises:
            DataError: ``strict`` holds, a class has no training image left, or a split has none.
        """
        known = {image.path for images in self.splits.values() for image in images}
        added = tuple(
            Skipped(path=path, reason=reason.removeprefix(f"{path}: "))
            for path, reason in unusable.items()
            if path in known
        )
        if strict:
            refuse_skipped(added, len(known))
        left = {
            split: tuple(image for image in images if image.path not in unusable)
            for split, images in self.splits.items()
        }
        skipped = self.skipped + added
        _check_filled(self.labels, left, _summary(skipped))
        return replace(
            self, train=left["train"], val=left["val"], test=left["test"], skipped=skipped
        )


def scan(
    directory: Path,
    *,
    seed: int,
    strict: bool = False,
    groups: Path | None = None,
    divide_groups: bool = False,
    val_fraction: float = 0.15,
    test_fraction: float = 0.15,
    on_progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Read a folder of one sub-folder per class, or of splits of such; see ``find_class_folders``.

    Every file is hashed and its header checked; pixels are not decoded (the next stage does so
    anyway and reports through ``Dataset.without``). A split that the folder does not have is
    carved from train by ``carve``: stratified, as a function of the seed and the bytes of the
    files alone.

    Args:
        directory: The folder.
        seed: The seed of the split.
        strict: Whether to refuse the folder if any image file cannot be used, or if ``groups``
            names one that is not there.
        groups: A file that says which pictures belong together; see ``read_groups``.
        divide_groups: Whether to divide the pictures of a class with too few groups one by one;
            otherwise it is refused.
        val_fraction: The share of the training pictures of a class for val, unless the folder has
            that split.
        test_fraction: The same for test.
        on_progress: It is called with (files done, files in all).

    Raises:
        DataError: The folder cannot be used; see ``find_layout``, ``carve``, ``grouped`` and
            ``strict``.
        UsageError: The fractions leave nothing to one of the splits, or ``groups`` cannot be read.
    """
    if not (val_fraction > 0 and test_fraction > 0 and val_fraction + test_fraction < 1):
        raise UsageError(
            f"val_fraction {val_fraction} and test_fraction {test_fraction} must be above 0 and "
            "add up to less than 1"
        )
    stated = None if groups is None else read_groups(groups)
    layout = find_layout(directory)
    labels = tuple(layout.splits["train"])
    splits, skipped = _read(layout, on_progress)
    if strict:
        refuse_skipped(skipped, sum(map(len, splits.values())) + len(skipped))
    splits, conflicts = drop_conflicts(splits, directory)
    splits, overlaps = drop_overlap(splits)
    _check_filled(labels, splits, [*conflicts[:1], *overlaps, *_summary(skipped)])
    missing = {"test": test_fraction, "val": val_fraction}
    fractions = {split: share for split, share in missing.items() if split not in splits}
    belong = (
        None if stated is None else _belonging(stated, directory, layout, splits, strict=strict)
    )
    carved, parted = carve(splits["train"], fractions, labels=labels, seed=seed, groups=belong)
    splits |= carved
    if belong is not None:
        belong = replace(belong, parted=parted, needed=len(fractions) + 1)
        if not divide_groups:
            refuse_parted(belong)
    return Dataset(
        labels=labels,
        train=tuple(splits["train"]),
        val=tuple(splits["val"]),
        test=tuple(splits["test"]),
        skipped=skipped,
        notes=(
            *layout.notes,
            *_shortened(conflicts),
            *overlaps,
            *(() if belong is None else belong.notes),
        ),
        files=layout.files,
        groups=belong,
    )


def _belonging(
    stated: GroupsFile, directory: Path, layout: Layout, splits: Splits, *, strict: bool
) -> PictureGroups:
    """Return which pictures belong together; refuse groups that the user's own splits part."""
    pairs = {
        split: [(image.path, image.sha256) for image in images] for split, images in splits.items()
    }
    everything = [pair for images in pairs.values() for pair in images]
    groups = grouped(stated, directory, layout.files.images, everything, strict=strict)
    check_own_splits(pairs, groups)
    return groups


def _read(
    layout: Layout, on_progress: Callable[[int, int], None] | None
) -> tuple[Splits, tuple[Skipped, ...]]:
    """Hash and check every file of the layout."""
    index = {label: number for number, label in enumerate(layout.splits["train"])}
    files = [
        (split, index[label], path)
        for split, classes in layout.splits.items()
        for label, paths in classes.items()
        for path in paths
    ]
    splits: Splits = {split: [] for split in layout.splits}
    skipped = []
    results = _digests([path for _, _, path in files])
    for done, ((split, label, path), result) in enumerate(zip(files, results, strict=True), 1):
        if isinstance(result, Skipped):
            skipped.append(result)
        else:
            splits[split].append(LabeledImage(path=path, label=label, sha256=result))
        if on_progress:
            on_progress(done, len(files))
    return splits, tuple(skipped)


def _digests(paths: Sequence[Path]) -> Iterator[str | Skipped]:
    """Yield the sha256 of each file, or why it cannot be used, in order."""
    workers = min(4, os.cpu_count() or 1)
    for start in range(0, len(paths), _BATCH):
        yield from in_threads(_digest, paths[start : start + _BATCH], workers)


def _digest(path: Path) -> str | Skipped:
    """Return the sha256 of one file (hex), or why it cannot be used."""
    try:
        with open_regular(path) as stream:
            # The input size of the model is not known yet: a file that passes at the strongest
            # reduction may pass later, and one that does not never will.
            check_image(stream, minimum=(1, 1))
            stream.seek(0)
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except ImageError as error:
        return Skipped(path=path, reason=error.message.removeprefix(f"{path}: "))
    except OSError as error:
        return Skipped(path=path, reason=f"the file cannot be read: {error.strerror}")


def refuse_skipped(skipped: Sequence[Skipped], total: int) -> None:
    """Refuse images that cannot be decoded, as ``--strict`` asks.

    Args:
        skipped: Those that cannot.
        total: The number of all images.

    Raises:
        DataError: There is one.
    """
    if skipped:
        named = "; ".join(f"{item.path}: {item.reason}" for item in skipped[:_NAMED])
        rest = f"; and {len(skipped) - _NAMED} more" if len(skipped) > _NAMED else ""
        raise DataError(
            f"{len(skipped)} of {total} image files cannot be used: {named}{rest}",
            hint="Repair or remove these files, or allow them to be skipped.",
        )


def _summary(skipped: Sequence[Skipped]) -> list[str]:
    """Say how many files cannot be used, with an example; empty if there are none."""
    if not skipped:
        return []
    first = skipped[0]
    return [f"{counted(len(skipped), 'file')} cannot be used, such as {first.path}: {first.reason}"]


def _check_filled(
    labels: Sequence[str],
    splits: Mapping[str, Sequence[LabeledImage]],
    reasons: Sequence[str],
) -> None:
    """Refuse a split without images, and a class without training images.

    Args:
        labels: The class names.
        splits: The splits that exist, without everything that is left out.
        reasons: Sentences on why images were left out.
    """
    why = f" ({'; '.join(reasons)})" if reasons else ""
    learned = {image.label for image in splits["train"]}
    for index, label in enumerate(labels):
        if index not in learned:
            raise DataError(
                f"class {label!r} has no training image left{why}", hint="Add images to it."
            )
    for split, images in splits.items():
        if not images:
            raise DataError(
                f"the {split} split has no image left{why}",
                hint=f"Add images to {split}/, or delete that folder to have it made from train/.",
            )


def _shortened(notes: Sequence[str]) -> list[str]:
    """Return the first notes of a kind, and how many more there are."""
    rest = [f"and {len(notes) - _NAMED} more such pictures"] if len(notes) > _NAMED else []
    return [*notes[:_NAMED], *rest]


def drop_conflicts(splits: Splits, directory: Path) -> tuple[Splits, list[str]]:
    """Leave pictures that stand under two labels out of train and val.

    Nobody can learn them. Copies in a test split of the user stay, since that is theirs to judge.

    Returns:
        The splits, and sentences that name the files.
    """
    by_content: defaultdict[str, list[LabeledImage]] = defaultdict(list)
    for images in splits.values():
        for image in images:
            by_content[image.sha256].append(image)
    notes = []
    conflicting = set()
    for content, images in by_content.items():
        if len({image.label for image in images}) > 1:
            conflicting.add(content)
            names = sorted(image.path.relative_to(directory).as_posix() for image in images)
            notes.append(
                f"the same picture under different labels, left out of training: {', '.join(names)}"
            )
    kept = {
        split: images
        if split == "test"
        else [image for image in images if image.sha256 not in conflicting]
        for split, images in splits.items()
    }
    return kept, sorted(notes)


def drop_overlap(splits: Splits) -> tuple[Splits, list[str]]:
    """Leave pictures of test out of val and train, and pictures of val out of train."""
    notes = []
    kept = dict(splits)
    for winner, loser in (("test", "val"), ("test", "train"), ("val", "train")):
        taken = {image.sha256 for image in kept.get(winner, [])}
        before = kept.get(loser, [])
        after = [image for image in before if image.sha256 not in taken]
        if len(after) < len(before):
            kept[loser] = after
            side = {"test": "test", "val": "validation", "train": "training"}
            duplicates = counted(len(before) - len(after), "duplicate")
            notes.append(f"{duplicates} of {side[winner]} images left out of {side[loser]}")
    return kept, notes


def carve(
    images: Sequence[LabeledImage],
    fractions: Mapping[str, float],
    *,
    labels: Sequence[str],
    seed: int,
    groups: PictureGroups | None = None,
) -> tuple[Splits, tuple[str, ...]]:
    """Take val and test images out of the training images, class by class.

    Within a class, pictures are ranked by sha256(seed, file hash) and dealt from the top; see
    ``divide`` for groups. There is no random generator, so the same pictures are dealt alike on
    every machine and under any file names, and a picture that is added later moves few others.
    Copies of a picture have one rank and stay together.

    Args:
        images: The images of train; the results keep their order.
        fractions: The share of the different pictures of a class, 0..1, for each split to carve.
        labels: The class names.
        seed: Any integer; another one gives another split.
        groups: Which pictures belong together; None for single pictures.

    Returns:
        ``train`` and the carved splits, each with at least one picture of every class; and the
        names of the classes whose groups are too few, so that their pictures were dealt one by one.

    Raises:
        DataError: A class has fewer different pictures than there are splits.
    """
    label_of = {image.sha256: image.label for image in images}
    _check_enough(label_of, len(fractions) + 1, labels)
    group_of = None if groups is None else groups.of
    side, parted = divide(label_of, fractions, seed=seed, group_of=group_of)
    splits: Splits = {split: [] for split in ("train", *fractions)}
    for image in images:
        splits[side.get(image.sha256, "train")].append(image)
    return splits, tuple(labels[index] for index in sorted(parted))


def _check_enough(label_of: Mapping[str, int], needed: int, labels: Sequence[str]) -> None:
    """Refuse classes that cannot be in every split."""
    counts = Counter(label_of.values())
    short = [
        f"{name!r} has {counts[label]}"
        for label, name in enumerate(labels)
        if counts[label] < needed
    ]
    if short:
        rest = f" and {len(short) - 5} more classes" if len(short) > 5 else ""
        raise DataError(
            f"too few images to split: {', '.join(short[:5])}{rest}; every class needs at least "
            f"{needed} different usable images for training"
            + {1: "", 2: " and one held-out split", 3: ", validation and test"}[needed],
            hint="Add images to these classes, or delete their folders.",
        )
