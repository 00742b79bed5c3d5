"""A folder of photos -> which image files it holds, by split and class; no file is opened."""

import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.errors import DataError
from edge.runtime.image import IMAGE_SUFFIXES

# Folder name -> split. ``validation`` and ``valid`` are other people's names for ``val``.
_SPLITS: Final = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
# What macOS archives and Synology devices leave behind: thumbnails, not pictures of the class.
_LITTER: Final = frozenset({"__MACOSX", "@eaDir"})

Classes = dict[str, tuple[Path, ...]]
"""Class name -> its image files, both in sorted order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a folder is organised.

    Attributes:
        splits: ``train``, and ``val`` and ``test`` where the user has made them -> classes.
        notes: Sentences on what was found and is not used.
    """

    splits: dict[str, Classes]
    notes: tuple[str, ...]


def counted(count: int, noun: str) -> str:
    """A number with its noun, in the plural unless it is one."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def list_images(directory: Path) -> tuple[Path, ...]:
    """Every image file in a folder and its sub-folders, sorted by relative path.

    Raises:
        DataError: The folder is missing, a file, unreadable, or holds no image.
    """
    images, others = _walk(_checked(directory))
    if not images:
        raise DataError(f"{directory} holds no image{_instead(others)}", hint=_suffix_hint())
    return images


def class_folder(relative: Path) -> str:
    """Name of the class folder that an image lies in; "" where it lies in none.

    Args:
        relative: Path of the image from the folder of classes, or of ``train/``, ``val/``,
            ``test/`` with classes.
    """
    folders = relative.parts[:-1]
    if len(folders) > 1 and folders[0] in _SPLITS:
        folders = folders[1:]
    return folders[0] if folders else ""


def find_layout(directory: Path) -> Layout:
    """Recognise ``CLASS/...`` or ``train/CLASS/...`` with optional ``val/`` and ``test/``.

    Raises:
        DataError: The folder is missing, a file or unreadable; a class is empty, or unknown in
            the training split; there are fewer than two classes.
    """
    _, folders, loose = _entries(_checked(directory))
    places = _split_folders(directory, [folder.name for folder in folders])
    notes = []
    if loose:
        notes.append(
            f"{counted(len(loose), 'image')} directly in {directory}, without a class: not used"
        )
    if not places:
        return Layout(splits={"train": _classes(directory, "train")}, notes=tuple(notes))
    for folder in folders:
        if folder.name not in places.values():
            notes.append(f"the folder {folder.name!r} beside train/ is not used")
    splits = {split: _classes(directory / name, split) for split, name in places.items()}
    for split in places.keys() - {"train"}:
        unknown = sorted(splits[split].keys() - splits["train"].keys())
        if unknown:
            raise DataError(
                f"{places[split]}/ has classes that train/ has not: {_listed(unknown)}",
                hint="Rename these folders, or add training images for them.",
            )
    for split in ("val", "test"):
        for label in sorted(splits["train"].keys() - splits.get(split, splits["train"]).keys()):
            notes.append(f"class {label!r} has no images in {places[split]}/")
    return Layout(splits=splits, notes=tuple(notes))


def _checked(directory: Path) -> Path:
    """The folder itself, if it is one."""
    try:
        if directory.is_dir():
            return directory
        exists = directory.exists()
    except OSError as error:  # such as a parent folder that may not be searched
        raise _unreadable(directory, error) from error
    if exists:
        raise DataError(
            f"{directory} is a file, not a folder",
            hint="Name the folder that holds the images; unpack an archive first.",
        )
    raise DataError(f"{directory} does not exist", hint="Check the path of the image folder.")


def _split_folders(directory: Path, names: Sequence[str]) -> dict[str, str]:
    """Split -> folder name; empty where the folders are classes.

    A lone folder called ``train`` among classes (say, of vehicles) is a class.
    """
    found: dict[str, str] = {}
    for name in sorted(set(names) & _SPLITS.keys()):
        split = _SPLITS[name]
        if split in found:
            raise DataError(
                f"{directory} has both {found[split]}/ and {name}/", hint="Keep one of them."
            )
        found[split] = name
    only_splits = len(found) == len(names)
    if "train" in found and (only_splits or len(found) > 1):
        return {split: found[split] for split in ("train", "val", "test") if split in found}
    if found and only_splits:
        raise DataError(
            f"{directory} has {_listed(names)} but no train/",
            hint="Add train/ with one folder per class, or name the class folders otherwise.",
        )
    return {}


def _classes(directory: Path, split: str) -> Classes:
    """The class folders of one split."""
    _, folders, loose = _entries(directory)
    if len(folders) < 2 and (split == "train" or not folders):
        found = f"has the class folder {folders[0].name!r} only" if folders else "has no folders"
        beside = f" and {counted(len(loose), 'image')} directly in it" if loose else ""
        raise DataError(
            f"{directory} {found}{beside}; "
            f"{'at least two classes are' if split == 'train' else 'class folders are'} needed",
            hint="Put the images of each class in a folder of its own, named after the class.",
        )
    classes: Classes = {}
    for folder in sorted(folders, key=lambda folder: folder.name):
        _check_label(folder)
        paths, others = _walk(folder)
        if not paths:
            raise DataError(
                f"class {folder.name!r} is empty: {folder} holds no image{_instead(others)}",
                hint=f"Add images or delete the folder. {_suffix_hint()}",
            )
        classes[folder.name] = paths
    return classes


def _check_label(folder: Path) -> None:
    """Refuse names that cannot stand in a list of labels: control characters, not Unicode."""
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in folder.name):
        raise DataError(
            f"the class folder {folder.name!a} has a control character or a byte that is "
            "not UTF-8 in its name",
            hint="Rename the folder.",
        )


def _walk(directory: Path) -> tuple[tuple[Path, ...], Counter[str]]:
    """Image files below a folder, sorted by relative path, and the suffixes of other files.

    Symbolic links are followed; each folder is entered once, so that loops end.
    """
    images: list[Path] = []
    others: Counter[str] = Counter()
    entered: set[tuple[int, int]] = set()
    waiting = [directory]
    while waiting:
        folder = waiting.pop(0)
        files, folders, found = _entries(folder)
        status = folder.stat()
        if (status.st_dev, status.st_ino) in entered:
            continue
        entered.add((status.st_dev, status.st_ino))
        images += found
        others.update(files)
        waiting += folders
    return tuple(sorted(images, key=lambda path: path.relative_to(directory).as_posix())), others


def _entries(directory: Path) -> tuple[list[str], list[Path], list[Path]]:
    """Suffixes of other files, sub-folders, and image files of one folder, hidden ones left out.

    Broken links count as files, so that an image that is not there is reported. Both lists are
    sorted by name: nothing depends on the order in which a file system lists them.
    """
    others: list[str] = []
    folders: list[Path] = []
    images: list[Path] = []
    try:
        with os.scandir(directory) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                path = directory / entry.name
                if entry.name.startswith(".") or entry.name in _LITTER:
                    continue
                # A link to itself makes DirEntry.is_dir() raise where Path.is_dir() says no.
                if (path if entry.is_symlink() else entry).is_dir():
                    folders.append(path)
                elif path.suffix.lower() not in IMAGE_SUFFIXES:
                    others.append(path.suffix.lower())
                elif entry.is_symlink() or entry.is_file():
                    images.append(path)
    except OSError as error:
        raise _unreadable(directory, error) from error
    return others, folders, images


def _unreadable(directory: Path, error: OSError) -> DataError:
    """The error for a folder that the operating system does not show."""
    return DataError(
        f"the folder {directory} cannot be read: {error.strerror}",
        hint="Check its permissions.",
    )


def _instead(others: Counter[str]) -> str:
    """What a folder without images holds, as the rest of a sentence."""
    if not others:
        return ""
    suffix, count = others.most_common(1)[0]
    kind = f"{suffix} file" if suffix else "suffixless file"
    return f" (but {counted(count, kind)})"


def _suffix_hint() -> str:
    """Which files count as images."""
    return f"Images are files that end in {_listed(sorted(IMAGE_SUFFIXES))}."


def _listed(names: Sequence[str], most: int = 10) -> str:
    """Names in one line; a long list is cut with a count."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
