"""The images that files are scored on: found, labelled where that can be told, readable."""

from dataclasses import dataclass
from pathlib import Path

from edge.dataset.folder import Files, skipped_notes
from edge.dataset.levels import levels_notes
from edge.dataset.pictures import Picture, find_pictures, unreadable
from edge.progress import Progress
from edge.runtime.spec import Preprocessing
from edge.weights import imagenet_classes


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredImages:
    """What a folder gives.

    Attributes:
        pictures: Readable, in the order of their paths.
        skipped: Why each other image could not be read, by path.
        files: All files of the folder.
        notes: Sentences on what was found, and on what is not used.
    """

    pictures: tuple[Picture, ...]
    skipped: dict[str, str]
    files: Files
    notes: tuple[str, ...]


def find_scored_images(
    directory: Path, labels: tuple[str, ...], preprocessing: Preprocessing, progress: Progress
) -> ScoredImages:
    """The images below a folder; each that cannot be decoded is noted and left out.

    Raises:
        DataError: The folder cannot be read or has no images.
    """
    with progress.stage("images"):
        found = find_pictures(directory, labels, wnids(labels))
        problems = unreadable(found.pictures, preprocessing)
        notes = (*found.notes, *levels_notes(preprocessing, found.files.images))
    for note in notes:
        progress.note(note)
    for note in skipped_notes(problems):
        progress.note(note)
    return ScoredImages(
        pictures=tuple(picture for picture in found.pictures if picture.path not in problems),
        skipped={str(file): why for file, why in problems.items()},
        files=found.files,
        notes=notes,
    )


def wnids(labels: tuple[str, ...]) -> tuple[str, ...]:
    """WordNet ids of the classes, if they are ImageNet's."""
    classes = imagenet_classes()
    same = len(labels) == len(classes) and all(
        label.startswith(name) for label, (_, name) in zip(labels, classes, strict=True)
    )
    return tuple(wnid for wnid, _ in classes) if same else ()
