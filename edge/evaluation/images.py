"""The images that files are scored on: which there are, and what a bundle used each one for."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from edge.dataset.folder import Files, skipped_notes
from edge.dataset.levels import levels_notes
from edge.dataset.pictures import Hashed, Picture, find_pictures, unreadable
from edge.errors import BundleError
from edge.progress import Progress
from edge.runtime import checked
from edge.runtime.bundle import Bundle
from edge.runtime.contract import Preprocessing
from edge.weights import imagenet_classes


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredImages:
    """The images of a folder that files are scored on.

    Attributes:
        pictures: The readable images, in the order of their paths.
        skipped: The reason why each other image could not be read, by path.
        files: All files of the folder.
        notes: Sentences on what the folder holds, and on what is not used.
    """

    pictures: tuple[Picture, ...]
    skipped: dict[str, str]
    files: Files
    notes: tuple[str, ...]


def find_scored_images(
    directory: Path,
    labels: tuple[str, ...],
    preprocessing: Preprocessing,
    progress: Progress,
    *,
    used: Collection[str] = (),
) -> ScoredImages:
    """Find the images below a folder; images that cannot be decoded are noted and left out.

    Files with the suffixes ``used`` are read by somebody else.

    Raises:
        DataError: The folder cannot be read or has no images.
    """
    with progress.stage("images"):
        inside = find_pictures(directory, labels, wnids(labels), used=used)
        problems = unreadable(inside.pictures, preprocessing)
        notes = (*inside.notes, *levels_notes(preprocessing, inside.files.images))
    for note in notes:
        progress.note(note)
    for note in skipped_notes(problems):
        progress.note(note)
    return ScoredImages(
        pictures=tuple(picture for picture in inside.pictures if picture.path not in problems),
        skipped={str(file): why for file, why in problems.items()},
        files=inside.files,
        notes=notes,
    )


BACKGROUND: Final = "background"  # the class 0 of TensorFlow's ImageNet models with 1001 classes


def wnids(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return the WordNet IDs of the classes if they are those of ImageNet; otherwise none.

    A model with a class for the background before these has an empty ID there.
    """
    if labels[:1] == (BACKGROUND,):
        known = wnids(labels[1:])
        return ("", *known) if known else ()
    classes = imagenet_classes()
    same = len(labels) == len(classes) and all(
        label.startswith(name) for label, (_, name) in zip(labels, classes, strict=True)
    )
    return tuple(wnid for wnid, _ in classes) if same else ()


LOCK_NAME: Final = "edge.lock"
REPORT_NAME: Final = "report.json"
MAX_LOCK: Final = 256 << 20  # bytes; a picture takes about 130, all of ImageNet 170 MB
MAX_REPORT: Final = 64 << 20  # bytes


class Origin(StrEnum):
    """What the making of a bundle used a picture for; the first that fits."""

    TRAIN = "train"  # weights were fitted to it
    VALIDATION = "validation"  # it decided when training ended
    CALIBRATION = "calibration"  # it gave the ranges of integer files
    HELD_OUT = "held_out"  # the report of the bundle scored on it, and nothing learned from it
    UNKNOWN = "unknown"  # the making of the bundle did not use it


SEEN: Final = frozenset({Origin.TRAIN, Origin.VALIDATION, Origin.CALIBRATION})
_SPLITS: Final = {  # the names of splits in the lock of a build or an export
    "train": Origin.TRAIN,
    "val": Origin.VALIDATION,
    "calibration": Origin.CALIBRATION,
    "test": Origin.HELD_OUT,
    "scored": Origin.HELD_OUT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """What a bundle records of the pictures that made it.

    Attributes:
        by_hash: What a file was used for, by its sha256.
        is_recorded: Whether the bundle has a lock; without one, a picture can have been anything.
        is_trained_here: Whether the lock also tells what the weights were fitted to; the lock of
            an exported network does not.
    """

    by_hash: Mapping[str, Origin]
    is_recorded: bool
    is_trained_here: bool

    def of(self, pictures: Sequence[Hashed]) -> tuple[Origin, ...]:
        """Return what each picture was used for."""
        return tuple(self.by_hash.get(item.sha256, Origin.UNKNOWN) for item in pictures)

    @property
    def gap(self) -> str:
        """A sentence on what is not known; empty if nothing is missing."""
        if not self.is_recorded:
            return (
                f"the bundle has no {LOCK_NAME}, so that nobody can tell whether it was trained or "
                "calibrated on these images: build or export it again"
            )
        if not self.is_trained_here:
            return (
                "the network was trained before it was exported: whether it was on some of these "
                "images is not recorded"
            )
        return ""


def origins_of(bundle: Bundle) -> Origins:
    """Read what a bundle records of the pictures that made it.

    The lock is read by hand, and not through ``edge.schema``, since it can list a million pictures.

    Raises:
        BundleError: The lock was altered, or cannot be read.
    """
    by_hash = dict.fromkeys(_calibrated(bundle), Origin.CALIBRATION)
    if LOCK_NAME not in bundle.manifest.files:
        return Origins(by_hash=by_hash, is_recorded=False, is_trained_here=False)
    try:
        value = checked.read_json(bundle.checked(LOCK_NAME), max_bytes=MAX_LOCK)
        command = value["command"]
        for folder in value["inputs"]["data"].values():
            for split, classes in folder.items():
                _add(by_hash, _SPLITS.get(split), classes)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BundleError(f"{LOCK_NAME} cannot be used: {error!r}") from error
    return Origins(by_hash=by_hash, is_recorded=True, is_trained_here=command == "build")


def _add(
    by_hash: dict[str, Origin], origin: Origin | None, classes: Mapping[str, Mapping[str, str]]
) -> None:
    order = list(Origin)
    for files in classes.values() if origin is not None else ():
        for digest in files.values():
            assert origin is not None
            by_hash[digest] = min(origin, by_hash.get(digest, origin), key=order.index)


def _calibrated(bundle: Bundle) -> list[str]:
    """Return the hashes that the report lists; a build takes them out of its training images."""
    if REPORT_NAME not in bundle.manifest.files:
        return []
    try:
        value: Any = checked.read_json(bundle.checked(REPORT_NAME), max_bytes=MAX_REPORT)
        listed = value["calibration"]["image_sha256"]
    except (ValueError, TypeError, KeyError):
        return []
    return [item for item in listed if isinstance(item, str)] if isinstance(listed, list) else []


def counted(origins: Sequence[Origin]) -> dict[str, int]:
    """Return the number of pictures of each origin; every origin is named."""
    counts = Counter(origins)
    return {str(origin): counts[origin] for origin in Origin}


def said(counts: Mapping[str, int]) -> str:
    """Return the origins that there are, for people: ``12 train, 3 held-out``."""
    return ", ".join(f"{count} {name.replace('_', '-')}" for name, count in counts.items() if count)
