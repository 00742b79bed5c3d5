"""The images of a comparison: none that trained or calibrated a side, and no copy of another."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.comparison.model import ComparedModel
from edge.dataset.annotations.read import SUFFIXES
from edge.dataset.pictures import Picture
from edge.errors import DataError
from edge.evaluation.images import SEEN, Origin, find_scored_images
from edge.inspection.notes import overflow_notes_of
from edge.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedImages:
    """What is left of a folder of images.

    Attributes:
        pictures: The images to compare on.
        left_out: The paths of the images that trained or calibrated a side.
        skipped: Why each other image could not be read, by path.
        notes: What a reader should know, one sentence each.
    """

    pictures: tuple[Picture, ...]
    left_out: tuple[str, ...]
    skipped: dict[str, str]
    notes: tuple[str, ...]


def compared_images(
    directory: Path, sides: Sequence[ComparedModel], progress: Progress
) -> ComparedImages:
    """Find the images, labelled by the classes of the first side if it is a classifier.

    Raises:
        DataError: There are no images, or none is left.
    """
    of_task = sides[0].decoder is not None  # folders are no classes, and annotations are used
    scored = find_scored_images(
        directory,
        () if of_task else sides[0].labels,
        sides[0].preprocessing,
        progress,
        used=SUFFIXES if of_task else (),
    )
    fresh, left_out, notes = _fresh(scored.pictures, sides)
    if left_out:
        progress.note(f"{len(left_out)} images trained or calibrated a model and are left out")
    # The statistics count on independent images: a copy would make them look surer than they are.
    unique = {(item.sha256, item.label): item for item in reversed(fresh)}
    pictures = tuple(reversed(unique.values()))
    if len(pictures) < len(fresh):
        notes.append(f"{len(fresh) - len(pictures)} images are copies of others and do not count")
    if not pictures:
        why = f"; {len(left_out)} calibrated a model" if left_out else ""  # never only trained
        why += f"; {len(scored.skipped)} cannot be read" if scored.skipped else ""
        raise DataError(
            f"{directory} holds no image to compare on{why}",
            hint="Compare on images that neither trained nor calibrated the models.",
        )
    labelled = sum(item.label is not None for item in pictures)
    told = [f"{side.name}: {note}" for side in sides for note in overflow_notes_of(side.path)]
    notes += dict.fromkeys(told)  # both sides may be one file
    if 0 < labelled < len(pictures):
        notes.append(
            f"{len(pictures) - labelled} images have no known class: they count for agreement and "
            "for what can be lost at most, not for accuracy"
        )
    for note in notes:
        progress.note(note)
    return ComparedImages(
        pictures=pictures,
        left_out=left_out,
        skipped=scored.skipped,
        notes=(*scored.notes, *notes),
    )


def _fresh(
    pictures: Sequence[Picture], sides: Sequence[ComparedModel]
) -> tuple[list[Picture], tuple[str, ...], list[str]]:
    """The images that made neither side, the paths of the others, and notes for the reader.

    Where every image made a side, those that trained one are compared on all the same: the two
    sides learned from them alike. Those that calibrated one never are.
    """
    origins = [side.origins.of(pictures) for side in sides]
    made = [SEEN.intersection(kinds) for kinds in zip(*origins, strict=True)]
    notes = _unrecorded(sides)
    kept = [item for item, kinds in zip(pictures, made, strict=True) if not kinds]
    if not kept:
        trained = [
            item
            for item, kinds in zip(pictures, made, strict=True)
            if Origin.CALIBRATION not in kinds
        ]
        if trained:
            notes.append(
                "every one of these images trained a model: what is right on them says nothing "
                "about new ones"
            )
        kept = trained
    chosen = {item.path for item in kept}
    return kept, tuple(str(item.path) for item in pictures if item.path not in chosen), notes


def _unrecorded(sides: Sequence[ComparedModel]) -> list[str]:
    unknown = [side.name for side in sides if side.variant is None or not side.origins.is_recorded]
    if not unknown:
        return []
    names = " and ".join(dict.fromkeys(unknown))
    return [
        f"it is not recorded which images trained or calibrated {names}; some may be among these"
    ]
