"""The images of a comparison: none that calibrated a side, and no copy of another."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.comparison.subject import Subject
from edge.dataset.pictures import Picture
from edge.errors import DataError
from edge.evaluation.images import find_scored_images
from edge.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedImages:
    """What is left of a folder.

    Attributes:
        pictures: To compare on.
        left_out: Paths of those that calibrated a side.
        skipped: Why each other image could not be read, by path.
        notes: What a reader should know.
    """

    pictures: tuple[Picture, ...]
    left_out: tuple[str, ...]
    skipped: dict[str, str]
    notes: tuple[str, ...]


def compared_images(
    directory: Path, sides: Sequence[Subject], progress: Progress
) -> ComparedImages:
    """Find the images, labelled by the classes of the first side.

    Raises:
        DataError: There are none, or none is left.
    """
    found = find_scored_images(directory, sides[0].labels, sides[0].preprocessing, progress)
    calibrated, unknown = _calibrated(sides)
    notes = list(unknown)
    left_out = tuple(str(item.path) for item in found.pictures if item.sha256 in calibrated)
    if left_out:
        progress.note(f"{len(left_out)} images calibrated a model and are left out")
    fresh = [item for item in found.pictures if item.sha256 not in calibrated]
    # The statistics count on independent images: a copy would make them look surer than they are.
    unique = {(item.sha256, item.label): item for item in reversed(fresh)}
    pictures = tuple(reversed(unique.values()))
    if len(pictures) < len(fresh):
        notes.append(f"{len(fresh) - len(pictures)} images are copies of others and do not count")
    if not pictures:
        why = f"; {len(left_out)} calibrated a model" if left_out else ""
        why += f"; {len(found.skipped)} cannot be read" if found.skipped else ""
        raise DataError(
            f"{directory} holds no image to compare on{why}",
            hint="Compare on images that neither trained nor calibrated the models.",
        )
    labelled = sum(item.label is not None for item in pictures)
    if 0 < labelled < len(pictures):
        notes.append(
            f"{len(pictures) - labelled} images have no known class: they count for agreement, "
            "not for accuracy"
        )
    for note in notes:
        progress.note(note)
    return ComparedImages(
        pictures=pictures,
        left_out=left_out,
        skipped=found.skipped,
        notes=(*found.notes, *notes),
    )


def _calibrated(sides: Sequence[Subject]) -> tuple[set[str], list[str]]:
    """Hashes of the images that calibrated the sides' bundles, and what is not known of them."""
    hashes: set[str] = set()
    unknown = []
    for side in sides:
        calibration = (side.report or {}).get("calibration")
        listed = calibration.get("image_sha256") if isinstance(calibration, dict) else None
        if isinstance(listed, list):
            hashes.update(item for item in listed if isinstance(item, str))
        if side.variant is None or not isinstance(listed, list):
            unknown.append(side.name)
    if not unknown:
        return hashes, []
    names = " and ".join(dict.fromkeys(unknown))
    return hashes, [f"it is not recorded which images calibrated {names}; some may be among these"]
