"""The images of an export: those that calibrate and those that are scored, none of them twice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from edge.dataset.annotations.read import SUFFIXES
from edge.dataset.folder import Files, merged
from edge.dataset.labels import numbered
from edge.dataset.levels import levels_notes, with_levels
from edge.dataset.pictures import FolderPictures, Picture, find_pictures, unreadable
from edge.dataset.scan import Skipped
from edge.errors import DataError
from edge.pipeline.calibration import Pool, choose
from edge.pipeline.report import DataReport
from edge.runtime.contract import Preprocessing


@dataclass(frozen=True, slots=True)
class ImageFolders:
    """Where the images lie.

    Attributes:
        calibration: Images that calibrate, the rest of which is scored; None where nothing is
            calibrated.
        evaluation: Images to score on; None for the rest of ``calibration``.
        calibrates: Whether anything is calibrated: a finished integer file is used as it is.
    """

    calibration: Path | None
    evaluation: Path | None
    calibrates: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportImages:
    """The images of an export.

    Attributes:
        preprocessing: The contract, with the levels that the images have.
        calibrate_on: The images that calibrate.
        pool: What those were chosen from.
        scored: The images to score on.
        skipped: The files that cannot be decoded, and why.
        notes: What a user should know of the images, and of the network so far.
        files: What lies in the folders.
        masks: The image files in the folders that are masks, and no pictures.
    """

    preprocessing: Preprocessing
    calibrate_on: tuple[Picture, ...]
    pool: Pool
    scored: tuple[Picture, ...]
    skipped: Mapping[Path, str]
    notes: tuple[str, ...]
    files: Files
    masks: tuple[Path, ...] = ()

    def report(self, labelled: int) -> DataReport:
        """What the report says of the data; ``labelled`` images count in the scores."""
        return DataReport(
            counts={"calibration": len(self.calibrate_on), "scored": len(self.scored)},
            labelled=labelled,
            skipped=tuple(Skipped(path=path, reason=why) for path, why in self.skipped.items()),
            notes=self.notes,
            files=self.files,
        )


def export_images(
    folders: ImageFolders,
    labels: tuple[str, ...],
    wnids: tuple[str, ...],
    preprocessing: Preprocessing,
    *,
    most: int,
    seed: int,
    notes: Sequence[str] = (),
) -> ExportImages:
    """Find the images to calibrate on and those to score on, none of them twice.

    Args:
        folders: Where they lie; at least one of the two is named.
        labels: The names of the classes that folders may be called by; none where folders say
            nothing.
        wnids: The WordNet ids of the same classes.
        preprocessing: The contract, without levels.
        most: The largest number of images that calibrate.
        seed: The seed of the choice.
        notes: What a user should know so far.

    Raises:
        DataError: A folder cannot be read, or no image is left to score on.
    """
    first = folders.calibration if folders.calibrates else None
    first = first or folders.evaluation or folders.calibration
    assert first is not None  # the command asks for one of them
    content = _content(first, labels, wnids)
    preprocessing, levels = with_levels(preprocessing, content.files.images)
    read = [_Folder.read(content, preprocessing)]
    calibrate_on: tuple[Picture, ...] = ()
    pool = Pool(0)
    if folders.calibrates:
        calibrate_on, pool = _chosen(
            read[0].usable, most, seed, keeps_half=folders.evaluation is None
        )
        if folders.evaluation is not None:
            read.append(_Folder.read(_content(folders.evaluation, labels, wnids), preprocessing))
    scored = read[-1].usable
    if folders.evaluation is None:
        used = {picture.sha256 for picture in calibrate_on}
        scored = tuple(item for item in scored if item.sha256 not in used)
    if not scored:
        raise DataError(
            "no image is left to score on: every one was used for calibration"
            if calibrate_on
            else "no image is left to score on: none of them can be read",
            hint="Give more images, or another folder with --evaluation-data.",
        )
    found = [note for folder in read for note in folder.content.notes]
    told = [*notes, *found, *(note for folder in read for note in folder.levels), *levels]
    return ExportImages(
        preprocessing=preprocessing,
        calibrate_on=calibrate_on,
        pool=pool,
        scored=scored,
        skipped={path: why for folder in read for path, why in folder.problems.items()},
        notes=tuple(dict.fromkeys(told)),
        files=merged(folder.content.files for folder in read),
        masks=tuple(path for folder in read for path in folder.content.masks),
    )


def _content(path: Path, labels: tuple[str, ...], wnids: tuple[str, ...]) -> FolderPictures:
    """Find the pictures of a folder.

    Raises:
        DataError: There is no such folder, or no image in it.
    """
    unnamed = labels == numbered(len(labels)).names  # which a note says already
    # Without classes of pictures, files beside them may be annotations, which are read later.
    used = () if labels else SUFFIXES
    return find_pictures(path, labels, wnids, explained=unnamed, used=used)


def _chosen(
    pictures: Sequence[Picture], most: int, seed: int, *, keeps_half: bool
) -> tuple[tuple[Picture, ...], Pool]:
    """Choose the images that calibrate; without other images, half are kept to score on."""
    kept = len(pictures) - max(1, len(pictures) // 2) if keeps_half else 0
    pool = Pool(len(pictures), max(0, kept))
    labels = [picture.label for picture in pictures]
    return choose(pictures, labels, min(most, pool.most), seed), pool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Folder:
    """A folder of images that was read.

    Attributes:
        content: What lies in it.
        problems: The files that cannot be decoded, and why.
        levels: What its images say of their levels.
    """

    content: FolderPictures
    problems: Mapping[Path, str]
    levels: tuple[str, ...]

    @classmethod
    def read(cls, content: FolderPictures, preprocessing: Preprocessing) -> Self:
        """Find the pictures of a folder that cannot be decoded."""
        paths = [picture.path for picture in content.pictures]
        return cls(
            content=content,
            problems=unreadable(content.pictures, preprocessing),
            levels=tuple(levels_notes(preprocessing, paths)),
        )

    @property
    def usable(self) -> tuple[Picture, ...]:
        """The pictures that can be decoded, one of each content."""
        readable = (item for item in self.content.pictures if item.path not in self.problems)
        return tuple({item.sha256: item for item in readable}.values())
