"""A folder of pictures and its annotations, in whatever format -> the truth of each picture."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from edge.dataset.annotations import coco, masks, voc, yolo
from edge.dataset.annotations.bodies import BodyMatching
from edge.dataset.annotations.stated import Format, StatedBox, StatedPicture
from edge.dataset.folder import list_images
from edge.dataset.layout import normal
from edge.dataset.pictures import Picture
from edge.dataset.truth import IGNORED, PictureTruth, TrueBox
from edge.errors import DataError, UsageError
from edge.runtime.files import readable
from edge.runtime.image import stored_and_shown_size
from edge.runtime.tasks.table import Task
from edge.wording import counted, listed

FORMATS: Final[Mapping[str, Format]] = {
    item.name: item
    for item in (
        Format(
            name="coco",
            meaning="one JSON file with images, annotations and categories",
            evidence=coco.evidence,
            read=coco.read,
        ),
        Format(
            name="voc",
            meaning="an XML file for each picture, beside it or in a folder Annotations",
            evidence=voc.evidence,
            read=voc.read,
        ),
        Format(
            name="yolo",
            meaning="a text file for each picture, beside it or in a folder labels",
            evidence=yolo.evidence,
            read=yolo.read,
        ),
        Format(
            name="masks",
            meaning="a PNG file of class indices for each picture, in a folder masks",
            evidence=masks.evidence,
            read=masks.read,
        ),
    )
}
_OF_TASK: Final[Mapping[Task, tuple[str, ...]]] = {
    Task.DETECTION: ("coco", "voc", "yolo"),
    Task.POSE: ("coco", "yolo"),
    Task.SEGMENTATION: ("masks",),
}
OPTION: Final = "--annotations"
NAMED_BY_LABELS: Final = "--labels FILE names its classes otherwise."
EXPORT_AGAIN: Final = "To name its classes otherwise, export the model again with --labels FILE."
SUFFIXES: Final = frozenset({".json", ".names", ".txt", ".xml", ".yaml", ".yml"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthFolder:
    """What the annotations of a folder say.

    Attributes:
        pictures: Every picture that is annotated, with its truth, in the order of the pictures
            that were asked for.
        format: A key of ``FORMATS``; empty where there are no annotations.
        notes: What a user should know, one sentence each.
    """

    pictures: tuple[PictureTruth, ...]
    format: str
    notes: tuple[str, ...] = ()


def read_truth(
    folder: Path,
    pictures: Sequence[Picture],
    labels: Sequence[str],
    *,
    task: Task,
    annotations: str | None = None,
    renaming: str = NAMED_BY_LABELS,
) -> TruthFolder:
    """Read what is annotated of pictures.

    Args:
        folder: The folder that the pictures lie in.
        pictures: Those that can be read.
        labels: The labels of the model; classes are matched by name.
        task: What the model answers.
        annotations: A key of ``FORMATS``, or the path of a file or folder; None to find them.
        renaming: How a user of the command gives the model other labels, one sentence.

    Raises:
        UsageError: Two formats fit, or ``annotations`` names none.
        DataError: A file cannot be read, no picture is annotated, or no class is the model's.
    """
    chosen, files, place = _found(folder, task, annotations)
    if chosen is None:
        return TruthFolder(pictures=(), format="")
    stated = chosen.read(place, files, [item.path for item in pictures], labels)
    asked = {item.path for item in pictures}
    if asked.isdisjoint(stated):
        raise DataError(
            f"{counted(len(files), 'file')} of annotations ({chosen.name}) "
            f"{'belongs' if len(files) == 1 else 'belong'} to none of the "
            f"{counted(len(pictures), 'picture')}",
            hint=f"An annotation has the name of its picture; name the right place with {OPTION}.",
        )
    matching = _Matching(labels, chosen, task, renaming)
    truth = tuple(
        matching.truth(picture, stated[picture.path])
        for picture in pictures
        if picture.path in stated
    )
    notes = (*matching.notes(truth, len(pictures)), *_absent(folder, set(stated) - asked))
    return TruthFolder(pictures=truth, format=chosen.name, notes=notes)


def _absent(folder: Path, listed_ones: set[Path]) -> list[str]:
    """Say how many of the pictures that annotations list are not in the folder at all."""
    if not listed_ones:
        return []
    here = {path.name for path in list_images(folder)}
    gone = sorted(path.name for path in listed_ones if path.name not in here)
    if not gone:
        return []  # they are there, and were not asked for
    verb = "is" if len(gone) == 1 else "are"
    return [
        f"{counted(len(gone), 'picture')} that the annotations list {verb} not in "
        f"{readable(folder)}: {listed(gone, 3)}"
    ]


def _found(
    folder: Path, task: Task, annotations: str | None
) -> tuple[Format | None, Sequence[Path], Path]:
    """Return the format, its files, and the folder that they lie in."""
    names = _OF_TASK.get(task, ())
    if annotations is not None and annotations in FORMATS:
        if annotations not in names:
            raise UsageError(
                f"{OPTION} {annotations} says nothing about {task}",
                hint=f"For {task} there are: {', '.join(names) or 'none'}.",
            )
        files = FORMATS[annotations].evidence(folder)
        if not files:
            raise DataError(
                f"{readable(folder)} has no annotations of the format {annotations}",
                hint=f"They are {FORMATS[annotations].meaning}.",
            )
        return FORMATS[annotations], files, folder
    if annotations is not None:
        return _at(Path(annotations), names)
    places = [folder, *_siblings(folder)]
    for place in places:
        found = {name: FORMATS[name].evidence(place) for name in names}
        kept = {name: files for name, files in found.items() if files}
        if len(kept) > 1:
            ways = "; ".join(
                f"{OPTION} {name} ({counted(len(files), 'file')}: {FORMATS[name].meaning})"
                for name, files in kept.items()
            )
            raise UsageError(
                f"{readable(place)} has annotations of {len(kept)} formats", hint=f"State {ways}."
            )
        for name, files in kept.items():
            return FORMATS[name], files, place
    return None, (), folder


def _siblings(folder: Path) -> list[Path]:
    """Return folders beside that of the pictures, where formats keep their annotations."""
    names = ("Annotations", "annotations", "labels", "masks", "SegmentationClass")
    places = [folder.parent / name / folder.name for name in ("labels", "annotations", "masks")]
    places += [folder.parent / name for name in names]
    return [place for place in places if place.is_dir()]


def _at(path: Path, names: Sequence[str]) -> tuple[Format, Sequence[Path], Path]:
    """Return what a path that the user gave holds."""
    if path.is_file() and path.suffix.lower() == ".json" and "coco" in names:
        return FORMATS["coco"], [path], path.parent
    if path.is_dir():
        for name in names:
            files = FORMATS[name].evidence(path)
            if files:
                return FORMATS[name], files, path
    raise UsageError(
        f"{OPTION} {readable(path)} is no file or folder of annotations",
        hint=f"Give a COCO file, a folder, or one of: {', '.join(names)}.",
    )


class _Matching:
    """Matches classes by name and boxes by the frame of their picture, and counts what it does."""

    def __init__(self, labels: Sequence[str], chosen: Format, task: Task, renaming: str) -> None:
        self._labels = tuple(labels)
        self._renaming = renaming
        self._bodies = BodyMatching(labels) if task is Task.POSE else None
        self._indices = {normal(label).casefold(): i for i, label in enumerate(labels)}
        self._format = chosen
        self._unknown: Counter[str] = Counter()
        self._clipped = self._outside = self._empty = 0

    def truth(self, picture: Picture, stated: StatedPicture) -> PictureTruth:
        """Return the truth of one picture."""
        stored, shown = stored_and_shown_size(picture.path)
        width, height = shown
        if stated.mask is not None:
            self._check_mask(stated.mask)
            return PictureTruth(picture=picture, width=width, height=height, mask=stated.mask)
        turned = stated.size is not None and stated.size != shown and stated.size == stored
        if turned:
            raise DataError(
                f"{stated.source} annotates {picture.path.name} as it is stored "
                f"({stored[0]} x {stored[1]}), and its EXIF orientation turns it",
                hint="Turn the pictures for good (mogrify -auto-orient), and annotate those.",
            )
        self._check_size(picture, stated, shown)
        boxes = [self._box(item, stated, width, height) for item in stated.boxes]
        kept = tuple(box for box in boxes if box is not None)
        return PictureTruth(picture=picture, width=width, height=height, boxes=kept)

    def _check_size(self, picture: Picture, stated: StatedPicture, shown: tuple[int, int]) -> None:
        if stated.size is not None and stated.size != shown:
            raise DataError(
                f"{stated.source} says that {picture.path.name} has {stated.size[0]} x "
                f"{stated.size[1]} pixels; it has {shown[0]} x {shown[1]}",
                hint="The pictures were resized after they were annotated; export both again.",
            )

    def _check_mask(self, path: Path) -> None:
        values = set(np.unique(masks.read_mask(path)).tolist()) - {IGNORED}
        alien = sorted(value for value in values if value >= len(self._labels))
        if alien and self._labels:
            step = min((value for value in values if value), default=0)
            multiple = step > 1 and all(value % step == 0 for value in values)
            guess = f" They are multiples of {step}: divide them by it." if multiple else ""
            raise DataError(
                f"the mask {path} has the value {alien[0]}; the model has "
                f"{len(self._labels)} classes, 0 to {len(self._labels) - 1}",
                hint=f"A value is the index of the class, and 255 counts nowhere.{guess}",
            )

    def _box(
        self, item: StatedBox, stated: StatedPicture, width: int, height: int
    ) -> TrueBox | None:
        index, keypoints = self._indices.get(normal(item.label).casefold()), item.keypoints
        if self._bodies is not None:
            ordered = self._bodies.ordered(item)
            index, keypoints = (None, ()) if ordered is None else (0, ordered)
        if index is None:
            self._unknown[item.label] += 1
            return None
        across, down = (width, height) if stated.shares else (1, 1)
        left, right = item.left * across, item.right * across
        top, bottom = item.top * down, item.bottom * down
        if right < left or bottom < top:
            raise DataError(
                f"{stated.source} has a box whose end lies before its start: {left:g}, {top:g} to "
                f"{right:g}, {bottom:g}",
                hint="Delete it or draw it again.",
            )
        if left == right or top == bottom:
            self._empty += 1
            return None
        inside = (max(left, 0), max(top, 0), min(right, width), min(bottom, height))
        if inside[0] >= inside[2] or inside[1] >= inside[3]:
            self._outside += 1
            return None
        self._clipped += inside != (left, top, right, bottom)
        return TrueBox(
            index=index,
            left=inside[0],
            top=inside[1],
            right=inside[2],
            bottom=inside[3],
            ignored=item.ignored,
            crowd=item.crowd,
            keypoints=tuple((x * across, y * down, seen) for x, y, seen in keypoints),
            area=item.area,
        )

    def notes(self, truth: Sequence[PictureTruth], pictures: int) -> tuple[str, ...]:
        """Return what a user should know.

        Raises:
            DataError: None of the classes is the model's, or no box lies in its picture.
        """
        boxes = sum(len(item.boxes) for item in truth)
        named = listed([f"{name!r} ({count})" for name, count in self._unknown.most_common()], 5)
        if self._unknown and not boxes:
            raise self._alien(named)
        if self._outside and not boxes:
            raise DataError(
                f"all {self._outside} boxes lie outside their pictures",
                hint="The annotations are of other pictures, or of another size.",
            )
        what = counted(boxes, "object") if self._format.name != "masks" else "masks"
        notes = [
            f"annotations: {self._format.name} ({self._format.meaning}), {what} in "
            f"{len(truth)} of {counted(pictures, 'picture')}"
        ]
        if len(truth) < pictures:
            notes.append(
                f"{counted(pictures - len(truth), 'picture')} without annotation "
                f"{'is' if pictures - len(truth) == 1 else 'are'} not scored"
            )
        if self._unknown:
            notes.append(f"objects {self._what_of} do not count: {named}")
        notes += [] if self._bodies is None else self._bodies.notes()
        if self._clipped:
            notes.append(f"{counted(self._clipped, 'box', 'boxes')} reached beyond the picture")
        if self._empty:
            notes.append(f"{counted(self._empty, 'box', 'boxes')} without area left out")
        if self._outside:
            notes.append(f"{counted(self._outside, 'box', 'boxes')} outside the picture left out")
        return tuple(notes)

    @property
    def _what_of(self) -> str:
        if self._bodies is not None:
            return "without the keypoints of the model"
        return "of classes that the model does not know"

    def _alien(self, named: str) -> DataError:
        """Return the error of annotations whose objects are all unknown to the model."""
        if self._bodies is not None:
            return self._bodies.refusal()
        return DataError(
            f"none of the annotated classes is one of the model's: {named}",
            hint=f"The model knows {listed([repr(name) for name in self._labels], 5)}. "
            f"{self._renaming}",
        )
