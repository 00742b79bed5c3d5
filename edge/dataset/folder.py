"""A folder of photos -> which files it holds: images, other files by suffix, edge's own output."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from edge.errors import DataError, UsageError
from edge.runtime.files import open_regular, readable
from edge.runtime.image import READABLE, image_suffixes, way_to_read
from edge.runtime.pictures import Entries, Walk, is_own_output
from edge.runtime.pictures import entries as found_in
from edge.runtime.pictures import walk as below
from edge.wording import counted, listed

_NAMED: Final = 5  # files of one kind that are named before they are only counted

# Files that hold pictures but are not read as such; users are told, so that none is missed.
PICTURE_SUFFIXES: Final = frozenset(
    f".{suffix}"
    for suffix in re.findall(
        r"\S+",
        "heic heif hif avif tif tiff jxl jp2 j2k jpx jxr psd psb xcf svg svgz ai eps ico tga pcx "
        "ppm pgm pbm pnm pfm exr hdr dds dib raw dng cr2 cr3 crw nef nrw arw srf sr2 orf rw2 raf "
        "pef srw x3f 3fr iiq rwl dcm nii fits npy pdf mp4 mov m4v avi mkv webm mpg mpeg wmv 3gp "
        "mts insv insp zip rar 7z tar gz tgz",
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The files below a folder, without hidden files and what archives leave behind.

    Attributes:
        images: The files whose suffix says that they are images, sorted by relative path.
        others: The number of other files by suffix, in lower case; "" stands for no suffix.
        outputs: The folders that edge itself wrote, which were not entered.
    """

    images: tuple[Path, ...]
    others: Mapping[str, int] = field(default_factory=dict)
    outputs: tuple[Path, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the counts as JSON values."""
        return {
            "images": len(self.images),
            "not_used": dict(self.others),
            "outputs": [readable(path) for path in self.outputs],
        }

    def notes(self) -> tuple[str, ...]:
        """Return sentences on what is not used."""
        outputs = [
            f"{readable(path)} was written by edge and is not entered" for path in self.outputs
        ]
        unused = unused_files(len(self.images), self.others)
        return tuple([unused, *outputs] if unused else outputs)


def unused_files(images: int, others: Mapping[str, int]) -> str:
    """Return a sentence that counts what is not used, by suffix; empty if all is used."""
    count = sum(others.values())
    if not count:
        return ""
    kinds = listed([f"{number} {kind}" for kind, number in _ranked(others)])
    ways = "".join(f" {way}" for way in way_to_read(others))
    verb = "is" if count == 1 else "are"
    return f"{count} of {counted(count + images, 'file')} {verb} not used: {kinds}.{ways}"


def skipped_notes(reasons: Mapping[Any, str]) -> list[str]:
    """Return sentences on files that cannot be used: some for each reason, and how many follow.

    Args:
        reasons: The reason by path, with or without the path before it.
    """
    by_reason: defaultdict[str, list[str]] = defaultdict(list)
    for path, why in reasons.items():
        by_reason[why.removeprefix(f"{path}: ")].append(readable(Path(path)))
    notes = []
    for why, paths in by_reason.items():
        notes += [f"skipped {path}: {why}" for path in paths[:_NAMED]]
        if len(paths) > _NAMED:
            notes.append(f"skipped {len(paths) - _NAMED} more: {why}")
    return notes


def merged(parts: Iterable[Files]) -> Files:
    """Join the files of several folders."""
    folders = list(parts)
    others: Counter[str] = Counter()
    for part in folders:
        others.update(part.others)
    return Files(
        images=tuple(path for part in folders for path in part.images),
        others=dict(others),
        outputs=tuple(path for part in folders for path in part.outputs),
    )


# How a PNG file says that it is the mask of a picture: by a folder, or by the end of its name.
_MASK_FOLDERS: Final = frozenset(
    {"masks", "mask", "segmentationclass", "annotations", "labels", "gtfine"}
)
_OBJECT_MASKS: Final = frozenset({"segmentationobject"})  # of VOC: no classes, and no pictures
MASK_ENDS: Final = ("_mask", "-mask", "_labelIds", "_gt", "_golden")
MASK_MODES: Final = frozenset({"L", "P", "I", "I;16", "1"})  # one value a pixel, as Pillow has it


def is_called_mask(path: Path, folders: Iterable[str]) -> bool:
    """Return whether a file is called like a mask of classes, or lies in a folder that is.

    Args:
        path: The path of the file.
        folders: The names of the folders that count.
    """
    shelves = {name.casefold() for name in folders}
    called = path.stem.endswith(MASK_ENDS) or not shelves.isdisjoint(_MASK_FOLDERS)
    return called and path.suffix.lower() == ".png" and shelves.isdisjoint(_OBJECT_MASKS)


def stems_of_masked(path: Path) -> Iterator[str]:
    """Yield the names without suffix that the picture of a mask may have."""
    yield path.stem
    yield from (path.stem.removesuffix(end) for end in MASK_ENDS if path.stem.endswith(end))


def masks_among(images: Iterable[Path], root: Path) -> frozenset[Path]:
    """Return the files that are masks, and therefore no pictures.

    A file that is called like a mask is one if a picture has the same name, or if it has one value
    a pixel: a mask whose picture is missing. Others are photos in folders of such a name.

    Args:
        images: The image files below a folder.
        root: The folder, whose own name says nothing.
    """
    everything = tuple(images)
    inside = {path: path.relative_to(root).parent.parts for path in everything}
    called = [
        path
        for path, folders in inside.items()
        if is_called_mask(path, folders)
        or any(name.casefold() in _OBJECT_MASKS for name in folders)
    ]
    stems = {path.stem for path in frozenset(everything).difference(called)}
    return frozenset(
        path
        for path in called
        if not stems.isdisjoint(stems_of_masked(path)) or _has_one_value_a_pixel(path)
    )


def _has_one_value_a_pixel(path: Path) -> bool:
    from PIL import Image

    try:
        with open_regular(path) as stream, Image.open(stream) as image:
            return image.mode in MASK_MODES
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False  # which is said where the pictures are read


def list_images(directory: Path) -> tuple[Path, ...]:
    """List every image file in a folder and its sub-folders, sorted by relative path.

    Raises:
        DataError: The folder is missing, a file, unreadable, or holds no image.
    """
    return list_files(directory).images


def list_files(directory: Path) -> Files:
    """List every file in a folder and its sub-folders.

    Raises:
        DataError: As for ``list_images``.
    """
    files = walk(checked(directory))
    if not files.images:
        raise DataError(
            f"{directory} holds no image{instead(files)}", hint=suffix_hint(files.others)
        )
    return files


def checked(directory: Path) -> Path:
    """Return the folder itself, if it can be one of photos.

    Raises:
        DataError: It is missing, a file, or written by edge itself.
    """
    try:
        is_folder = directory.is_dir()
        exists = directory.exists()
    except OSError as error:  # for example, a parent folder may not be searched
        raise _unreadable(directory, error) from error
    if is_folder and is_own_output(directory):
        raise DataError(
            f"{directory} was written by edge: it is not a folder of photos",
            hint="Name the folder that holds the photos.",
        )
    if is_folder:
        return directory
    if exists:
        raise DataError(
            f"{directory} is a file, not a folder",
            hint="Name the folder that holds the images; unpack an archive first.",
        )
    raise DataError(f"{directory} does not exist", hint="Check the path of the image folder.")


def walk(directory: Path) -> Files:
    """List every file below a folder, even if it has no image; see ``edge.runtime.pictures.walk``.

    Raises:
        DataError: A folder cannot be read.
    """
    walked = _walked(directory)
    return Files(images=walked.images, others=dict(walked.others), outputs=walked.outputs)


def _walked(directory: Path) -> Walk:
    walked = below(directory)
    for problem in walked.problems.values():
        raise DataError(problem, hint="Check its permissions.")
    return walked


def check_outside(output: Path, directory: Path, *, option: str = "--output") -> None:
    """Refuse an output that the next run would read as photos, or that holds the photos.

    Links and ``..`` on either side are followed; so are links to folders among the photos.

    Args:
        output: The file or folder to write; it may be missing.
        directory: The folder of photos; if it is missing, whoever reads it says so.
        option: The option that names the output, for the message.

    Raises:
        UsageError: One lies within the other.
        DataError: A folder of photos cannot be read.
    """
    written, photos = _resolved(output), _resolved(directory)
    if not photos.is_dir():
        return
    hint = "Name a place outside the folder of the photos."
    if photos.is_relative_to(written):
        raise UsageError(f"{option} {output} holds the photos of {directory}", hint=hint)
    inside = written.is_relative_to(photos)
    if not inside:
        entered = _walked(photos).entered
        holders = [status for folder in written.parents if (status := _identity(folder))]
        inside = not entered.isdisjoint(holders)
    if inside:
        raise UsageError(
            f"{option} {output} lies in {directory}: what is written there would be read as photos",
            hint=hint,
        )


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a loop of links
        return path.absolute()


def _identity(folder: Path) -> tuple[int, int] | None:
    """Return what tells a folder from all others of the machine; None if it is missing."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def entries(directory: Path) -> Entries:
    """List what lies in one folder; see ``edge.runtime.pictures.entries``.

    Raises:
        DataError: The folder cannot be read.
    """
    try:
        return found_in(directory)
    except OSError as error:
        raise _unreadable(directory, error) from error


def instead(files: Files) -> str:
    """Say what a folder without images holds, as the rest of a sentence."""
    if not files.others:
        return ""
    kinds = [counted(count, f"{kind} file") for kind, count in _ranked(files.others)]
    return f" (but {listed(kinds)})"


def suffix_hint(others: Mapping[str, int] | None = None) -> str:
    """Say which files count as images, and how more of them would."""
    ways = "".join(f" {way}" for way in way_to_read(others or {}))
    return f"{READABLE} are read, by these suffixes: {listed(sorted(image_suffixes()), 20)}.{ways}"


def _ranked(others: Mapping[str, int]) -> list[tuple[str, int]]:
    """Rank suffixes: first those of pictures, and the most frequent ones first."""
    ranked = sorted(
        others.items(), key=lambda item: (item[0] not in PICTURE_SUFFIXES, -item[1], item[0])
    )
    return [(kind or "suffixless", number) for kind, number in ranked]


def _unreadable(directory: Path, error: OSError) -> DataError:
    """Return the error for a folder that the operating system does not show."""
    return DataError(
        f"the folder {directory} cannot be read: {error.strerror}",
        hint="Check its permissions.",
    )
