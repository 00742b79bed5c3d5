"""Dealing labelled images out to train, val and test, with no picture on two sides."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.errors import DataError
from edge.wording import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class LabeledImage:
    """One image file and its class.

    Attributes:
        path: Of the file.
        label: Class index, into ``Dataset.labels``.
        sha256: Of the file's bytes, hex.
    """

    path: Path
    label: int
    sha256: str


Splits = dict[str, list[LabeledImage]]
"""``train``, and ``val`` and ``test`` where they exist -> images."""


def drop_conflicts(splits: Splits, directory: Path) -> tuple[Splits, list[str]]:
    """Leave pictures that stand under two labels out of train and val.

    Nobody can learn them. Copies in a test split that the user made stay: it is theirs to judge.

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
) -> Splits:
    """Take val and test images out of the training images, class by class.

    Within a class, pictures are ranked by sha256(seed, file hash) and dealt from the top: no
    random generator is involved, so the same pictures are dealt alike on every machine, under
    any file names, and a picture added later moves few others. Copies of a picture have one
    rank and stay together.

    Args:
        images: Of train, in the order that the results keep.
        fractions: Split to carve -> share of a class's different pictures, 0..1.
        labels: Class names.
        seed: Any integer; another one gives another split.

    Returns:
        ``train`` and the carved splits, each with at least one picture of every class.

    Raises:
        DataError: A class has fewer different pictures than there are splits.
    """
    pictures: defaultdict[int, set[str]] = defaultdict(set)
    for image in images:
        pictures[image.label].add(image.sha256)
    _check_enough(pictures, len(fractions) + 1, labels)
    side: dict[str, str] = {}
    for contents in pictures.values():
        ranked = sorted(contents, key=lambda content: _rank(seed, content))
        waiting = len(fractions)
        for split, fraction in fractions.items():
            # At least one, and at least one left for train and for every split still to come.
            spare = len(ranked) - waiting
            waiting -= 1
            count = min(max(1, round(fraction * len(contents))), spare)
            side.update(dict.fromkeys(ranked[:count], split))
            ranked = ranked[count:]
    splits: Splits = {split: [] for split in ("train", *fractions)}
    for image in images:
        splits[side.get(image.sha256, "train")].append(image)
    return splits


def _rank(seed: int, content: str) -> str:
    """Sort key of a picture, as good as random: sha256 of the seed and the file's sha256."""
    return hashlib.sha256(f"{seed}:{content}".encode()).hexdigest()


def _check_enough(
    pictures: Mapping[int, Iterable[str]], needed: int, labels: Sequence[str]
) -> None:
    """Refuse classes that cannot be in every split."""
    counts = [len(set(pictures.get(label, ()))) for label in range(len(labels))]
    short = [
        f"{name!r} has {count}"
        for name, count in zip(labels, counts, strict=True)
        if count < needed
    ]
    if short:
        rest = f" and {len(short) - 5} more classes" if len(short) > 5 else ""
        raise DataError(
            f"too few images to split: {', '.join(short[:5])}{rest}; every class needs at least "
            f"{needed} different usable images for training"
            + {1: "", 2: " and one held-out split", 3: ", validation and test"}[needed],
            hint="Add images to these classes, or delete their folders.",
        )
