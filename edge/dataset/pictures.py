"""Images to score, each with its content hash and, if that is known, its class."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Final, Protocol

from edge.dataset.folder import Files, list_files, masks_among
from edge.dataset.layout import find_any_class_folders, normal
from edge.errors import DataError, ImageError
from edge.runtime.contract import Preprocessing
from edge.runtime.files import readable, sha256_file
from edge.runtime.preprocess import load
from edge.threads import in_threads
from edge.wording import counted, listed

WNID: Final = re.compile(r"(?<![0-9a-z])n\d{8}(?!\d)")  # a WordNet ID, by which ILSVRC names files


class Hashed(Protocol):
    """An image file with the hash of its content."""

    @property
    def path(self) -> Path:
        """The path of the file."""
        ...

    @property
    def sha256(self) -> str:
        """The digest of its bytes, hex."""
        ...


@dataclass(frozen=True, slots=True)
class Picture:
    """An image to score.

    Attributes:
        path: The path of the file.
        sha256: The digest of its bytes, hex.
        label: The class index; None if it is unknown.
    """

    path: Path
    sha256: str
    label: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderPictures:
    """The images of a folder to score.

    Attributes:
        root: The folder whose images are meant; see ``ClassFolders.scored``.
        pictures: Every image below it, in the order of the paths.
        files: All files below it.
        notes: Sentences on what the folder holds, and on what is not used.
        masks: Image files that are masks of pictures, and none themselves.
    """

    root: Path
    pictures: tuple[Picture, ...]
    files: Files
    notes: tuple[str, ...]
    masks: tuple[Path, ...] = ()


def pictures_root(directory: Path) -> Path:
    """Return the folder whose images are meant; see ``ClassFolders.scored``.

    Raises:
        DataError: The folder is missing, a file or unreadable.
    """
    return find_any_class_folders(directory).scored


def find_pictures(
    directory: Path,
    labels: Sequence[str],
    wnids: Sequence[str] = (),
    *,
    explained: bool = False,
    used: Collection[str] = (),
) -> FolderPictures:
    """Find every image below a folder, with the class that its folder or its name states.

    The class is the folder right below ``directory`` (or below that of its test split, if there
    is one), or the WordNet ID in the name of the file or of a folder. Where folders are no classes,
    a file in one of masks is the mask of a picture, and no picture.

    Args:
        directory: The folder to search.
        labels: The labels of the model; the position is the class index. None where folders are no
            classes.
        wnids: The WordNet IDs of the same classes; empty for a model that is not of ImageNet.
        explained: Whether the user was told already why folders may not be called like classes.
        used: Suffixes of files that somebody else reads: no note says that they are not used.

    Raises:
        DataError: The folder cannot be read or has no images.
    """
    folders = find_any_class_folders(directory)
    root = folders.scored
    files = list_files(root)
    others = Counter({kind: n for kind, n in files.others.items() if kind not in used})
    masks = frozenset[Path]() if labels else masks_among(files.images, root)
    images = tuple(path for path in files.images if path not in masks)
    if not images:
        raise DataError(
            f"{directory} holds {counted(len(masks), 'mask')} and no picture",
            hint="Name the folder of the pictures; masks may lie in a folder masks in it.",
        )
    files = replace(files, images=images, others=others)
    by_name = {normal(label): index for index, label in enumerate(labels)}
    by_wnid = {wnid: index for index, wnid in enumerate(wnids)}
    hashes = in_threads(sha256_file, files.images)
    pictures = tuple(
        Picture(path, digest, _label(path.relative_to(root), by_name, by_wnid))
        for path, digest in zip(files.images, hashes, strict=True)
    )
    notes = [*folders.notes, *files.notes()]
    if masks:
        places = sorted({readable(path.parent.relative_to(directory)) for path in masks})
        notes.append(
            f"{counted(len(masks), 'file')} in {listed(places, 3)} "
            f"{'is a mask and no picture' if len(masks) == 1 else 'are masks and no pictures'}"
        )
    if root != directory:
        notes.append(f"the images are those of {readable(root.relative_to(directory))}/")
    if labels and not (explained and all(item.label is None for item in pictures)):
        notes += _unmatched(root, pictures, by_name)
    return FolderPictures(
        root=root, pictures=pictures, files=files, notes=tuple(notes), masks=tuple(sorted(masks))
    )


def _label(relative: Path, by_name: Mapping[str, int], by_wnid: Mapping[str, int]) -> int | None:
    folder = normal(relative.parts[0])
    if len(relative.parts) > 1 and folder in by_name:
        return by_name[folder]
    wnid = WNID.search(relative.as_posix()) if by_wnid else None
    return None if wnid is None else by_wnid.get(wnid.group())


def _unmatched(root: Path, pictures: Sequence[Picture], by_name: Mapping[str, int]) -> list[str]:
    """Return notes on folders that are not called like a class, with classes called nearly so."""
    folders: Counter[str] = Counter()
    for picture in pictures:
        parts = picture.path.relative_to(root).parts
        if picture.label is None and len(parts) > 1:
            folders[normal(parts[0])] += 1
    if not folders:
        return []
    near = {name: nearest(name, by_name) for name in folders}
    named = listed(
        [
            f"{readable(Path(name))}/ ({count}{f', perhaps {near[name]!r}' if near[name] else ''})"
            for name, count in folders.most_common()
        ]
    )
    unlabelled = sum(folders.values())
    return [
        f"{unlabelled} of {counted(len(pictures), 'image')} "
        f"{'lies' if unlabelled == 1 else 'lie'} in folders that are called like no class of the "
        f"model ({listed([repr(name) for name in by_name], 5)}) and "
        f"{'counts' if unlabelled == 1 else 'count'} as unlabelled: {named}"
    ]


def nearest(name: str, labels: Iterable[str]) -> str | None:
    """Return the only label that a name can mean: alike but for case, spaces, and a final s."""

    def bare(text: str) -> str:
        return re.sub(r"[\W_]+", "", text.casefold()).removesuffix("s") or text

    alike = [label for label in labels if bare(label) == bare(name)]
    if len(alike) == 1:
        return alike[0]
    close = get_close_matches(name, list(labels), 1, 0.8)
    return close[0] if close else None


def unreadable(images: Sequence[Hashed], preprocessing: Preprocessing) -> dict[Path, str]:
    """Return the images that cannot be decoded, with the reason; no image is kept in memory."""

    def problem(image: Hashed) -> str:
        try:
            load(image.path, preprocessing)
        except ImageError as error:
            return error.message
        return ""

    problems = in_threads(problem, images)
    return {image.path: text for image, text in zip(images, problems, strict=True) if text}
