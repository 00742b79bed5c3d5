"""The images of an export: those that calibrate and those that are scored, none of them twice."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

from edge.dataset.annotations.read import SUFFIXES
from edge.dataset.folder import Files, merged
from edge.dataset.labels import numbered
from edge.dataset.levels import levels_notes, with_levels
from edge.dataset.pictures import FolderPictures, Picture, find_pictures, unreadable
from edge.dataset.scan import Skipped, refuse_skipped
from edge.errors import DataError, ImageError
from edge.pipeline.calibration import Pool, choose
from edge.pipeline.report import DataReport
from edge.runtime.contract import Preprocessing, Resize
from edge.runtime.image import stored_and_shown_size

LOOKED_AT: Final = 16  # pictures whose size is looked at


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
            skipped=_listed(self.skipped),
            notes=self.notes,
            files=self.files,
        )


def _listed(skipped: Mapping[Path, str]) -> tuple[Skipped, ...]:
    return tuple(Skipped(path=path, reason=why) for path, why in skipped.items())


def export_images(
    folders: ImageFolders,
    labels: tuple[str, ...],
    wnids: tuple[str, ...],
    preprocessing: Preprocessing,
    *,
    most: int,
    seed: int,
    strict: bool = False,
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
        strict: Whether to refuse images that cannot be decoded.
        notes: What a user should know so far.

    Raises:
        DataError: A folder cannot be read, or no image is left to score on; or ``strict`` holds.
    """
    first = folders.calibration if folders.calibrates else None
    first = first or folders.evaluation or folders.calibration
    assert first is not None  # the command asks for one of them
    content = _content(first, labels, wnids)
    preprocessing, looked = _as_pictures_are(preprocessing, content.files.images)
    read = [_Folder.read(content, preprocessing)]
    calibrate_on: tuple[Picture, ...] = ()
    pool = Pool(0)
    if folders.calibrates:
        calibrate_on, pool = _chosen(
            read[0].usable, most, seed, keeps_half=folders.evaluation is None
        )
        if folders.evaluation is not None:
            read.append(_Folder.read(_content(folders.evaluation, labels, wnids), preprocessing))
    skipped = {path: why for folder in read for path, why in folder.problems.items()}
    if strict:
        refuse_skipped(_listed(skipped), sum(len(folder.content.pictures) for folder in read))
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
    told = [*notes, *found, *(note for folder in read for note in folder.levels), *looked]
    return ExportImages(
        preprocessing=preprocessing,
        calibrate_on=calibrate_on,
        pool=pool,
        scored=scored,
        skipped=skipped,
        notes=tuple(dict.fromkeys(told)),
        files=merged(folder.content.files for folder in read),
        masks=tuple(path for folder in read for path in folder.content.masks),
    )


def _as_pictures_are(
    preprocessing: Preprocessing, images: Sequence[Path]
) -> tuple[Preprocessing, tuple[str, ...]]:
    """Return the contract with what the pictures say of levels and of the cut, and notes."""
    preprocessing, levels = with_levels(preprocessing, images)
    preprocessing, whole = _whole_where_exact(preprocessing, images)
    return preprocessing, (*levels, *whole)


def _whole_where_exact(
    preprocessing: Preprocessing, images: Sequence[Path]
) -> tuple[Preprocessing, tuple[str, ...]]:
    """Return the contract that cuts nothing off pictures of the model's own size, and a note.

    The usual cut is that of photos of any size. Pictures that were made for this input were not
    cut again when the model was trained.
    """
    fraction, own = preprocessing.crop_fraction, (preprocessing.width, preprocessing.height)
    if preprocessing.resize is not Resize.CENTER_CROP or fraction == 1:
        return preprocessing, ()
    sizes = set()
    for path in images[:: max(1, len(images) // LOOKED_AT)]:
        with suppress(ImageError):  # which is said where the pictures are read
            sizes.add(stored_and_shown_size(path)[1])
    if sizes != {own}:
        return preprocessing, ()
    note = (
        f"the pictures have the model's own size, {own[0]} x {own[1]}, and are taken whole; of "
        f"others the middle {100 * fraction:g} % would be [--resize stretch takes any whole]"
    )
    return replace(preprocessing, crop_fraction=1.0), (note,)


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
